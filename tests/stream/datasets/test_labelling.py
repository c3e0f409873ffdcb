"""Labels: the largest delay within each horizon after a bin, found again by brute force."""

from __future__ import annotations

import numpy as np
import pytest

from offramp.stream.bins.packets import Packets
from offramp.stream.bins.state import LinkConfig
from offramp.stream.bins.virtual_queue import virtual_delays_ms
from offramp.stream.channels import BIN_MS, BIN_NS, CHANNELS, WINDOW_BINS
from offramp.stream.datasets.labelling import Bottleneck, labelled_rows, timeline
from offramp.stream.datasets.synthetic import synthetic_packets
from offramp.stream.datasets.trace_queue import Service, queue_bins

HORIZONS = (50, 500, 2_000)
BASE = 1_700_000_000_000_000_000


def arrivals(bursts: list[tuple[float, float]], rate: float = 800, size: int = 1_000) -> Packets:
    """Packets in bursts of (start, length) seconds with silence between."""
    rng = np.random.default_rng(1)
    seconds = np.sort(np.concatenate([rng.uniform(a, a + b, int(rate * b)) for a, b in bursts]))
    count = len(seconds)
    zeros = np.zeros(count, np.int64)
    return Packets(
        BASE + (seconds * 1e9).astype(np.int64), np.full(count, size), np.zeros((count, 4), np.int64), zeros, zeros,
        zeros, np.full(count, np.nan),
    )  # fmt: skip


BURSTS = arrivals([(0.0, 2.0), (3.1, 1.5), (3.0, 0.05), (20.0, 3.0)])


def test_a_target_is_the_largest_wait_to_come_through_silences_too() -> None:
    config = LinkConfig(4e6, 4e6)
    found = labelled_rows(BURSTS, Bottleneck("own", config), HORIZONS)
    assert len(found) == 3, "a silence longer than a window ends a series"
    waits = virtual_delays_ms(BURSTS.time_ns, BURSTS.size, capacity_bps=4e6)
    empty_at = BURSTS.time_ns + (waits * 1e6 + BURSTS.size * 8e9 / 4e6).astype(np.int64)
    for rows in found:
        for at in range(0, len(rows.x), 7):
            begin = (int(rows.bin_number[at]) + 1) * BIN_NS
            for column, horizon in enumerate(HORIZONS):
                end = begin + horizon * 1_000_000
                inside = (BURSTS.time_ns >= begin) & (BURSTS.time_ns < end)
                edges = np.arange(begin, end + 1, BIN_NS)  # a bin's delay is also what would be met at its edges
                arrived = np.searchsorted(BURSTS.time_ns, edges)
                left = max(0.0, ((empty_at[arrived - 1] - edges) / 1e6).max())
                target = rows.delay_ms[at, column]
                if end > (BURSTS.time_ns.max() // BIN_NS + 1) * BIN_NS:
                    assert np.isnan(target)
                else:
                    assert target == pytest.approx(max(left, waits[inside].max(initial=0.0)), abs=0.02)


def test_in_a_silence_the_queue_runs_dry() -> None:
    packets = arrivals([(0.0, 1.0), (4.0, 1.0)], rate=1_000)
    first = labelled_rows(packets, Bottleneck("own", LinkConfig(2e6, 2e6)), (2_000,))[0]
    last = len(first.x) - 1
    assert first.delay_ms[last, 0] > 2_000, "three seconds of backlog are not gone after a window of silence"


@pytest.mark.parametrize("served", [False, True])
def test_delays_now_make_the_targets(served: bool) -> None:
    packets, config = synthetic_packets(np.random.default_rng([7, 3]), 8)
    service = Service(np.sort(np.random.default_rng(2).integers(1, 700, 300)) * 1_000_000)
    mean = service.mean_bps
    own = Bottleneck("trace", LinkConfig(mean, mean, 90_000.0, config.networks), (service, service))
    found = labelled_rows(packets, own if served else Bottleneck("own", config), HORIZONS, devices=2)
    assert {rows.series for rows in found} != {0}
    for rows in found:
        dense = np.all(np.diff(rows.bin_number) == 1)
        assert dense
        np.testing.assert_allclose(np.expm1(rows.x[:, CHANNELS.index("delay_peak")]), rows.now_ms, rtol=1e-4, atol=1e-4)
        count = HORIZONS[0] // BIN_MS
        for at in range(0, len(rows.x) - count, 5):
            assert rows.delay_ms[at, 0] == rows.now_ms[at + 1 : at + 1 + count].max()


def test_a_trace_makes_the_queue_of_the_channels() -> None:
    packets = arrivals([(0.0, 4.0)])
    service = Service(np.arange(2, 700, 2) * 1_000_000, 1_500)
    mean = service.mean_bps
    (rows,) = labelled_rows(packets, Bottleneck("t", LinkConfig(mean, mean, 50_000.0), (service, service)), (50,))
    wanted = queue_bins(packets.time_ns, packets.size, service, 50_000.0, rows.bin_number)
    np.testing.assert_allclose(rows.now_ms, wanted.delay_ms, rtol=1e-6)
    backlog = np.expm1(rows.x[:, CHANNELS.index("backlog_up")])
    np.testing.assert_allclose(backlog, wanted.backlog_bytes * 8e3 / mean, rtol=1e-4, atol=1e-4)
    assert np.isnan(rows.x[:, CHANNELS.index("rtt")]).all()
    assert not np.isnan(np.delete(rows.x, CHANNELS.index("rtt"), axis=1)).any()


def test_round_trips_within_the_horizon() -> None:
    packets = arrivals([(0.0, 2.0)])
    rtt = packets.rtt_ms.copy()
    rtt[[400, 1_200, 1_201]] = [30.0, 8.0, 12.0]
    (rows,) = labelled_rows(packets._replace(rtt_ms=rtt), Bottleneck("own", LinkConfig(1e7, 1e7)), (200,))
    seen = (packets.time_ns[[400, 1_200]] // BIN_NS - rows.bin_number[0]).tolist()
    for at, largest in zip(seen, (30.0, 8.0), strict=True):
        assert rows.rtt_ms[at - 1, 0] >= largest * 0.999
        assert rows.rtt_ms[at - 20, 0] >= largest * 0.999
        assert np.isnan(rows.rtt_ms[at + 1, 0]) or rows.rtt_ms[at + 1, 0] < 13
    assert np.isnan(rows.rtt_ms[seen[0] + 2, 0])


def test_a_timeline_keeps_short_silences_and_cuts_long_ones() -> None:
    line = timeline(np.array([5, 6, 9, 100]), 4)
    assert line.bin_number.tolist() == [5, 6, 7, 8, 9, 10, 11, 12, 13, 100]
    assert line.slot.tolist() == [0, 1, 4, 9]


def test_no_packets_no_rows() -> None:
    none = arrivals([(0.0, 0.0)])
    assert labelled_rows(none, Bottleneck("own", LinkConfig(1e6, 1e6)), (50,)) == []
    short = arrivals([(0.0, 0.1)])
    assert all(
        len(rows.x) >= WINDOW_BINS for rows in labelled_rows(short, Bottleneck("o", LinkConfig(1e6, 1e6)), (50,))
    )
