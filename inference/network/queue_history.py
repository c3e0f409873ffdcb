"""Features of a series' past, the network's longer memory: its queue and load over the last few horizons.

The network sees them beside a bin's channels. The first ANCHORS of them are delays that the forecast may rest on
(`keras_model`): the limit of the buffer, recent peaks, running means, and where the queue would stand one horizon on if
its trend, or the load of the last bins, lasted. One kernel makes all of them, row after row, so that batching changes
no bit, and training sees what serving sees. Lengths are shares of the horizon; a mean begins as that of the bins so
far.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.kernels import kernel

SEEN = ("delay_peak", "backlog_up", "backlog_down", "load_up", "load_down", "overflow", "ceiling")
"""The channels the features are made of, all log1p: of ms, of load over capacity, of packets."""

SCALE = np.float32(8)
"""log1p(ms) over this is about 1 at three seconds; the unit of all features of delay."""

MAX_LOG = np.float32(14)
"""Channels of SEEN are cut to this, so that e to its power stays a number, whatever the scale."""

BLOCKS = 120
"""Peaks are kept of blocks of a tenth of the horizon, twelve horizons of them."""

PEAKS = (2, 5, 10)
"""Blocks that the newest peaks reach back over, beside the open one."""

OLDER = 10
"""Before these, the peak of each OLDER blocks, so that what recurs, such as a video's key frames, can be foreseen."""

FINE = 40
"""The newest blocks, shown one by one."""

MEANS = (0.16, 0.64, 2.56, 10.24)
"""Time constants of the running delay, in horizons."""

LOADS = (0.08, 0.32, 1.0, 5.0)
"""Time constants of the running load, in horizons."""

OVERFLOWS = (0.64, 5.0)
TRENDS = 3
"""Of the running delays, the shortest: one horizon on, if the delay goes on growing from each as it does now."""

OLD_PEAKS = (BLOCKS - PEAKS[-1]) // OLDER
ANCHORS = 3 + len(PEAKS) + OLD_PEAKS + len(MEANS) + TRENDS + len(LOADS)
"""No delay, limit, newest peak, peaks, older peaks, means, trends, projections."""

PLAIN = ANCHORS + 3 * len(LOADS) + len(OVERFLOWS) + 2 + FINE
"""Numbers a bin: anchors, lesser projections and loads, overflows, the series' age, that of its peak, the blocks."""

SHARPNESS = (0.1, 0.5)
"""Scales, in log1p(ms), of an anchor's distance from where a class begins, for a sharp and a soft edge."""

FEATURES = PLAIN + 2 * len(SHARPNESS) * (ANCHORS - 1)
"""Numbers a bin: the plain ones, and each anchor's distance from the two thresholds, in [-1, 1]."""

STATE = BLOCKS + 3 + len(MEANS) + 2 * len(LOADS) + len(OVERFLOWS)
"""Numbers carried a series: closed blocks, newest first; the open block and its bins; the age; running means."""

_PEAKS, _MEANS, _LOADS, _OVERFLOWS, _SHARPNESS = (
    np.array(each, np.float32) for each in (PEAKS, MEANS, LOADS, OVERFLOWS, SHARPNESS)
)


