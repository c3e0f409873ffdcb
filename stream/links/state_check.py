"""Check a checkpoint before it is restored, as whoever may write to the topic of states may write anything.

Kernels trust their arrays. So a state is compared with that of an empty run: the same shapes and types, indices within
their arrays, numbers that a run can reach. Anything else is refused in whole, before a kernel sees any of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.capture.block import END_OF_TIME_NS
from offramp.errors import ContractError
from offramp.stream.bins.event_time import NOTHING, PACKET
from offramp.stream.bins.heavy_hitters import ASKED, COUNTERS, SCALED_AT, USED
from offramp.stream.bins.state import (
    BACK_FIRST_NS,
    BACK_NEWEST_NS,
    NEWEST,
    NEXT,
    OPEN,
    REACHED,
    SERIES,
    WAITS,
    WAITS_NS,
)
from offramp.stream.channels import BIN_NS

MAX_INTEGER = 1 << 63
MAX_NUMBER = {np.dtype(np.float64): 1e30, np.dtype(np.float32): 1e8}
"""Bytes scaled for their decay come to 1e22, what the model carries (ages, mean delays in ms) to 1e7."""
MIN_COUNT = 1e-6
"""A counter of a bin is 0 or at least this (a round trip of a nanosecond, in ms): quotients of two are finite."""
TIMES = [NEWEST, REACHED, WAITS_NS, BACK_FIRST_NS, BACK_NEWEST_NS]
"""Places of the clock that hold a time: beyond what any packet has, sums with it would wrap around."""
MAX_TEXT = 1_000
STATE = "state"


def require_like(own: Any, found: Any, where: str = STATE) -> None:
    """Check a value of a checkpoint against that of an empty run. Raises ContractError naming the place.

    Missing top-level keys are left to the caller to find; lists and empty mappings may hold any plain values.
    """
    if isinstance(own, np.ndarray):
        _require_array(own, found, where)
    elif isinstance(own, Mapping) and own:
        if not isinstance(found, Mapping):
            raise ContractError(f"{where}: is no mapping")
        if where != STATE and not own.keys() <= found.keys():
            raise ContractError(f"{where}: lacks {', '.join(sorted(own.keys() - found.keys()))[:80]}")
        for name in own.keys() & found.keys():
            require_like(own[name], found[name], f"{where}.{name}")
    elif type(own) is not type(found):
        raise ContractError(f"{where}: is of another kind")
    else:
        _require_plain(found, where)


def _require_array(own: NDArray[Any], found: Any, where: str) -> None:
    if not isinstance(found, np.ndarray) or found.dtype != own.dtype or found.shape != own.shape:
        raise ContractError(f"{where}: is no array of {own.dtype} {list(own.shape)}")
    if own.dtype not in MAX_NUMBER:
        return  # hashes and addresses are any number, of indices `require_bins` has the bounds
    fits = (np.abs(found) <= MAX_NUMBER[own.dtype]) | (found == own)  # an empty run has infinities of its own
    if where.endswith(".rtt_ms"):
        fits |= np.isnan(found)  # most packets have no round trip
    if not fits.all():
        raise ContractError(f"{where}: has numbers that no run comes to")


def _require_plain(found: Any, where: str) -> None:
    """Refuse unbounded numbers and texts, however deep."""
    if isinstance(found, Mapping):
        for name, each in found.items():
            _require_plain(name, where)
            _require_plain(each, where)
    elif isinstance(found, list):
        for each in found:
            _require_plain(each, where)
    elif isinstance(found, str):
        if len(found) > MAX_TEXT:
            raise ContractError(f"{where}: has a text of {len(found)} characters")
    elif isinstance(found, (int, float)):
        if not abs(found) < MAX_INTEGER:
            raise ContractError(f"{where}: has numbers that no run comes to")
    elif found is not None:
        raise ContractError(f"{where}: has a {type(found).__name__} where plain values are")


def require_bins(
    bins: Mapping[str, NDArray[Any]], hitters: Mapping[str, NDArray[Any]], held: Mapping[str, NDArray[Any]],
    shape: NDArray[Any],
) -> None:  # fmt: skip
    """Check what kernels rely on in the arrays of bins, heavy hitters and the held packet, whose types are checked.

    shape: the link's own. Raises ContractError.
    """
    clock, counters = bins["clock"], bins["counters"]
    following = int(clock[NEXT]) + OPEN
    for what, holds in (
        ("bins.hint", _within(bins["hint"], 0, SERIES - 1)),
        ("bins.alive", _within(bins["alive"], 0, 2)),
        ("bins.clock", bool((clock >= 0).all()) and int(clock[NEWEST]) // BIN_NS <= following),
        ("bins.clock", _within(clock[TIMES], 0, END_OF_TIME_NS) and int(clock[NEXT]) <= END_OF_TIME_NS // BIN_NS + 1),
        ("bins.clock", clock[WAITS] != PACKET or int(held["time_ns"][0]) == int(clock[WAITS_NS]) < END_OF_TIME_NS),
        ("bins.clock", _within(clock[[WAITS]], NOTHING, PACKET)),
        ("bins.last", _within(bins["last"], -1, following)),  # what is closed ends a window behind it
        ("bins.counters", bool(((counters == 0) | (counters >= MIN_COUNT)).all())),
        ("bins.shape", bool((bins["shape"] == shape).all())),
        ("hitters.hint", _within(hitters["hint"], 0, COUNTERS - 1)),
        ("hitters.clock", 0 <= int(hitters["clock"][USED]) <= COUNTERS),
        ("hitters.clock", _within(hitters["clock"][[SCALED_AT, ASKED]], 0, following)),
    ):
        if not holds:
            raise ContractError(f"state.{what}: has numbers that no run comes to")


def _within(numbers: NDArray[Any], least: int, most: int) -> bool:
    return bool((numbers >= least).all() and (numbers <= most).all())
