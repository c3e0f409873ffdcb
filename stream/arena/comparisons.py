"""Intervals, and policies against each other: paired, as the same blocks of time of both are drawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 2_000
INTERVAL = (0.025, 0.975)
NEAR = 1.05
"""A block whose mean is at most so many times the bound's is as good as the bound."""


class Blocks(NamedTuple):
    """Sums of the blocks of all episodes, float64 [B]: delay in ms, packets, packets over the budget, packets lost."""

    delay_ms: NDArray[np.float64]
    packets: NDArray[np.float64]
    over: NDArray[np.float64]
    lost: NDArray[np.float64]


def draws(count: int, seed: int = 1) -> NDArray[np.int64]:
    """Return which blocks each draw takes, int64 [DRAWS, count]: the same for all policies, so that they are paired."""
    return np.random.default_rng(seed).integers(count, size=(DRAWS, count))


def mean_draws(blocks: Blocks) -> NDArray[np.float64]:
    """Return the mean delay of each draw, ms: float64 [DRAWS], NaN where a draw has no packet."""
    drawn = draws(len(blocks.packets))
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = blocks.delay_ms[drawn].sum(1) / blocks.packets[drawn].sum(1)
    return found


def interval(blocks: Blocks) -> tuple[float, float]:
    """Return the 95 % interval of the mean delay, ms."""
    return _ends(mean_draws(blocks))


def difference_of(one: Blocks, other: Blocks) -> tuple[float, float, float]:
    """Return the mean delay of `one` less that of `other`, and its interval, ms."""
    low, high = _ends(mean_draws(one) - mean_draws(other))
    return _mean(one) - _mean(other), low, high


def ratio_of(one: Blocks, other: Blocks) -> tuple[float, float, float]:
    """Return how many times the mean delay of `other` that of `one` is, and its interval."""
    low, high = _ends(mean_draws(one) / mean_draws(other))
    return _mean(one) / _mean(other), low, high


def near(one: Blocks, bound: Blocks) -> float:
    """Return the share of the blocks in which `one` is as good as the bound."""
    both = (one.packets > 0) & (bound.packets > 0)
    mine, theirs = (each.delay_ms[both] / each.packets[both] for each in (one, bound))
    return float((mine <= NEAR * theirs).mean()) if both.any() else 0.0


def _mean(blocks: Blocks) -> float:
    return float(blocks.delay_ms.sum() / max(blocks.packets.sum(), 1.0))


def _ends(drawn: NDArray[np.float64]) -> tuple[float, float]:
    known = drawn[np.isfinite(drawn)]
    low, high = np.quantile(known, INTERVAL) if len(known) else (0.0, 0.0)
    return float(low), float(high)
