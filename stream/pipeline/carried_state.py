"""The carried LSTM states of all series, and one call of the model for many closed bins of many links.

The states of many links are in one array, so that a call finds them in one pass. A call reads and writes only the
states that its rows need, so links may be stepped in threads of their own.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.kernels import kernel

if TYPE_CHECKING:
    from offramp.inference.forecast import Prediction
    from offramp.inference.serving.predictor import Predictor

CALL_ROWS = 8_192
"""Rows of one call of the model, at most: so that it needs little memory besides, and does not take long."""


class CarriedState:
    """The states of one link's series: `state`, float32 [series, state_size], zeros for a fresh series.

    They are rows `first` on of `pool`, which other links may share; without a pool the link has its own.
    """

    def __init__(self, series: int, state_size: int, pool: NDArray[np.float32] | None = None, first: int = 0) -> None:
        self.pool = np.zeros((series, state_size), np.float32) if pool is None else pool
        self.first = first
        self.state = self.pool[first : first + series]


class StatePool:
    """Room for the carried states of many links in one array; only the rows in use take memory."""

    def __init__(self, links: int, series: int, state_size: int) -> None:
        self.series, self.state_size = series, state_size
        self.pool = np.zeros((links * series, state_size), np.float32)
        self._free = list(range(links))

    def take(self) -> CarriedState:
        """Return zeroed states for a link, freed with their last reference; its own array where the pool is full."""
        if not self._free:
            return CarriedState(self.series, self.state_size)
        place = self._free.pop()
        carried = CarriedState(self.series, self.state_size, self.pool, place * self.series)
        carried.state[...] = 0.0
        weakref.finalize(carried, self._free.append, place)
        return carried


class Ask(NamedTuple):
    """Rows of one link for the model, in order of time.

    x: float32 [n, F]; spectrum: float32 [n, K]; series: int32 [n]; fresh: uint8 [n], 1 where a series begins anew.
    """

    carried: CarriedState
    x: NDArray[np.float32]
    spectrum: NDArray[np.float32]
    series: NDArray[np.int32]
    fresh: NDArray[np.uint8]


def predict_together(predictor: Predictor, asks: Sequence[Ask]) -> list[Prediction]:
    """Predict all rows in as few calls as possible, keep the newest states, and return each ask's prediction.

    Asks of one link must be in order. Predicting together changes no bit (serving.predictor).
    """
    return [prediction for part in _calls(asks) for prediction in _call(predictor, part)]


def _calls(asks: Sequence[Ask]) -> Iterator[Sequence[Ask]]:
    """Yield the asks in order, cut so that the states of a part share one pool, and its rows are at most CALL_ROWS.

    An ask that is larger than that is a part of its own.
    """
    start, rows = 0, 0
    for at, ask in enumerate(asks):
        full = rows + len(ask.x) > CALL_ROWS or ask.carried.pool is not asks[start].carried.pool
        if at > start and full:
            yield asks[start:at]
            start, rows = at, 0
        rows += len(ask.x)
    if start < len(asks):
        yield asks[start:]


def _call(predictor: Predictor, asks: Sequence[Ask]) -> list[Prediction]:
    """Predict the rows of all asks in one call."""
    pool = asks[0].carried.pool
    if len(asks) == 1:
        x, spectrum, fresh = asks[0].x, asks[0].spectrum, asks[0].fresh
        home = asks[0].series + np.int64(asks[0].carried.first)
    else:
        x, spectrum = np.concatenate([ask.x for ask in asks]), np.concatenate([ask.spectrum for ask in asks])
        fresh = np.concatenate([ask.fresh for ask in asks])
        home = np.concatenate([ask.series + np.int64(ask.carried.first) for ask in asks])
    lives, kept, state = gather(home, fresh, pool)
    whole = predictor.predict(x, spectrum, lives, state)
    scatter(state, kept, pool)
    if len(asks) == 1:
        return [whole]
    ends = np.cumsum([len(ask.x) for ask in asks]).tolist()
    cuts = zip([0, *ends], ends, strict=False)
    return [type(whole)(whole.probabilities[start:end], whole.quantiles_ms[start:end]) for start, end in cuts]


@kernel
def gather(
    home: NDArray[np.int64], fresh: NDArray[np.uint8], pool: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float32]]:
    """Return each row's state number within a call, the row of the pool that each state is kept at, and the states.

    home: int64 [n] row of the pool. A series that begins anew within the rows gets another state, of zeros, so that the
    call need not be cut; where a row of the pool has several states, the newest is kept, -1 stands for the others.
    """
    count = len(home)
    slots = 4
    while slots < 2 * count:
        slots *= 2
    table = np.full(slots, -1, np.int32)  # open addressing: the newest state of a row
    lives = np.empty(count, np.int32)
    kept = np.empty(count, np.int64)
    origin = np.empty(count, np.int64)  # the row that a state comes from, -1: zeros
    used = 0
    for row in range(count):
        slot = (home[row] * 40_503) & (slots - 1)
        while table[slot] >= 0 and kept[table[slot]] != home[row]:
            slot = (slot + 1) & (slots - 1)
        life = table[slot]
        if life < 0 or fresh[row]:
            if life >= 0:
                kept[life] = -1
            life = np.int32(used)
            table[slot], kept[used] = life, home[row]
            origin[used] = -1 if fresh[row] else home[row]
            used += 1
        lives[row] = life
    state = np.zeros((used, pool.shape[1]), np.float32)
    for life in range(used):
        if origin[life] >= 0:
            state[life] = pool[origin[life]]
    return lives, kept[:used], state


@kernel
def scatter(state: NDArray[np.float32], kept: NDArray[np.int64], pool: NDArray[np.float32]) -> None:
    """Write the newest states back to their places."""
    for life in range(len(kept)):
        if kept[life] >= 0:
            pool[kept[life]] = state[life]
