"""What episodes came to, with intervals: by blocks of time, drawn again and again, paired between policies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.stream.arena.episode import Outcome

BLOCK_NS = 5_000_000_000
"""A block, longer than what congestion lasts here, so that blocks lean little on their neighbours."""
DRAWS = 2_000
INTERVAL = (0.025, 0.975)


class Blocks(NamedTuple):
    """Sums of the blocks of all episodes, float64 [B]: delay in ms, packets, packets over the budget, packets lost."""

    delay_ms: NDArray[np.float64]
    packets: NDArray[np.float64]
    over: NDArray[np.float64]
    lost: NDArray[np.float64]


class Measures(NamedTuple):
    """Of one policy in one scenario: means over packets, an interval of the mean, quantiles, shares, moves a minute."""

    mean_ms: float
    low_ms: float
    high_ms: float
    p95_ms: float
    p99_ms: float
    lost: float
    over: float
    moves: float
    returns: float
    flaps: float


def delays(outcome: Outcome, lost_ms: float) -> NDArray[np.float64]:
    """Return the delay of each packet, a lost one's as it counts, ms."""
    return np.where(np.isnan(outcome.delay_ms), lost_ms, outcome.delay_ms)


def blocks_of(outcomes: Sequence[Outcome], lost_ms: float, budget_ms: float) -> Blocks:
    """Return the blocks of some episodes, those without a packet left out."""
    parts = []
    for outcome in outcomes:
        number = outcome.time_ns // BLOCK_NS
        delay, count = delays(outcome, lost_ms), int(number[-1]) + 1
        sums = [
            np.bincount(number, weights, count)
            for weights in (delay, np.ones(len(delay)), delay > budget_ms, np.isnan(outcome.delay_ms))
        ]
        parts.append(np.stack(sums)[:, sums[1] > 0])
    return Blocks._make(np.concatenate(parts, axis=1))


def draws(count: int, seed: int = 1) -> NDArray[np.int64]:
    """Return which blocks each draw takes, int64 [DRAWS, count]: the same for all policies, so that they are paired."""
    return np.random.default_rng(seed).integers(count, size=(DRAWS, count))


def mean_draws(blocks: Blocks, drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean delay of each draw, ms."""
    found: NDArray[np.float64] = blocks.delay_ms[drawn].sum(1) / blocks.packets[drawn].sum(1)
    return found


def measures(outcomes: Sequence[Outcome], lost_ms: float, budget_ms: float) -> Measures:
    """Return what some episodes of one policy came to."""
    blocks = blocks_of(outcomes, lost_ms, budget_ms)
    low, high = np.quantile(mean_draws(blocks, draws(len(blocks.packets))), INTERVAL)
    every, packets = np.concatenate([delays(each, lost_ms) for each in outcomes]), blocks.packets.sum()
    minutes = sum(float(each.time_ns[-1]) for each in outcomes) / 60e9
    counts = [each.counts for each in outcomes]
    return Measures(
        float(blocks.delay_ms.sum() / packets), float(low), float(high), float(np.percentile(every, 95)),
        float(np.percentile(every, 99)), float(blocks.lost.sum() / packets), float(blocks.over.sum() / packets),
        sum(each.moved for each in counts) / minutes, sum(each.returned for each in counts) / minutes,
        sum(each.flaps for each in counts) / minutes,
    )  # fmt: skip


def difference(one: Sequence[Outcome], other: Sequence[Outcome], lost_ms: float) -> tuple[float, float, float]:
    """Return the mean delay of `one` less that of `other`, and its interval: paired, as their episodes are the same."""
    mine, theirs = (blocks_of(each, lost_ms, lost_ms) for each in (one, other))
    drawn = draws(len(mine.packets))
    low, high = np.quantile(mean_draws(mine, drawn) - mean_draws(theirs, drawn), INTERVAL)
    whole = [each.delay_ms.sum() / each.packets.sum() for each in (mine, theirs)]
    return float(whole[0] - whole[1]), float(low), float(high)
