"""What holds of the rooms for closed bins, counters and histograms, and for the rows of a capture file's scan."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from offramp.capture.sources.file.record_scan import (
    ABSURD,
    FULL,
    MAX_BLOCK,
    MAX_PACKET,
    MORE,
    scan_pcap,
    scan_pcapng,
)
from offramp.stream.bins import bins
from offramp.stream.bins.packets import IPV4_MAPPED, Packets
from offramp.stream.bins.state import SERIES, BinOut, ClosedBins, LinkConfig, new_bin_out
from offramp.stream.channels import Counter
from offramp.stream.windows.normaliser import BUCKETS, Normaliser
from tests.support.room_shares import check


def link_packets(times_ns: list[int], sources: list[int], marks: int = 0) -> Packets:
    """Return packets of 100 bytes from devices of 10.0.0.0/8."""
    n = len(times_ns)
    address = np.zeros((n, 4), np.int64)
    address[:, 1] = (IPV4_MAPPED | 0x0A000000) + np.array(sources)
    address[:, 3] = IPV4_MAPPED | 0xC0000201
    return Packets(
        np.array(times_ns, np.int64), np.full(n, 100), address, np.full(n, 6), np.full(n, 80),
        np.full(n, marks, np.int64), np.full(n, np.nan),
    )  # fmt: skip


def small_out(rows: int) -> BinOut:
    """Return room for so many closed bins."""
    out = new_bin_out()
    return out._replace(bins=ClosedBins._make(array[:rows] for array in out.bins))


def closed_in(room: int, packets: Packets, last_ns: int) -> list[tuple[int, int]]:
    """Return the bins and series of the rows that packets close, a clock at `last_ns` and the end, in so much room."""
    bins._ROOM.out = small_out(room)
    link = bins.Bins(LinkConfig(1e7, 1e7, None, ("10.0.0.0/8",), device_share=0.0))
    found: list[tuple[int, int]] = []
    steps: tuple[Callable[[], Iterator[ClosedBins]], ...] = (
        lambda: link.update(packets), lambda: link.advance(last_ns), link.close,
    )  # fmt: skip
    for step in steps:
        for parts, closed in enumerate(step()):
            assert parts < 1000
            assert len(closed.series) <= room
            found += zip(closed.bin_number.tolist(), closed.series.tolist(), strict=True)
    return found


@check("offramp.stream.bins.closing")
def closed_bins_are_handed_on_before_there_is_no_room() -> None:
    base = 1_700_000_000_000_000_000
    times = [base + each * 2_500_000 for each in range(40)] + [base + 300_000_000]
    packets = link_packets(times, [1 + each % 5 for each in range(41)])
    try:
        wanted = closed_in(3000, packets, base + 600_000_000)
        assert len(wanted) > 4 * SERIES
        assert closed_in(SERIES + 7, packets, base + 600_000_000) == wanted
        assert closed_in(SERIES, packets, base + 600_000_000) == wanted
        hour = 3600 * 10**9
        odd = link_packets([-3_000_000_000, 0, -2_000_000_000, -1_000_000_000, hour], [1] * 5)
        assert closed_in(SERIES + 7, odd, 2 * hour) == closed_in(6000, odd, 2 * hour)
    finally:
        del bins._ROOM.out


@check("offramp.stream.bins.bins")
def marks_beyond_the_counters_count_nothing() -> None:
    link = bins.Bins(LinkConfig(1e7, 1e7, None, ()))
    list(link.update(link_packets([1_700_000_000_000_000_000], [1], marks=(1 << 40) - 1)))
    counters = link.state.counters[:, 0].sum(axis=0)
    assert counters[Counter.SYN : Counter.RTT_SUM_MS].tolist() == [1.0] * 12
    assert counters[Counter.RTT_SUM_MS :].tolist() == [0.0] * 3


@check("offramp.stream.windows.normaliser")
def every_value_has_a_bucket() -> None:
    learned = Normaliser(1)
    learned.update(np.array([[0.0], [1e-3], [3e38], [np.inf], [np.nan]], np.float32))
    assert learned.histogram[0].sum() == 4
    assert learned.histogram[0, BUCKETS - 1] == 2
    assert learned.histogram[0, 0] == 1
    assert np.flatnonzero(learned.histogram[0]).tolist() == [0, 1 + int(np.log(10.0) / np.log(1.05)), BUCKETS - 1]


SIZES: list[tuple[int, int]] = []
"""Bytes captured and on the wire of the packets that the last scan found."""


def record(size: int, there: int | None = None) -> bytes:
    """Return a pcap record whose header tells `size` bytes, of which `there` follow, and 4 GB on the wire."""
    return np.array([1, 2, size, 0xFFFFFFFF], "<u4").tobytes() + bytes(size if there is None else there)


def pcap_scan(data: bytes, room: int = 4) -> tuple[int, int, int]:
    """Return what scan_pcap does; what it found lies within the bytes."""
    offset, caplen, length, time = (np.zeros(room, np.int64) for _ in range(4))
    found = scan_pcap(np.frombuffer(data, np.uint8), 0, len(data), False, 1, 16, offset, caplen, length, time)
    assert all(at + kept <= len(data) for at, kept in zip(offset[: found[0]], caplen[: found[0]], strict=True))
    SIZES[:] = zip(caplen[: found[0]].tolist(), length[: found[0]].tolist(), strict=True)
    return found


@check("offramp.capture.sources.file.record_scan")
def records_lie_within_what_was_read() -> None:
    assert pcap_scan(record(8) * 2) == (2, 48, MORE)
    assert SIZES == [(8, 0x7FFFFFFF)] * 2
    assert pcap_scan(np.array([1, 2, 0, 9], "<u4").tobytes()) == (1, 16, MORE)
    assert SIZES == [(0, 9)]
    assert pcap_scan(record(8) + record(8)[:15]) == (1, 24, MORE)
    assert pcap_scan(record(8) + record(8, 7)) == (1, 24, MORE)
    assert pcap_scan(record(8) * 4, room=3) == (3, 72, FULL)
    assert pcap_scan(record(MAX_PACKET)) == (1, 16 + MAX_PACKET, MORE)
    assert pcap_scan(record(8) + record(MAX_PACKET + 1)) == (1, 24, ABSURD)


def block(kind: int, body: bytes, total: int | None = None) -> bytes:
    """Return a pcapng block; total: the length that it tells instead of its own."""
    body += bytes(-len(body) % 4)
    size = np.array([len(body) + 12 if total is None else total], "<u4").tobytes()
    return np.array([kind], "<u4").tobytes() + size + body + size


def enhanced(size: int, which: int = 0, there: int | None = None) -> bytes:
    """Return an enhanced packet block that tells `size` bytes, of which `there` are in it."""
    return block(6, np.array([which, 0, 0, size, size], "<u4").tobytes() + bytes(size if there is None else there))


def simple(size: int, there: int | None = None) -> bytes:
    """Return a simple packet block."""
    return block(3, np.array([size], "<u4").tobytes() + bytes(size if there is None else there))


def pcapng_scan(data: bytes, room: int = 4, interfaces: int = 1, snap: int = 0) -> tuple[int, int, int]:
    """Return what scan_pcapng does; what it found lies within the bytes."""
    offset, caplen, length, time, interface = (np.zeros(room, np.int64) for _ in range(5))
    table = np.array([[snap, 6, 0]] * interfaces, np.int64).reshape(-1, 3)
    bytes_ = np.frombuffer(data, np.uint8)
    found = scan_pcapng(bytes_, 0, len(data), False, 0, table, offset, caplen, length, time, interface)
    assert all(at + kept <= len(data) for at, kept in zip(offset[: found[0]], caplen[: found[0]], strict=True))
    assert all(0 <= each < max(1, interfaces) for each in interface)
    SIZES[:] = zip(caplen[: found[0]].tolist(), length[: found[0]].tolist(), strict=True)
    return found


@check("offramp.capture.sources.file.record_scan")
def blocks_lie_within_what_was_read() -> None:
    good = enhanced(8)
    assert pcapng_scan(good * 2) == (2, 80, MORE)
    assert pcapng_scan(good * 4, room=3) == (3, 120, FULL)
    assert pcapng_scan(good + good[:11]) == (1, 40, MORE)
    assert pcapng_scan(good + good[:39]) == (1, 40, MORE)
    assert pcapng_scan(good + block(6, b"", 8)) == (1, 40, ABSURD)
    assert pcapng_scan(good + block(5, b"", MAX_BLOCK)) == (1, 40, MORE)
    assert pcapng_scan(good + block(5, b"", MAX_BLOCK + 1)) == (1, 40, ABSURD)
    assert pcapng_scan(good + block(5, b"")) == (1, 52, MORE)
    assert pcapng_scan(good + block(6, bytes(16))) == (1, 40, ABSURD)
    assert pcapng_scan(good + block(6, b"")) == (1, 40, ABSURD)
    assert pcapng_scan(good + block(5, b"", 0)) == (1, 40, ABSURD)
    assert pcapng_scan(good + enhanced(9, there=8)) == (1, 40, ABSURD)
    assert pcapng_scan(good + enhanced(8, which=1)) == (1, 40, ABSURD)
    assert pcapng_scan(enhanced(MAX_PACKET)) == (1, 32 + MAX_PACKET, MORE)
    assert pcapng_scan(good + enhanced(MAX_PACKET + 1)) == (1, 40, ABSURD)
    assert pcapng_scan(simple(8)) == (1, 24, MORE)
    assert pcapng_scan(simple(8), interfaces=0) == (0, 0, ABSURD)
    assert pcapng_scan(good + block(3, b"")) == (1, 40, ABSURD)
    assert pcapng_scan(simple(99, there=8)) == (1, 24, MORE)
    assert SIZES == [(8, 99)]
    assert pcapng_scan(simple(4, there=8)) == (1, 24, MORE)
    assert SIZES == [(4, 4)]
    assert pcapng_scan(simple(8), snap=96) == (1, 24, MORE)
    assert SIZES == [(8, 8)]
    assert pcapng_scan(simple(8), snap=6) == (1, 24, MORE)
    assert SIZES == [(6, 8)]
    assert pcapng_scan(simple(MAX_PACKET)) == (1, 16 + MAX_PACKET, MORE)
    assert pcapng_scan(good + simple(MAX_PACKET + 1)) == (1, 40, ABSURD)
    assert pcapng_scan(good + simple(MAX_PACKET + 1), snap=96) == (2, 56 + MAX_PACKET + 4, MORE)
