"""The arena's queues against the virtual queue, and flows that change their place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.stream.arena.network.flows import NEVER, foresee, new_flows, serve
from offramp.stream.arena.network.queues import new_journeys, new_queues
from offramp.stream.bins.virtual_queue import virtual_delays_ms

END = 1 << 62


@given(
    st.lists(st.tuples(st.integers(0, 20_000_000), st.integers(40, 9_000)), min_size=1, max_size=60),
    st.integers(1, 30), st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_one_place_is_the_virtual_queue(packets: list[tuple[int, int]], mbit: int, down: bool) -> None:
    times = np.sort(np.array([time for time, _ in packets], np.int64))
    sizes = np.array([size for _, size in packets], np.int64)
    wanted = virtual_delays_ms(times, sizes, capacity_bps=mbit * 1e6, buffer_bytes=9_000)
    capacity = np.array([[mbit * 1e6, 99e9], [99e9, 99e9]])
    if down:
        capacity = capacity[:, ::-1].copy()
    queues = new_queues(capacity, np.full((2, 2), 9_000.0), np.array([[3.0, 3.0], [0.0, 0.0]]))
    flows, journeys = new_flows(np.array([down]), np.zeros(1, np.int64)), new_journeys(len(times))
    peak = np.zeros((2, 2))
    end = serve(queues, flows, journeys, times, sizes, np.zeros(len(times), np.int64), 0, END, peak, 0.5)
    assert end == len(times)
    np.testing.assert_array_equal(np.isnan(journeys.delay_ms), np.isnan(wanted))
    sent = sizes * 8e3 / (mbit * 1e6)
    np.testing.assert_allclose(journeys.delay_ms - sent - 3.0, wanted, atol=1e-6)
    assert peak[0, int(down)] >= np.nanmax(wanted + sent) - 1e-6
    assert flows.rate_bps[0] == pytest.approx(0.5 * sizes.sum() * 8 / 0.01)


def test_a_trace_serves_by_its_opportunities() -> None:
    times, sizes = np.array([0, 0, 5_000_000], np.int64), np.array([1_500, 1_500, 1_500], np.int64)
    trace = np.array([1, 4, 9], np.int64) * 1_000_000
    queues = new_queues(np.full((1, 2), 1e6), np.full((1, 2), 1e6), np.zeros((1, 2)), {(0, 0): (trace, 1_500.0)})
    flows, journeys = new_flows(np.array([False]), np.zeros(1, np.int64)), new_journeys(3)
    serve(queues, flows, journeys, times, sizes, np.zeros(3, np.int64), 0, END, np.zeros((1, 2)), 1.0)
    assert journeys.delay_ms.tolist() == [1.0, 4.0, 4.0]


@given(st.integers(0, 1_000_000), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_what_is_foreseen_is_what_comes(seed: int, moved: int) -> None:
    """The sum of the delays with a flow moved at a time is that of serving the same; the flows are left as they are."""
    rng, count = np.random.default_rng(seed), 200
    times = np.sort(rng.integers(0, 40_000_000, count))
    sizes, flow = rng.integers(60, 1_500, count), rng.integers(0, 4, count)
    down = rng.random(4) < 0.5
    queues = new_queues(
        np.array([[8e6, 8e6], [6e6, 6e6]]), np.full((2, 2), 20_000.0), np.array([[1.0, 1.0], [5.0, 5.0]])
    )
    flows, journeys = new_flows(down, np.array([0, 1, 0, 0])), new_journeys(count)
    flows.due_ns[2], flows.following[2] = 9_000_000, 1
    copy = queues._replace(work=queues.work.copy(), hint=queues.hint.copy())
    to, due = 1 - int(flows.place[moved]), 15_000_000
    found = foresee(copy, flows, times, sizes, flow, 0, END, 200.0, moved if moved != 2 else NEVER, to, due)
    if moved != 2:
        flows.due_ns[moved], flows.following[moved] = due, to
    serve(queues, flows, journeys, times, sizes, flow, 0, END, np.zeros((2, 2)), 1.0)
    assert found == pytest.approx(np.where(np.isnan(journeys.delay_ms), 200.0, journeys.delay_ms).sum())


@given(st.integers(0, 1_000_000), st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_a_visit_is_foreseen_as_it_comes(seed: int, stays_ms: int) -> None:
    """A flow that is thought to come back is served as one that is moved twice."""
    rng, count = np.random.default_rng(seed), 200
    times = np.sort(rng.integers(0, 40_000_000, count))
    sizes, flow = rng.integers(60, 1_500, count), rng.integers(0, 3, count)
    queues = new_queues(
        np.array([[8e6, 8e6], [6e6, 6e6]]), np.full((2, 2), 20_000.0), np.array([[1.0, 1.0], [5.0, 5.0]])
    )
    flows, journeys = new_flows(np.zeros(3, np.bool_), np.zeros(3, np.int64)), new_journeys(count)
    copy = queues._replace(work=queues.work.copy(), hint=queues.hint.copy())
    due, back = 5_000_000, 5_000_000 + stays_ms * 1_000_000
    found = foresee(copy, flows, times, sizes, flow, 0, END, 200.0, 1, 1, due, back)
    flows.due_ns[1], flows.following[1] = due, 1
    at = serve(queues, flows, journeys, times, sizes, flow, 0, back, np.zeros((2, 2)), 1.0)
    flows.due_ns[1], flows.following[1] = back, 0
    serve(queues, flows, journeys, times, sizes, flow, at, END, np.zeros((2, 2)), 1.0)
    assert found == pytest.approx(np.where(np.isnan(journeys.delay_ms), 200.0, journeys.delay_ms).sum())


def test_a_flow_takes_another_place_from_when_it_is_due() -> None:
    times = np.arange(10, dtype=np.int64) * 1_000_000
    sizes, flow = np.full(10, 100, np.int64), np.tile(np.array([0, 1], np.int64), 5)
    queues = new_queues(np.full((2, 2), 1e9), np.full((2, 2), 1e6), np.array([[1.0, 1.0], [7.0, 7.0]]))
    flows, journeys = new_flows(np.zeros(2, np.bool_), np.zeros(2, np.int64)), new_journeys(10)
    flows.due_ns[1], flows.following[1] = 4_500_000, 1
    at = serve(queues, flows, journeys, times, sizes, flow, 0, 5_000_000, np.zeros((2, 2)), 1.0)
    assert at == 5
    assert journeys.place[:5].tolist() == [0] * 5
    assert flows.due_ns[1] != NEVER
    serve(queues, flows, journeys, times, sizes, flow, at, END, np.zeros((2, 2)), 1.0)
    assert journeys.place[5:].tolist() == [1, 0, 1, 0, 1]
    assert flows.due_ns[1] == NEVER
