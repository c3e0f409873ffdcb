"""Queues of two classes against a slow simulation, packet by packet and in exact fractions; marks that help."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from offramp.stream.arena.episode import Outcome, play
from offramp.stream.arena.network.flows import new_flows, serve
from offramp.stream.arena.network.queues import WHOLE, new_journeys, new_queues, send_rest
from offramp.stream.arena.scenario import Scenario, load_scenario
from offramp.stream.arena.traffic import arrivals_of
from offramp.stream.channels import BIN_NS
from tests.support.places import ROOT

END = 1 << 62
BASE_MS = 3.0
PACKETS = st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(40, 1_500), st.booleans()), min_size=1, max_size=60)


class Waiting(NamedTuple):
    """A packet of the slow simulation: its number, and bytes still to send."""

    number: int
    left: Fraction


class SlowQueue:
    """Two lines in front of one sender, which takes the upper's first and sends what it has begun to its end."""

    def __init__(self, limit: int) -> None:
        self.limit, self.now = limit, Fraction(0)
        self.lines: tuple[deque[Waiting], deque[Waiting]] = deque(), deque()
        self.current: Waiting | None = None
        self.current_lower = False
        self.left_at: dict[int, Fraction] = {}

    def pick(self) -> None:
        """Begin the next packet, if the sender is free."""
        if self.current is None:
            line = self.lines[0] or self.lines[1]
            if line:
                self.current_lower = line is self.lines[1]
                self.current = line.popleft()

    def send(self, budget: Fraction, rate: Fraction | None = None) -> None:
        """Send so many bytes: at a rate from now on, or all of them now."""
        while self.current is not None and budget > 0:
            sent = min(budget, self.current.left)
            budget -= sent
            self.now += sent / rate if rate is not None else 0
            self.current = self.current._replace(left=self.current.left - sent)
            if self.current.left == 0:
                self.left_at[self.current.number], self.current = self.now, None
                self.pick()

    def take(self, number: int, size: int, lower: bool) -> None:
        """Put a packet in line if it finds room: the lower class what both leave, the upper what it leaves itself."""
        current = self.current.left if self.current is not None else Fraction(0)
        upper = sum((each.left for each in self.lines[0]), Fraction(0))
        if upper > 0 or not self.current_lower:
            upper += current  # what has begun is sent before it, whatever its class
        queued = upper if not lower else current + sum(each.left for line in self.lines for each in line)
        if queued > 0 and queued + size > self.limit:
            return
        self.lines[lower].append(Waiting(number, Fraction(size)))
        self.pick()


def slow_delays_ms(
    packets: list[tuple[int, int, bool]], limit: int, rate: Fraction, trace: list[int] | None = None, grant: int = 0,
    out: Sequence[tuple[int, int]] = (),
) -> NDArray[np.float64]:  # fmt: skip
    """Return the delay of each packet without the base, NaN where lost."""
    queue, at = SlowQueue(limit), 0
    for number, (time, size, lower) in enumerate([*packets, (END, 0, False)]):
        if trace is None:
            for begin, end in (*out, (time, time)):
                if begin <= time and queue.now < end:
                    queue.send((begin - queue.now) * rate, rate)
                    queue.now = Fraction(min(end, time))
        else:
            while at < len(trace) and trace[at] <= time:
                queue.now = Fraction(trace[at])
                queue.send(Fraction(grant))
                at += 1
        if number < len(packets):
            queue.take(number, size, lower)
    came = [time for time, _, _ in packets]
    return np.array(
        [float(queue.left_at[n] - came[n]) / 1e6 if n in queue.left_at else np.nan for n in range(len(packets))]
    )


