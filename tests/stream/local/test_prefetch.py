from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from offramp.capture.block import Interface, PacketBlock
from offramp.cli.table import HEADER, Table, bar
from offramp.errors import ConfigError, InputError
from offramp.stream.local.pace import paced, parse_pace
from offramp.stream.local.prefetch import prefetch
from offramp.stream.pipeline.timeline import LinkTimeline


def block(times_ms: list[float], first_number: int = 1) -> PacketBlock:
    n = len(times_ms)
    return PacketBlock(
        np.zeros(60 * n, np.uint8),
        np.arange(n, dtype=np.int64) * 60,
        np.full(n, 60, np.int32),
        np.full(n, 60, np.int32),
        np.array([round(t * 1e6) for t in times_ms], np.int64),
        np.zeros(n, np.int32),
        (Interface("eth0", 1),),
        first_number,
        kernel_drops=3,
    )


def test_prefetch_keeps_the_order_and_hands_over_errors() -> None:
    def items() -> Iterator[int]:
        yield from range(100)
        raise InputError("the end")

    got: list[int] = []
    with pytest.raises(InputError, match="the end"):
        got.extend(prefetch(items()))
    assert got == list(range(100))


def test_prefetch_ends_its_thread_when_the_reader_stops() -> None:
    before = threading.active_count()
    reader = prefetch(iter(range(10**9)))
    assert next(reader) == 0
    reader.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(("text", "factor"), [("max", 0.0), ("realtime", 1.0), ("10x", 10.0), ("0.5x", 0.5)])
def test_parse_pace(text: str, factor: float) -> None:
    assert parse_pace(text) == factor


@pytest.mark.parametrize("text", ["", "fast", "0x", "-1x", "10", "0.0001x", "2000000x", "1" * 400 + "x", "nanx"])
def test_parse_pace_says_what_it_expects(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected max, realtime or 0.001x to 1,000,000x"):
        parse_pace(text)


def test_paced_slices_keep_every_packet_and_number() -> None:
    whole = block([0, 1, 25, 26, 90], first_number=7)
    parts = list(paced(iter([whole]), 1000.0))
    assert [part.first_number for part in parts] == [7, 9, 11]
    assert np.concatenate([part.time_ns for part in parts]).tolist() == whole.time_ns.tolist()
    assert sum(part.kernel_drops for part in parts) == 3


@pytest.mark.parametrize(("share", "full"), [(0.0, 0), (0.5, 5), (1.0, 10), (7.0, 10)])
def test_bar_is_as_long_as_the_share(share: float, full: int) -> None:
    assert bar(share).count("█") == full
    assert len(bar(share)) == 10


def timeline(n: int, start: int = 0) -> LinkTimeline:
    ones = np.ones(n, np.float32)
    return LinkTimeline(
        "wan",
        (np.arange(start, start + n, dtype=np.int64) + 1) * 10_000_000,
        ones * 0.5,
        ones * 0.25,
        ones * 2,
        np.tile(np.array([0.1, 0.2, 0.7], np.float32), (n, 1)),
        np.tile(np.array([3, 9, 12], np.float32), (n, 1)),
    )


def test_table_sums_up_intervals_however_the_bins_come() -> None:
    def run(cuts: list[int]) -> list[str]:
        lines: list[str] = []
        table = Table(lines.append, 1_000_000_000, 10_000_000)
        for start, end in pairwise(cuts):
            table.update(timeline(end - start, start))
        table.close()
        return lines

    whole, parts = run([0, 250]), run([0, 1, 99, 100, 101, 250])
    assert whole == parts
    assert whole[0] == HEADER
    assert len(whole) == 4
    assert "50%" in whole[1]
    assert "25%" in whole[1]
    assert "High" in whole[1]
