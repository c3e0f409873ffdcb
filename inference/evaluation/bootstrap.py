"""Confidence intervals by a moving block bootstrap: it draws stretches of time, as neighbouring forecasts are alike.

The test part is cut into cells of a quarter of a block, each of one recording: all series made of that recording (its
link, its devices, its capacities) at that time are in the same cell, because they share their packets. Cells stand in a
ring, one recording after the other; a replicate draws blocks of four cells, as many as fill the ring (Kunsch 1989;
circular, as Politis and Romano 1992). The same draws serve every model, so differences between models are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK_S = 10.0
CELLS_PER_BLOCK = 4
REPLICATES = 2_000
LEVEL = 0.95


class Cells(NamedTuple):
    """cell: int64 [n] of every row; origin: int64 [cells], the recording of each cell."""

    cell: NDArray[np.int64]
    origin: NDArray[np.int64]


def block_seconds(horizon_ms: int) -> float:
    """Return the length of a block: BLOCK_S, at least four horizons, as overlapping targets depend on each other."""
    return max(BLOCK_S, 4 * horizon_ms / 1_000)


def cells_of(origins: Sequence[str], time_ns: NDArray[np.int64], horizon_ms: int) -> Cells:
    """Return the cells of rows [n] by their recording and time."""
    length = round(block_seconds(horizon_ms) * 1e9 / CELLS_PER_BLOCK)
    _, which = np.unique(np.asarray(origins), return_inverse=True)
    begin = np.full(which.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(begin, which, time_ns)
    slot = (time_ns - begin[which]) // length
    key = which.astype(np.int64) * (slot.max() + 1) + slot
    used, cell = np.unique(key, return_inverse=True)
    return Cells(cell.astype(np.int64), used // (slot.max() + 1))


def block_weights(cells: int, replicates: int, seed: int) -> NDArray[np.float64]:
    """Return how often each replicate has each cell: float64 [replicates, cells]; a row sums to `cells`."""
    rng = np.random.default_rng(seed)
    blocks = -(-cells // CELLS_PER_BLOCK)
    begins = rng.integers(0, cells, (replicates, blocks))
    drawn = (begins[:, :, None] + np.arange(CELLS_PER_BLOCK)) % cells
    flat = drawn.reshape(replicates, -1) + cells * np.arange(replicates)[:, None]
    counts = np.bincount(flat.ravel(), minlength=replicates * cells).reshape(replicates, cells)
    return counts.astype(np.float64) * (cells / (blocks * CELLS_PER_BLOCK))


def source_weights(origin: NDArray[np.int64], replicates: int, seed: int) -> NDArray[np.float64]:
    """Return the same where whole recordings are drawn: what might be met on recordings that were not tested."""
    kinds, which = np.unique(origin, return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(kinds), (replicates, len(kinds)))
    counts = np.stack([np.bincount(row, minlength=len(kinds)) for row in drawn])
    return counts[:, which].astype(np.float64)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the percentile interval of replicates; NaN where they are."""
    if not np.isfinite(values).any():
        return float("nan"), float("nan")
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
