"""Heavy hitters: the flows that carry most of the link now, in bounded memory.

Space-Saving (Metwally, Agrawal, El Abbadi 2005) over bytes, with forward exponential decay (Cormode et al. 2009): a
byte counts 2^(age in bins / half-life) when it comes, all counters are scaled down together from time to time. A
counter is never below the flow's true decayed bytes, and above it by at most total / COUNTERS.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.kernels import kernel_entry, kernel_lean

COUNTERS = 128
TOP = 16
SOURCE, TARGET, PROTOCOL, PORTS, KEY = 0, 2, 4, 5, 6
"""Places in a flow's key, and its length: the addresses take two each, high and low."""

SCALED_AT, USED, ASKED, CLOCKS = range(4)
"""Places in `HeavyHitters.clock`: the bin of scale 1, the counters used, the bin asked for last."""

BYTES, SCALE, TOTALS = range(3)
"""Places in `HeavyHitters.total`: scaled bytes in all, the scale of the bin asked for last."""

INDEX = 512  # slots of the hint table, a power of two
HALF_LIFE_BINS = 100.0
RESCALE_BINS = 4_000  # 2^40: far from the end of float64, and rare


class HeavyHitters(NamedTuple):
    """The counters. A plain tuple of arrays, so that kernels take it as one argument.

    key: int64 [COUNTERS, KEY]; mixed: int64 [COUNTERS] its hash; weight, error: float64 [COUNTERS] in scaled bytes;
    hint: int16 [INDEX]; total: float64 [TOTALS]; clock: int64 [CLOCKS].
    """

    key: NDArray[np.int64]
    mixed: NDArray[np.int64]
    weight: NDArray[np.float64]
    error: NDArray[np.float64]
    hint: NDArray[np.int16]
    total: NDArray[np.float64]
    clock: NDArray[np.int64]


def new_heavy_hitters() -> HeavyHitters:
    """Return empty counters."""
    return HeavyHitters(
        np.zeros((COUNTERS, KEY), np.int64),
        np.zeros(COUNTERS, np.int64),
        np.zeros(COUNTERS),
        np.zeros(COUNTERS),
        np.zeros(INDEX, np.int16),
        np.ones(TOTALS),
        np.zeros(CLOCKS, np.int64),
    )


@kernel_lean
def same_key(table: NDArray[np.int64], row: int, key: NDArray[np.int64]) -> bool:
    """Return whether a counter belongs to `key`."""
    for i in range(KEY):  # noqa: SIM110 - kernels know no generators
        if table[row, i] != key[i]:
            return False
    return True


@kernel_lean
def hash_key(key: NDArray[np.int64]) -> int:
    """Mix a key into one number."""
    h = np.uint64(1469598103934665603)
    for i in range(KEY):
        h = (h ^ np.uint64(key[i])) * np.uint64(1099511628211)
        h ^= h >> np.uint64(29)
    return int(h >> np.uint64(1))


@kernel_entry
def scale_at(hitters: HeavyHitters, bin_number: int) -> float:
    """Return what a byte of `bin_number` counts, scaling all counters down first where the exponent has grown."""
    clock = hitters.clock
    if clock[ASKED] == bin_number and clock[USED] > 0:
        return float(hitters.total[SCALE])
    age = bin_number - clock[SCALED_AT]
    if age > RESCALE_BINS or clock[USED] == 0:
        factor = 0.5 ** (age / HALF_LIFE_BINS) if clock[USED] > 0 else 0.0
        for i in range(COUNTERS):
            hitters.weight[i] *= factor
            hitters.error[i] *= factor
        hitters.total[BYTES] *= factor
        clock[SCALED_AT] = bin_number
        age = 0
    clock[ASKED] = bin_number
    hitters.total[SCALE] = 2.0 ** (age / HALF_LIFE_BINS)
    return float(hitters.total[SCALE])


@kernel_entry
def add(hitters: HeavyHitters, key: NDArray[np.int64], weight: float) -> None:
    """Count `weight` scaled bytes of the flow `key`, taking over the smallest counter where it has none."""
    hitters.total[BYTES] += weight
    mixed = hash_key(key)
    slot = mixed & (INDEX - 1)
    row = int(hitters.hint[slot])
    used = hitters.clock[USED]
    if row >= used or hitters.mixed[row] != mixed or not same_key(hitters.key, row, key):
        row = find_or_take(hitters, key, mixed)
        hitters.hint[slot] = row
    hitters.weight[row] += weight


@kernel_lean
def find_or_take(hitters: HeavyHitters, key: NDArray[np.int64], mixed: int) -> int:
    """Return the counter of a flow; where it has none, a free one or the smallest, taken over with its count."""
    used = int(hitters.clock[USED])
    smallest, least = 0, np.inf
    for i in range(used):
        if hitters.mixed[i] == mixed and same_key(hitters.key, i, key):
            return i
        if hitters.weight[i] < least:
            smallest, least = i, hitters.weight[i]
    if used < COUNTERS:
        smallest = used
        hitters.clock[USED] = used + 1
    else:
        hitters.error[smallest] = least
    for i in range(KEY):
        hitters.key[smallest, i] = key[i]
    hitters.mixed[smallest] = mixed
    return smallest


@kernel_entry
def top(hitters: HeavyHitters, scale: float, keys: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
    """Write the TOP heaviest flows, heaviest first: keys int64 [TOP, KEY], weights float64 [TOP] in decayed bytes.

    A weight is what the flow has for certain: its counter less the counter's error; unused places are 0.
    """
    for place in range(TOP):
        weights[place], keys[place, 0] = 0.0, 0  # the counter's number stands in the key's place until the end
    floor = 0.0
    for i in range(hitters.clock[USED]):
        sure = hitters.weight[i] - hitters.error[i]
        if sure <= floor:
            continue
        place = TOP - 1
        while place > 0 and weights[place - 1] < sure:
            weights[place], keys[place, 0] = weights[place - 1], keys[place - 1, 0]
            place -= 1
        weights[place], keys[place, 0] = sure, i
        floor = weights[TOP - 1]
    for place in range(TOP):
        weights[place] /= scale
        counter = keys[place, 0]
        for i in range(KEY):
            keys[place, i] = hitters.key[counter, i]


RATE_SECONDS_IN_BINS = HALF_LIFE_BINS / float(np.log(2.0))
"""Decayed bytes over this many bins are a rate: the mean age of a decayed byte."""
