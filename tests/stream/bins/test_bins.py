from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, get_type_hints

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from offramp.cli.publish import PublishOptions
from offramp.inference import forecast
from offramp.inference.forecast import BIN_MS, BINS_PER_S
from offramp.inference.refinement.drift import EVERY
from offramp.inference.refinement.paired_test import BLOCK
from offramp.stream.bins.bins import Bins, network_table
from offramp.stream.bins.packets import IPV4_MAPPED, Packets, part_of
from offramp.stream.bins.state import (
    DEVICE_SLOTS,
    DOWN,
    EVICTED,
    LATE,
    OUT_ROWS,
    ROWS,
    UP,
    ClosedBins,
    LinkConfig,
)
from offramp.stream.channels import BIN_NS, CHANNELS, FIRST_MARK, FIRST_SHARED, PLACE, TABLE, WINDOW_BINS, Counter
from offramp.stream.refine.refiner import TICK
from offramp.stream.windows.windows import own_copy
from tests.support.places import ROOT

BASE = 1_700_000_000_000_000_000
SHAPE = LinkConfig(1e7, 1e7, None, ("10.0.0.0/8",), device_share=0.0)


Row = tuple[int, int, int, dict[str, float]]
"""Of a closed bin: its number from BASE on, series, fresh, and channels by name."""


def packets(
    times_ms: Sequence[float] | NDArray[Any],
    sources: ArrayLike | None = None,
    sizes: ArrayLike | None = None,
    marks: int = 0,
) -> Packets:
    n = len(times_ms)
    address = np.zeros((n, 4), np.int64)
    address[:, 1] = (IPV4_MAPPED | 0x0A000000) + np.array(sources if sources is not None else [1] * n)
    address[:, 3] = IPV4_MAPPED | 0xC0000201
    time = BASE + (np.array(times_ms) * 1e6).astype(np.int64)
    size = np.array(sizes if sizes is not None else [100] * n, np.int64)
    return Packets(
        time, size, address, np.full(n, 6), np.full(n, 80), np.full(n, marks, np.int64), np.full(n, np.nan)
    )  # fmt: skip


def closed(bins: Bins, *parts: Packets) -> list[Row]:
    rows = []
    for part in parts:
        for chunk in bins.update(part):
            rows += rows_of(chunk)
    for chunk in bins.close():
        rows += rows_of(chunk)
    return rows


