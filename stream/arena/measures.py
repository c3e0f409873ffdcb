"""What episodes came to, with intervals: by blocks of time, drawn again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.stream.arena.comparisons import Blocks, difference_of, interval
from offramp.stream.arena.episode import Outcome

BLOCK_NS = 5_000_000_000
"""A block, longer than what congestion lasts here, so that blocks lean little on their neighbours."""
SURE_BLOCKS = 30
"""Blocks below which an interval is not to be relied on: drawing few again and again makes it too narrow."""


class Served(NamedTuple):
    """What users felt, of all traffic or of a class: means over packets, an interval of the mean, quantiles, shares.

    share: of all packets; in_time: share of the requests that were served before their deadline, None where none has
    one; throughput_bps: bits of delivered packets a second.
    """

    mean_ms: float
    low_ms: float
    high_ms: float
    p95_ms: float
    p99_ms: float
    lost: float
    over: float
    share: float
    in_time: float | None
    throughput_bps: float


class Measures(NamedTuple):
    """Of one policy in one scenario: what users felt, and what it took.

    The first ones are Served's. moves, returns, flaps, refused, failed, broken, refused_tasks: a minute; refused:
    commands that could not be carried out; failed: those that got lost on the way; broken: connections that had to
    begin anew; refused_tasks: those that found their node's queue full. congested: share of the bins in which a packet
    of a watched link waited for longer than its budget; energy_nj: of a delivered bit. blocks: what the interval rests
    on.
    """

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
    in_time: float | None
    throughput_bps: float
    congested: float
    energy_nj: float
    refused: float
    failed: float
    broken: float
    refused_tasks: float
    blocks: int
    swayed: float | None


def delays(outcome: Outcome, lost_ms: float) -> NDArray[np.float64]:
    """Return the delay of each packet, a lost one's as it counts, ms."""
    return np.where(np.isnan(outcome.delay_ms), lost_ms, outcome.delay_ms)


@dataclass
class Sums:
    """Of a class of traffic, or of all: delays and blocks by episode, bits delivered, requests made and in time."""

    delay_ms: list[NDArray[np.float64]] = field(default_factory=list)
    blocks: list[NDArray[np.float64]] = field(default_factory=list)
    bits: float = 0.0
    asked: int = 0
    in_time: int = 0


class Tally:
    """Adds episodes up, one after the other, and keeps of each no more than its delays and its blocks."""

    def __init__(self, lost_ms: float, budget_ms: float) -> None:
        self.lost_ms, self.budget_ms = lost_ms, budget_ms
        self._all, self._classes = Sums(), dict[str, Sums]()
        self._counts = np.zeros(9)
        self._last_ns = self._seconds = self._energy_nj = 0.0
        self._bins = self._congested = 0

    def add(self, outcome: Outcome) -> None:
        """Take an episode up."""
        self._last_ns += float(outcome.time_ns[-1]) if len(outcome.time_ns) else 0.0
        self._seconds += outcome.seconds
        self._bins += len(outcome.congested)
        self._congested += int(np.count_nonzero(outcome.congested))
        self._energy_nj += outcome.energy_nj
        counts = outcome.counts
        self._counts += (
            counts.moved, counts.returned, counts.flaps, counts.refused, counts.lost, counts.broken,
            counts.refused_tasks, counts.decided, counts.swayed,
        )  # fmt: skip
        kind = outcome.kind[outcome.flow]
        self._add(self._all, outcome, np.ones(len(kind), np.bool_))
        for number, name in enumerate(outcome.classes):
            self._add(self._classes.setdefault(name, Sums()), outcome, kind == number, number)

    def _add(self, sums: Sums, outcome: Outcome, own: NDArray[np.bool_], kind: int | None = None) -> None:
        """Add the packets of a mask, and the requests of a class; None: of all."""
        delay, counted = outcome.delay_ms[own], delays(outcome, self.lost_ms)[own]
        count = max(int(np.ceil(outcome.seconds * 1e9 / BLOCK_NS)), 1)
        block = np.minimum(outcome.time_ns[own] // BLOCK_NS, count - 1)
        weights = (counted, np.ones(len(delay)), counted > self.budget_ms, np.isnan(delay))
        sums.delay_ms.append(counted)
        sums.blocks.append(np.stack([np.bincount(block, each, count) for each in weights]))
        sums.bits += float(outcome.size[own][~np.isnan(delay)].sum()) * 8
        if outcome.requests is not None:
            mine = np.ones(len(outcome.requests.kind), np.bool_) if kind is None else outcome.requests.kind == kind
            sums.asked += int(mine.sum())
            sums.in_time += int((mine & outcome.requests.in_time).sum())

    def blocks(self, name: str | None = None) -> Blocks:
        """Return the blocks of a class, or of all traffic: as many for each policy, so that they can be paired."""
        return _blocks(self._all if name is None else self._classes[name])

    def delays_ms(self) -> NDArray[np.float64]:
        """Return the delays of all packets, in order."""
        return np.concatenate(self._all.delay_ms)

    def _served(self, sums: Sums) -> Served:
        blocks, delay_ms = _blocks(sums), np.concatenate(sums.delay_ms)
        low, high = interval(blocks)
        packets = max(float(blocks.packets.sum()), 1.0)
        p95, p99 = (float(np.percentile(delay_ms, share)) if len(delay_ms) else 0.0 for share in (95, 99))
        return Served(
            float(blocks.delay_ms.sum() / packets), low, high, p95, p99, float(blocks.lost.sum() / packets),
            float(blocks.over.sum() / packets), len(delay_ms) / max(float(self.blocks().packets.sum()), 1.0),
            sums.in_time / sums.asked if sums.asked else None, sums.bits / self._seconds,
        )  # fmt: skip

    def classes(self) -> dict[str, Served]:
        """Return what the users of each class felt, those without a packet or a request left out."""
        came = {name: sums for name, sums in self._classes.items() if sums.asked or _blocks(sums).packets.any()}
        return {name: self._served(sums) for name, sums in came.items()}

    def measures(self) -> Measures:
        """Return what it all came to."""
        felt, minutes = self._served(self._all), max(self._last_ns, 1.0) / 60e9
        moves, returns, flaps, refused, failed, broken, tasks = (float(each) for each in self._counts[:7] / minutes)
        decided, swayed = self._counts[7:].tolist()
        return Measures(
            *felt[:7], moves, returns, flaps, felt.in_time, felt.throughput_bps, self._congested / max(self._bins, 1),
            self._energy_nj / max(self._all.bits, 1.0), refused, failed, broken, tasks, len(self.blocks().packets),
            swayed / decided if decided else None,
        )  # fmt: skip


def _blocks(sums: Sums) -> Blocks:
    return Blocks._make(np.concatenate(sums.blocks, axis=1))


def tallied(outcomes: Sequence[Outcome], lost_ms: float, budget_ms: float) -> Tally:
    """Return some episodes of one policy added up."""
    tally = Tally(lost_ms, budget_ms)
    for outcome in outcomes:
        tally.add(outcome)
    return tally


def measures(outcomes: Sequence[Outcome], lost_ms: float, budget_ms: float) -> Measures:
    """Return what some episodes of one policy came to."""
    return tallied(outcomes, lost_ms, budget_ms).measures()


def difference(one: Sequence[Outcome], other: Sequence[Outcome], lost_ms: float) -> tuple[float, float, float]:
    """Return the mean delay of `one` less that of `other`, and its interval: paired, as their episodes are the same."""
    mine, theirs = (tallied(each, lost_ms, lost_ms).blocks() for each in (one, other))
    return difference_of(mine, theirs)
