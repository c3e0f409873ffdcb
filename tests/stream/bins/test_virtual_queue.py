from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.stream.bins.bins import Bins
from offramp.stream.bins.packets import IPV4_MAPPED, Packets
from offramp.stream.bins.state import LinkConfig
from offramp.stream.bins.virtual_queue import largest_ahead, read_trace, virtual_delays_ms
from offramp.stream.channels import BIN_NS

ARRIVALS = st.lists(st.tuples(st.integers(0, 20_000_000), st.integers(40, 9_000)), min_size=1, max_size=60)


def lindley(
    times: NDArray[np.int64], sizes: Iterable[int], capacity_bps: float, buffer_bytes: float | None
) -> list[float]:
    """The recursion of the book, in plain Python."""
    out, wait, last = [], 0.0, times[0]
    for time, size in zip(times, sizes, strict=True):
        wait = max(0.0, wait - (time - last) / 1e9)
        last = time
        service = size * 8 / capacity_bps
        if buffer_bytes is not None and wait > 0 and (wait + service) * capacity_bps / 8 > buffer_bytes * (1 + 1e-12):
            out.append(float("nan"))
            continue
        out.append(wait * 1e3)
        wait += service
    return out


@given(ARRIVALS, st.sampled_from([1e6, 7.7e6, 1e8]), st.sampled_from([None, 3_001, 20_003]))
@settings(max_examples=60, deadline=None)
def test_equals_lindley(arrivals: list[tuple[int, int]], capacity: float, buffer: float | None) -> None:
    times = np.cumsum([gap for gap, _ in arrivals]).astype(np.int64) + 10**18
    sizes = np.array([size for _, size in arrivals], np.int64)
    found = virtual_delays_ms(times, sizes, capacity_bps=capacity, buffer_bytes=buffer)
    np.testing.assert_allclose(found, lindley(times.tolist(), sizes.tolist(), capacity, buffer), atol=1e-6)


def mahimahi(times_ms: Iterable[int], sizes: Iterable[int], trace_ms: list[int], opportunity: int) -> list[float]:
    """Every opportunity in turn, its bytes for what waits, in plain Python."""
    waiting = [[time, size, index] for index, (time, size) in enumerate(zip(times_ms, sizes, strict=True))]
    delays = [0.0] * len(waiting)
    cycle = 0
    while waiting:
        for at in trace_ms:
            now, room = cycle * trace_ms[-1] + at, opportunity
            while waiting and waiting[0][0] <= now and room:
                taken = min(room, waiting[0][1])
                room -= taken
                waiting[0][1] -= taken
                if waiting[0][1] == 0:
                    time, _, index = waiting.pop(0)
                    delays[index] = now - time
        cycle += 1
    return delays


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4_000)), min_size=1, max_size=40),
    st.lists(st.integers(1, 30), min_size=1, max_size=8),
    st.sampled_from([1_500, 400, 6_000]),
)
@settings(max_examples=80, deadline=None)
def test_trace_equals_opportunity_by_opportunity(
    arrivals: list[tuple[int, int]], trace: list[int], opportunity: int
) -> None:
    times = np.cumsum([0, *[gap for gap, _ in arrivals][1:]])
    sizes = np.array([size for _, size in arrivals], np.int64)
    found = virtual_delays_ms(
        times * 1_000_000 + 10**18,
        sizes,
        trace_ns=np.sort(np.array(trace, np.int64)) * 1_000_000,
        opportunity_bytes=opportunity,
    )
    assert found.tolist() == mahimahi(times.tolist(), sizes.tolist(), sorted(trace), opportunity)


def test_bins_hold_the_largest_delay_of_their_packets() -> None:
    rng = np.random.default_rng(2)
    n = 4_000
    times = np.sort(rng.integers(0, 2_000_000_000, n)) + 1_700_000_000_000_000_000
    sizes = rng.integers(60, 1_500, n)
    zeros = np.zeros(n, np.int64)
    packets = Packets(times, sizes, np.zeros((n, 4), np.int64), zeros, zeros, zeros, np.full(n, np.nan))
    bins = Bins(LinkConfig(12e6, 12e6, 60_000))
    rows = [(int(b), float(d)) for part in (bins.update(packets), bins.close()) for chunk in part
            for b, d in zip(chunk.bin_number, chunk.queue_ms[:, 1], strict=True)]  # fmt: skip
    delays = virtual_delays_ms(times, sizes, capacity_bps=12e6, buffer_bytes=60_000)
    for number, found in rows:
        inside = delays[times // BIN_NS == number]
        assert found >= np.nanmax(inside, initial=0.0) - 1e-4
        assert found <= 60_000 * 8 / 12e6 * 1e3 + 1e-4


@pytest.mark.parametrize(("up", "down"), [(12e6, 3e6), (3e6, 12e6)])
@pytest.mark.parametrize("goes_up", [True, False])
def test_a_buffer_of_time_holds_as_long_in_each_direction(up: float, down: float, goes_up: bool) -> None:
    """A flood of 24 Mbit/s, which neither direction has the capacity for, fills it to the last packet."""
    n = 4_000
    times = np.arange(n, dtype=np.int64) * 500_000 + 1_700_000_000_000_000_000
    inside, outside = (int(ip_address(text)) | IPV4_MAPPED for text in ("10.0.0.9", "192.0.2.1"))
    address = np.tile(np.array([0, inside, 0, outside] if goes_up else [0, outside, 0, inside], np.int64), (n, 1))
    zeros = np.zeros(n, np.int64)
    packets = Packets(times, np.full(n, 1_500), address, zeros, zeros, zeros, np.full(n, np.nan))
    bins = Bins(LinkConfig(up, down, networks=("10.0.0.0/8",), buffer_ms=250))
    peaks = [float(chunk.queue_ms[:, 1].max()) for part in (bins.update(packets), bins.close()) for chunk in part]
    service_ms = 1_500 * 8e3 / (up if goes_up else down)
    assert 250 - service_ms <= max(peaks) <= 250


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 13))
@settings(max_examples=60, deadline=None)
def test_the_largest_ahead_equals_a_search(values: list[int], count: int) -> None:
    found = largest_ahead(np.array(values, np.float32), count)
    for at, value in enumerate(found):
        after = values[at + 1 : at + 1 + count]
        assert np.isnan(value) if len(after) < count else value == max(after)


def test_a_bad_trace_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "up.trace"
    path.write_text("5\n3\n")
    with pytest.raises(InputError, match="ascending"):
        read_trace(path)
    path.write_text("1\nfour\n")
    with pytest.raises(InputError, match="delivery trace"):
        read_trace(path)
    path.write_text("1\n5\n")
    assert read_trace(path).tolist() == [1_000_000, 5_000_000]