def rows_of(chunk: ClosedBins) -> list[Row]:
    return [
        (int(b) - BASE // BIN_NS, int(s), int(f), dict(zip(CHANNELS, x.tolist(), strict=True)))
        for b, s, f, x in zip(chunk.bin_number, chunk.series, chunk.fresh, chunk.x, strict=True)
    ]


def test_what_has_directions_is_counted_up_then_down() -> None:
    for name in ("PACKETS", "BYTES"):
        assert Counter[f"{name}_DOWN"] - Counter[f"{name}_UP"] == DOWN - UP == 1
    assert PLACE["backlog_down"] - PLACE["backlog_up"] == DOWN - UP
    assert [channel.shared for channel in TABLE] == [place >= FIRST_SHARED for place in range(len(TABLE))]


ORDINARY = re.compile(r"(?:counters|state\.shape|clock|total|bits|cells|x)\[(?:\d|\w+\[\w+\], \d)|\bin range\(\d{2,}\)")
"""Places of a table as numbers. An address has two halves, a network four numbers: those are no table of ours."""


@pytest.mark.parametrize(
    "name", ["bins/bins", "bins/closing", "bins/state", "bins/packets", "bins/heavy_hitters", "pipeline/traffic"]
)
def test_no_kernel_says_the_number_of_a_tables_row(name: str) -> None:
    text = (ROOT / f"stream/{name}.py").read_text()
    assert ORDINARY.findall(text) == []
    assert ORDINARY.findall("x[8 + i] = counters[4]") == ["x[8", "counters[4"]


def test_a_bin_has_one_length() -> None:
    """Nobody but inference.bin_length says it in digits, but for the command line, which loads nothing."""
    assert BIN_NS == forecast.BIN_NS == BIN_MS * 1_000_000
    assert BINS_PER_S == TICK == BLOCK == EVERY == 1_000 // BIN_MS
    digits = re.compile(r"\b10_?000_?000\b|\bbin_ns: int = \d|\b(?:TICK|BLOCK|EVERY|message_ms: int) = \d{2,3}\n")
    for stage in ("capture", "stream", "inference", "decision"):
        for source in sorted((ROOT / stage).rglob("*.py")):
            assert digits.findall(source.read_text()) == [], source
    asked = get_type_hints(PublishOptions, include_extras=True)["message_ms"].__metadata__[0]
    assert PublishOptions().message_ms == asked.min == BIN_MS


def test_link_first_then_its_devices_with_shared_queue() -> None:
    rows = closed(Bins(SHAPE), packets([0, 1, 2, 12], [1, 2, 1, 2], [1_500] * 4))
    assert [(number, series, fresh) for number, series, fresh, _ in rows] == [
        (0, 0, 1), (0, 1, 1), (0, 2, 1), (1, 0, 0), (1, 1, 0), (1, 2, 0),
    ]  # fmt: skip
    link, first, second = (row[3] for row in rows[:3])
    assert link["load_up"] == pytest.approx(np.log1p(3 * 1_500 * 8 / 1e5))
    assert np.expm1(link["packets_up"]) == pytest.approx(3)
    assert np.expm1(first["packets_up"]) == pytest.approx(2)
    assert second["delay_peak"] == link["delay_peak"]


def test_rows_within_the_lateness_count_and_later_ones_are_counted() -> None:
    bins = Bins(SHAPE, lateness_ms=20)
    rows = closed(bins, packets([0, 35, 18, 5, 60, 5]))
    assert bins.state.clock[LATE] == 2
    assert bins.state.clock[ROWS] == 6
    counted = sum(round(float(np.expm1(row[3]["packets_up"]))) for row in rows if row[1] == 0)
    assert counted == 4


def test_a_long_silence_ends_the_series_and_costs_no_bins() -> None:
    rows = closed(Bins(SHAPE), packets([0, 3_600_000, 3_600_001]))
    assert len([row for row in rows if row[1] == 0]) == 1 + WINDOW_BINS + 1
    assert [row[2] for row in rows if row[1] == 0] == [1] + [0] * WINDOW_BINS + [1]


def test_a_device_falls_silent_while_its_link_goes_on() -> None:
    times = np.arange(0, 2_000, 5.0)
    rows = closed(Bins(SHAPE), packets([0, *times, 2_001], [9, *[1] * len(times), 9]))
    own = [row for row in rows if row[1] == 1]
    assert [row[0] for row in own if row[2]] == [0, 200]
    assert len(own) == WINDOW_BINS + 2


def test_the_idlest_device_makes_room() -> None:
    count = DEVICE_SLOTS + 3
    bins = Bins(SHAPE)
    closed(bins, packets(np.arange(count) * 20.0, np.arange(count)))
    assert bins.state.clock[EVICTED] == 3
    assert len({tuple(key) for key in bins.state.key[1:].tolist()}) == DEVICE_SLOTS


def test_a_device_has_a_series_while_it_carries_a_share() -> None:
    config = LinkConfig(1e7, 1e7, None, ("10.0.0.0/8",), device_share=0.05)
    times = np.arange(0, 3_000, 2.0)
    sizes = np.where((times > 1_000) & (times < 1_400), 1_400, 60)
    quiet = np.arange(0, 12_000, 20.0)
    order = np.argsort(np.concatenate([times, quiet]), kind="stable")
    merged = packets(
        np.concatenate([times, quiet])[order],
        np.concatenate([np.full(len(times), 1), np.full(len(quiet), 2)])[order],
        np.concatenate([sizes, np.full(len(quiet), 60)])[order],
    )
    rows = [row for row in closed(Bins(config), merged) if row[1] > 0]
    assert {row[1] for row in rows} == {1}
    assert [row[2] for row in rows] == [1] + [0] * (len(rows) - 1)
    assert 100 <= rows[0][0] < 120


def test_marks_reach_their_channels() -> None:
    marks = 1 << (int(Counter.MQTT) - FIRST_MARK) | 1 << (int(Counter.SYN) - FIRST_MARK)
    _, _, _, x = closed(Bins(SHAPE), packets([0], marks=marks))[0]
    assert np.expm1(x["mqtt"]) == pytest.approx(1)
    assert np.expm1(x["syn"]) == pytest.approx(1)
    assert x["udp"] == 0


def test_directions_follow_the_networks_ipv6_too() -> None:
    part = packets([0, 1])
    far = (0xFD << 56) - 2**64
    part.address[:, :] = [[0x20010DB8 << 32, 1, far, 2], [far, 2, 0x20010DB8 << 32, 1]]
    config = LinkConfig(1e7, 1e7, None, ("2001:db8::/32",), device_share=0.0)
    rows = closed(Bins(config), part)
    assert np.expm1(rows[0][3]["packets_up"]) == pytest.approx(1)
    assert np.expm1(rows[0][3]["packets_down"]) == pytest.approx(1)
    assert len(rows) == 2


def test_too_much_lateness_is_refused() -> None:
    with pytest.raises(ValueError, match="lateness"):
        Bins(SHAPE, lateness_ms=500)


def test_the_clock_closes_what_a_packet_would_close() -> None:
    by_packet, by_clock = Bins(SHAPE), Bins(SHAPE)
    first = packets([0, 3, 12, 15], [1, 2, 1, 2])
    expected = [row for part in (first, packets([200])) for chunk in by_packet.update(part) for row in rows_of(chunk)]
    got = [row for chunk in by_clock.update(first) for row in rows_of(chunk)]
    for now_ms in (31, 47, 47, 90, 10, 200):
        got += [row for chunk in by_clock.advance(BASE + now_ms * 1_000_000) for row in rows_of(chunk)]
    assert len(got) == len(expected) > 10
    assert repr(got) == repr(expected)  # not a number equals itself here
    assert by_clock.state.clock[LATE] == 0


def test_the_clock_before_the_first_packet_and_after_a_long_silence_costs_no_bins() -> None:
    bins = Bins(SHAPE)
    assert list(bins.advance(BASE)) == []
    rows = [row for chunk in bins.update(packets([0])) for row in rows_of(chunk)]
    for hour in range(1, 4):
        rows += [row for chunk in bins.advance(BASE + hour * 3_600_000_000_000) for row in rows_of(chunk)]
    assert len([row for row in rows if row[1] == 0]) == 1 + WINDOW_BINS


def test_a_packet_of_sampled_flows_counts_for_as_many() -> None:
    sent = packets([0, 1, 2, 40], [1, 2, 1, 2], [500] * 4, marks=1)
    once, four = Bins(SHAPE), Bins(SHAPE)
    one = [row for chunk in once.update(sent) for row in rows_of(chunk)]
    other = [row for chunk in four.update(sent, sampling=4) for row in rows_of(chunk)]
    assert [row[:3] for row in one] == [row[:3] for row in other]
    for name in ("load_up", "packets_up", CHANNELS[8]):
        assert np.expm1(other[0][3][name]) == pytest.approx(4 * np.expm1(one[0][3][name]), rel=1e-5)
    assert other[0][3][CHANNELS[5]] == one[0][3][CHANNELS[5]]
    np.testing.assert_array_equal(once.hitters.weight, four.hitters.weight)  # a flow that is kept has its own rate


def lies_in(address: str, *networks: str) -> bool:
    number = int(ip_address(address)) | (IPV4_MAPPED if "." in address else 0)
    high, low = number >> 64, number & (1 << 64) - 1
    rows = network_table(networks).view(np.uint64).tolist()
    return any(high & row[2] == row[0] and low & row[3] == row[1] for row in rows)


def test_all_of_ipv6_holds_no_ipv4() -> None:
    """IPv4 addresses stand as IPv4-mapped ones, which are none of IPv6: ::/0 takes nothing of them."""
    assert lies_in("2001:db8::c", "::/0")
    assert lies_in("::1", "::/64")
    assert not lies_in("192.0.2.1", "::/0")
    assert not lies_in("192.0.2.1", "::/64", "10.0.0.0/8")
    assert lies_in("10.0.0.1", "::/0", "10.0.0.0/8")


def test_times_before_zero_close_no_more_bins_at_once_than_there_is_room_for() -> None:
    """Times 0, -2 h, -1 h: whatever that closes is handed on a part at a time."""
    made = packets([0, 0, 0])
    bins = Bins(SHAPE)
    hour = 3600 * 10**9
    rows = 0
    for part in (made._replace(time_ns=np.array([0, -2 * hour, -hour], np.int64)), packets([0])):
        for chunk in bins.update(part):
            assert 0 < len(chunk.series) <= OUT_ROWS
            rows += len(chunk.series)
    rows += sum(len(chunk.series) for chunk in bins.close())
    assert rows > 0
    assert int(bins.state.clock[ROWS]) == 4


def rough(seed: int) -> Packets:
    """Packets of four devices that come out of order by less than a bin, with a silence, and at last a time back."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(2.0, 900)) + rng.uniform(0, 8, 900)
    times[450:] += rng.choice([0.0, 300.0, 5_000.0])
    times[800:] -= rng.choice([0.0, 4_000.0])
    return packets(times, 1 + rng.integers(0, 4, 900), rng.integers(60, 1_500, 900))


@pytest.mark.parametrize("seed", range(12))
def test_a_capacity_counts_from_its_bin_on_however_the_packets_come(seed: int) -> None:
    rng, seen = np.random.default_rng(seed), rough(seed)
    changes = [
        (BASE // BIN_NS + int(at), float(bps))
        for at, bps in zip(rng.choice(250, 5, replace=False) - 3, rng.uniform(1e6, 9e6, 5), strict=True)
    ]

    def run(cuts: Sequence[int], expected: Sequence[tuple[int, float]]) -> list[tuple[Any, ...]]:
        bins, rows = Bins(LinkConfig(4e6, 4e6, 30_000, ("10.0.0.0/8",)), lateness_ms=8), list[tuple[Any, ...]]()
        for number, bps in expected:
            bins.expect_capacity(number, bps, 2 * bps)
        parts = [part_of(seen, start, end) for start, end in zip([0, *cuts], [*cuts, 900], strict=True)]
        for step in (*(bins.update(part) for part in parts), bins.close()):
            for chunk in step:
                columns = (chunk.bin_number, chunk.series, chunk.x, chunk.load, chunk.queue_ms, chunk.rate_bps)
                rows += zip(*(column.tolist() for column in columns), strict=True)
        return rows

    whole, untouched = run([], changes), run([], [])
    cuts = np.unique(rng.integers(1, 900, 200)).tolist()
    assert repr(run(cuts, changes)) == repr(whole), "not even the last digit"
    assert repr(run([], changes[::-1])) == repr(whole)
    first = min(number for number, _ in changes)
    before = next((at for at, row in enumerate(whole) if row[0] >= first), len(whole))
    assert repr(whole[:before]) == repr(untouched[:before])
    assert len(whole) == before or repr(whole[before]) != repr(untouched[before])


def test_what_has_been_carried_away_does_not_wait_again_at_another_capacity() -> None:
    """Ten packets make a queue of 12 ms, which is gone after 13; then the link is a hundredth of what it was."""
    bins = Bins(LinkConfig(1e6, 1e6, None), lateness_ms=0)
    bins.expect_capacity(BASE // BIN_NS + 5, 1e4, 1e4)
    seen = packets([*[1.0] * 10, 52.0, 62.0], sizes=[150] * 10 + [1] * 2)
    chunks = (*map(own_copy, bins.update(seen)), *bins.close())
    queues = [row for chunk in chunks for row in chunk.queue_ms[:, 0].tolist()]
    assert queues[0] == pytest.approx(3.0)
    assert max(queues[1:]) < 1, "the packet of a byte takes 0.8 ms"
