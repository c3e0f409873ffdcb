"""A queue that a trace serves, bin by bin, against a simulation of every half millisecond."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.stream.bins.packets import Packets
from offramp.stream.channels import BIN_NS
from offramp.stream.datasets.trace_queue import Service, goes_down, queue_bins

START = 170_000_000_000 * 20
"""The first bin's start in half milliseconds."""


def simulated(arrivals: list[tuple[int, int]], trace_ms: list[int], opportunity: int, buffer: float, count: int) -> Any:
    """Let every half millisecond pass; a packet counts against the buffer until all of it has left."""
    waiting: list[list[int]] = []
    out: list[tuple[int, float, int]] = []
    delay = dropped = 0
    first, period = arrivals[0][0], 2 * trace_ms[-1]
    served = sorted(2 * at for at in trace_ms)
    coming = list(arrivals)
    for now in range(20 * count + 1):
        if now and now % 20 == 0:
            oldest = now - waiting[0][0] if waiting else 0
            out.append((sum(size for _, size, _ in waiting), max(delay, oldest) / 2, dropped))
            delay, dropped = 0, 0
        while coming and coming[0][0] == now:
            size = coming.pop(0)[1]
            if waiting and sum(whole for _, whole, _ in waiting) + size > buffer:
                dropped += 1
            else:
                waiting.append([now, size, size])
        since = now - first
        for at in served:
            room = opportunity if since > 0 and since % period == at % period else 0
            while waiting and room:
                taken = min(room, waiting[0][2])
                room, waiting[0][2] = room - taken, waiting[0][2] - taken
                if not waiting[0][2]:
                    delay = max(delay, now - waiting.pop(0)[0])
    return out


@given(
    st.lists(st.tuples(st.integers(0, 24), st.integers(1, 4_000)), min_size=1, max_size=40),
    st.lists(st.integers(1, 30), min_size=1, max_size=8),
    st.sampled_from([1_500, 700]),
    st.sampled_from([1e9, 6_000]),
)
@settings(max_examples=80, deadline=None)
def test_equals_a_walk_through_time(
    arrivals: list[tuple[int, int]], trace: list[int], opportunity: int, buffer: float
) -> None:
    trace = sorted(trace)
    first = arrivals[0][0] * 2
    times = first + np.cumsum([0, *[2 * gap + (place == 0) for place, (gap, _) in enumerate(arrivals[1:])]])
    sizes = np.array([size for _, size in arrivals], np.int64)  # after the first, arrivals are between opportunities
    count = int(times[-1]) // 20 + 12
    found = queue_bins(
        (START + times) * 500_000,
        sizes,
        Service(np.array(trace, np.int64) * 1_000_000, opportunity),
        buffer,
        START // 20 + np.arange(count),
    )
    wanted = simulated(list(zip(times.tolist(), sizes.tolist(), strict=True)), trace, opportunity, buffer, count)
    for at, name in enumerate(("backlog_bytes", "delay_ms", "dropped")):
        assert getattr(found, name).tolist() == pytest.approx([row[at] for row in wanted]), name


def test_nothing_is_known_before_its_time() -> None:
    rng = np.random.default_rng(3)
    times = np.sort(rng.integers(0, 2_000_000_000, 3_000)) + START * 500_000
    sizes, bins = rng.integers(60, 1_500, 3_000), START // 20 + np.arange(300)
    trace = np.sort(rng.integers(1, 900, 500)) * 1_000_000
    service = Service(trace, 1_500)
    whole = queue_bins(times, sizes, service, 40_000.0, bins)
    for until in (40, 111, 170):
        seen = times < (bins[until] + 1) * BIN_NS
        part = queue_bins(times[seen], sizes[seen], service, 40_000.0, bins[: until + 1])
        for name in part._fields:
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[: until + 1])
    assert whole.delay_ms.max() > 10
    assert whole.dropped.sum() > 0


def test_directions_are_those_of_the_bins() -> None:
    address = np.zeros((4, 4), np.int64)
    near, far = 0xFFFF << 32 | 0x0A000001, 0xFFFF << 32 | 0xC0000201
    address[:, 1], address[:, 3] = [near, far, near, far], [far, near, near, far]
    none = np.zeros(4, np.int64)
    packets = Packets(none, none, address, none, none, none, np.zeros(4))
    assert goes_down(packets, ("10.0.0.0/24",)).tolist() == [False, True, False, False]
    assert not goes_down(packets, ()).any()


def test_the_mean_of_a_trace() -> None:
    assert Service(np.array([500_000_000, 1_000_000_000]), 1_500).mean_bps == pytest.approx(24_000)