def delays_ms(
    packets: list[tuple[int, int, bool]], limit: int, mbit: int, trace: list[int] | None = None, grant: int = 0,
    out: Sequence[tuple[int, int]] = (), classes: int = 2,
) -> NDArray[np.float64]:  # fmt: skip
    """Return the same by the arena's kernels, in two calls, as of two bins."""
    times, sizes = (np.array([each[at] for each in packets], np.int64) for at in (0, 1))
    flow = np.array([int(lower) for _, _, lower in packets], np.int64)
    traces = {(0, 0): (np.array(trace, np.int64), float(grant))} if trace is not None else None
    queues = new_queues(
        np.full((1, 2), mbit * 1e6),
        np.full((1, 2), float(limit)),
        np.full((1, 2), BASE_MS),
        traces,
        np.array([[classes, WHOLE, 0]]),
        {0: np.array(out, np.int64)} if len(out) else None,
    )
    flows, journeys = new_flows(np.zeros(2, np.bool_), np.array([0, 1])), new_journeys(len(packets), classed=True)
    at = 0
    for end in (int(times[len(times) // 2]), END):
        at = serve(queues, flows, journeys, times, sizes, flow, at, end, np.zeros((1, 2)), 1.0)
    send_rest(queues, journeys, times, sizes)
    assert (journeys.place == 0).all()
    return journeys.delay_ms - BASE_MS


@given(PACKETS, st.sampled_from([2, 4, 8, 16]), st.sampled_from([1_500, 4_000, 20_000, 1_000_000]))
@settings(max_examples=150, deadline=None)
def test_two_classes_are_those_of_the_slow_simulation(
    packets: list[tuple[int, int, bool]], mbit: int, limit: int
) -> None:
    packets = sorted(packets, key=lambda packet: packet[0])
    wanted = slow_delays_ms(packets, limit, Fraction(mbit, 8_000))
    np.testing.assert_allclose(delays_ms(packets, limit, mbit), wanted, atol=1e-6, equal_nan=True)


@given(PACKETS, st.integers(0, 1_000_000), st.sampled_from([400, 1_500]), st.sampled_from([4_000, 1_000_000]))
@settings(max_examples=150, deadline=None)
def test_two_classes_over_a_trace_are_those_of_the_slow_simulation(
    packets: list[tuple[int, int, bool]], seed: int, grant: int, limit: int
) -> None:
    packets = sorted(packets, key=lambda packet: packet[0])
    trace = np.cumsum(np.random.default_rng(seed).integers(0, 400_000, 2_000)).tolist()
    wanted = slow_delays_ms(packets, limit, Fraction(1), trace, grant)
    np.testing.assert_allclose(delays_ms(packets, limit, 1, trace, grant), wanted, atol=1e-6, equal_nan=True)


def spans(lengths: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return outages of gaps and lengths one after the other."""
    edges = np.cumsum([each for one in lengths for each in one])
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


OUTAGES = st.lists(st.tuples(st.integers(1, 900_000), st.integers(1, 1_500_000)), min_size=1, max_size=5).map(spans)


@given(PACKETS, OUTAGES, st.sampled_from([2, 8]), st.sampled_from([4_000, 1_000_000]))
@example([(0, 40, True), (40_002, 40, False)], [(40_000, 40_002)], 8, 4_000)  # done as it begins, told of after it
@settings(max_examples=150, deadline=None)
def test_outages_are_those_of_the_slow_simulation(
    packets: list[tuple[int, int, bool]], out: list[tuple[int, int]], mbit: int, limit: int
) -> None:
    packets = sorted(packets, key=lambda packet: packet[0])
    wanted = slow_delays_ms(packets, limit, Fraction(mbit, 8_000), out=out)
    np.testing.assert_allclose(delays_ms(packets, limit, mbit, out=out), wanted, atol=1e-6, equal_nan=True)
    first = [(time, size, False) for time, size, _ in packets]  # all of one class: a queue of one class does the same
    wanted = slow_delays_ms(first, limit, Fraction(mbit, 8_000), out=out)
    np.testing.assert_allclose(delays_ms(first, limit, mbit, out=out, classes=1), wanted, atol=1e-6, equal_nan=True)


@given(PACKETS, OUTAGES, st.integers(0, 1_000_000))
@settings(max_examples=60, deadline=None)
def test_a_trace_has_no_opportunity_in_an_outage(
    packets: list[tuple[int, int, bool]], out: list[tuple[int, int]], seed: int
) -> None:
    packets = sorted(packets, key=lambda packet: packet[0])
    trace = np.cumsum(np.random.default_rng(seed).integers(0, 400_000, 2_000)).tolist()
    kept = [time for time in trace if not any(begin <= time < end for begin, end in out)]
    wanted = slow_delays_ms(packets, 20_000, Fraction(1), kept, 1_500)
    np.testing.assert_allclose(delays_ms(packets, 20_000, 1, trace, 1_500, out), wanted, atol=1e-6, equal_nan=True)


def test_nobody_is_told_how_long_an_outage_will_last() -> None:
    times = np.arange(300, dtype=np.int64) * 1_000_000
    queues = new_queues(
        np.full((1, 2), 8e6), np.full((1, 2), 1e9), np.zeros((1, 2)), outages={0: np.array([[50_000_000, 10**12]])}
    )
    flows, journeys, peak = new_flows(np.zeros(1, np.bool_), np.zeros(1, np.int64)), new_journeys(300), np.zeros((1, 2))
    at, told = 0, []
    for end in range(10_000_000, 300_000_001, 10_000_000):
        at = serve(queues, flows, journeys, times, np.full(300, 100), np.zeros(300, np.int64), at, end, peak, 1.0)
        told.append(float(peak[0, 0]))
    assert told[:5] == pytest.approx([0.1] * 5)
    assert told[5] == pytest.approx(9 + 10 * 0.1)  # the last packet: 9 ms into the outage, ten packets wait
    assert told[-1] == pytest.approx(249 + 250 * 0.1)
    assert journeys.delay_ms[-1] > 900_000


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_long_overload_is_that_of_the_slow_simulation(share: float) -> None:
    rng = np.random.default_rng(5)
    times = np.cumsum(rng.integers(0, 1_600_000, 4_000)).tolist()
    packets = [(time, int(rng.integers(60, 1_500)), bool(rng.random() < share)) for time in times]
    wanted, found = slow_delays_ms(packets, 60_000, Fraction(8, 8_000)), delays_ms(packets, 60_000, 8)
    np.testing.assert_allclose(found, wanted, atol=1e-6, equal_nan=True)
    assert np.nanmax(found) > 20
    if 0 < share < 1:
        lower = np.array([each[2] for each in packets])
        assert np.nanmean(found[~lower]) < np.nanmean(found[lower]) / 4
    else:  # all of one class: first in, first out, whichever it is
        np.testing.assert_allclose(
            found, delays_ms([(time, size, not lower) for time, size, lower in packets], 60_000, 8), atol=1e-6
        )


def of_two_classes(name: str, queues: int = 2) -> Scenario:
    one = load_scenario(ROOT / f"samples/arena/{name}.toml")
    link = one.site.links[0].model_copy(update={"queues": queues, "paths": ()})
    return one.model_copy(update={"site": one.site.model_copy(update={"links": (link,)})})


def light_ms(one: Scenario, seed: int, outcome: Outcome) -> float:
    """Return the mean delay of the packets of flows that had less than a tenth of the capacity over the episode."""
    arrivals = arrivals_of(one, seed, Path(), None)
    bits = np.bincount(arrivals.flow, arrivals.packets.size, len(arrivals.down)) * 8
    first, last = np.full(len(bits), np.inf), np.zeros(len(bits))
    np.minimum.at(first, arrivals.flow, outcome.time_ns)
    np.maximum.at(last, arrivals.flow, outcome.time_ns)
    light = (bits / (last - first + BIN_NS) * 1e9 < 0.1 * one.link.capacity_bps)[arrivals.flow]
    delay = np.where(np.isnan(outcome.delay_ms), one.network.lost_ms, outcome.delay_ms)
    return float(delay[light].mean())


@pytest.mark.parametrize("name", ["web", "onoff", "bulk"])
def test_marks_of_heavy_flows_help_light_ones(name: str) -> None:
    one = of_two_classes(name)
    none, marked = ([play(one, seed, policy) for seed in (1, 2, 3)] for policy in ("none", "priority"))
    before, after = (
        np.mean([light_ms(one, seed, each) for seed, each in enumerate(played, 1)]) for played in (none, marked)
    )
    assert after < before / 1.8, (before, after)
    counts = [each.counts for each in marked]
    assert all(each.moved > 0 and each.refused == 0 for each in counts)
    assert all(each.returned <= each.moved for each in counts)
    assert all((each.place == 0).all() for each in marked), "a marked flow stays on its link"
    assert all(command.action["type"] in ("mark", "clear") for each in marked for command in each.commands)


def test_a_link_of_one_class_refuses_marks_and_priority_gives_none() -> None:
    one = of_two_classes("jobs", queues=1)
    assert play(one, 1, "priority").commands == []
    counts = play(one, 1, "threshold").counts  # without a path it marks
    assert counts.refused > 0
    assert counts.moved == 0


def test_two_classes_without_a_mark_are_one_queue() -> None:
    one, other = (play(of_two_classes("jobs", queues), 1, "none") for queues in (1, 2))
    np.testing.assert_allclose(one.delay_ms, other.delay_ms, atol=1e-9)