@kernel
def write_features(
    x: Any, series: Any, state: Any, place: int, seen: Any, low: Any, width: Any, edges: Any, bins: int, bin_ms: float,
    wide: Any,
) -> None:  # fmt: skip
    """Write each row's channels and then its memory to `wide`: float32 [n, F + FEATURES]; update the state.

    x: float32 [n, F] normalised; series: int32 [n]; state: float32 [m, place + STATE or more], this memory's from
    `place` on; seen: int64, the columns of SEEN; low, width: float32 [F], the normaliser's offset and divisor; edges:
    float32 [2], log1p of where Medium and High begin; bins: of the horizon.
    """
    channels = x.shape[1]
    block = max(1, bins // 10)
    horizon_ms = np.float32(bins * bin_ms)
    raw = np.empty(len(seen), np.float32)
    for row in range(x.shape[0]):
        mine, out = state[series[row], place:], wide[row, channels:]
        for j in range(channels):
            wide[row, j] = x[row, j]
        for j in range(len(seen)):
            raw[j] = min(x[row, seen[j]] * width[seen[j]] + low[seen[j]], MAX_LOG)
        age = mine[BLOCKS + 2] + np.float32(1)
        mine[BLOCKS + 2] = min(age, np.float32(1e7))
        # peaks
        mine[BLOCKS] = max(mine[BLOCKS], raw[0])
        mine[BLOCKS + 1] += np.float32(1)
        at, reach = 3, 0
        peak = mine[BLOCKS]
        for j in range(len(_PEAKS)):
            while reach < _PEAKS[j]:
                peak = max(peak, mine[reach])
                reach += 1
            out[at] = peak / SCALE
            at += 1
        while reach < BLOCKS:
            peak = mine[reach]
            for j in range(reach + 1, reach + OLDER):
                peak = max(peak, mine[j])
            reach += OLDER
            out[at] = peak / SCALE
            at += 1
        highest = 0
        for j in range(FINE):
            out[PLAIN - FINE + j] = mine[j] / SCALE
            highest = j if mine[j] > mine[highest] else highest
        if mine[BLOCKS + 1] >= block:
            for j in range(BLOCKS - 1, 0, -1):
                mine[j] = mine[j - 1]
            mine[0] = mine[BLOCKS]
            mine[BLOCKS], mine[BLOCKS + 1] = np.float32(0), np.float32(0)
        # running means
        own = BLOCKS + 3
        delay = np.expm1(raw[0])
        for j in range(len(_MEANS)):
            mine[own] += share(age, _MEANS[j] * bins) * (delay - mine[own])
            out[at] = np.log1p(mine[own]) / SCALE
            if j < TRENDS:
                grown = max(np.float32(0), delay + (delay - mine[own]) / _MEANS[j])
                out[at + len(_MEANS)] = np.log1p(grown) / SCALE
            own, at = own + 1, at + 1
        at += TRENDS
        # projections of the backlog, the greater direction an anchor
        up, down = np.expm1(raw[1]), np.expm1(raw[2])
        load_up, load_down = np.expm1(raw[3]), np.expm1(raw[4])
        after = at + len(_LOADS)
        for j in range(len(_LOADS)):
            part = share(age, _LOADS[j] * bins)
            mine[own] += part * (load_up - mine[own])
            mine[own + 1] += part * (load_down - mine[own + 1])
            one = max(np.float32(0), up + (mine[own] - np.float32(1)) * horizon_ms)
            two = max(np.float32(0), down + (mine[own + 1] - np.float32(1)) * horizon_ms)
            out[at] = np.log1p(max(one, two)) / SCALE
            out[after] = np.log1p(min(one, two)) / SCALE
            out[after + 1] = np.log1p(mine[own])
            out[after + 2] = np.log1p(mine[own + 1])
            own, at, after = own + 2, at + 1, after + 3
        for j in range(len(_OVERFLOWS)):
            mine[own] += share(age, _OVERFLOWS[j] * bins) * (raw[5] - mine[own])
            out[after] = mine[own]
            own, after = own + 1, after + 1
        out[after] = min(age / np.float32(4 * bins), np.float32(1))
        out[after + 1] = np.float32(highest) / np.float32(FINE)
        out[0] = np.float32(0)
        out[1] = raw[6] / SCALE
        out[2] = raw[0] / SCALE
        after = PLAIN
        for j in range(1, ANCHORS):
            for k in range(len(edges)):
                away = out[j] * SCALE - edges[k]
                for m in range(len(_SHARPNESS)):
                    out[after] = min(max(away / _SHARPNESS[m], np.float32(-1)), np.float32(1))
                    after += 1


@kernel
def share(age: Any, bins: Any) -> Any:
    """Return the newest value's weight in a running mean over about `bins`: 1 / `age` until there are so many."""
    return np.float32(1) / min(age, max(bins, np.float32(1)))


class Memory:
    """The memory of an artifact: which channels, on what scale, how long a horizon, where the classes begin."""

    def __init__(
        self, scale: tuple[NDArray[np.float32], NDArray[np.float32]], arrays: Mapping[str, Any],
        thresholds_ms: tuple[float, float],
    ) -> None:  # fmt: skip
        """Make it from the normaliser's offset and divisor, and a manifest's channels, horizon and bin."""
        channels = list(arrays["channels"])
        self._seen = np.array([channels.index(name) for name in SEEN], np.int64)
        self._low, self._width = (np.ascontiguousarray(each, np.float32) for each in scale)
        self._edges = np.log1p(np.array(thresholds_ms, np.float32))
        self._bins, self._bin_ms = max(1, int(arrays["horizon_ms"]) // int(arrays["bin_ms"])), float(arrays["bin_ms"])

    def update(
        self, x: NDArray[np.float32], series: NDArray[np.int32], state: NDArray[np.float32], place: int = 0
    ) -> NDArray[np.float32]:
        """Return rows with their memory, float32 [n, F + FEATURES], and update `state[:, place:]`."""
        wide = np.empty((len(x), x.shape[1] + FEATURES), np.float32)
        write_features(
            x, series, state, place, self._seen, self._low, self._width, self._edges, self._bins, self._bin_ms, wide
        )
        return wide

    def of_series(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a whole series from its beginning with its memory: float32 [T, F + FEATURES]."""
        return self.update(x, np.zeros(len(x), np.int32), np.zeros((1, STATE), np.float32))
