"""Blocks joined until a bin can close: nothing lost, nothing held past the packet that closes a bin."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from offramp.capture.block import Interface, PacketBlock, tick
from offramp.capture.intake.intake import BLOCK_ROWS
from offramp.stream.channels import BIN_NS
from offramp.stream.local.bin_edges import until_bins_close

INTERFACE = Interface("v1", 1)
BASE = 1_700_000_000_000_000_000


def block(first: int, times_ms: list[float], **more: Any) -> PacketBlock:
    """Packets of four bytes, numbered from `first`, at times after BASE."""
    count = len(times_ms)
    data = np.arange(first, first + count, dtype=np.int32).view(np.uint8)
    time_ns = BASE + (np.array(times_ms) * 1e6).astype(np.int64)
    sizes = np.full(count, 4, np.int32)
    none = np.zeros(count, np.int32)
    made = PacketBlock(data, np.arange(count) * 4, sizes, sizes, time_ns, none, (INTERFACE,), first)
    return replace(made, **more)


def numbers(blocks: list[PacketBlock]) -> list[int]:
    """The packets' numbers, read from their bytes."""
    return [int(each.data[at : at + 4].view(np.int32)[0]) for each in blocks for at in each.offset.tolist()]


def edges(each: PacketBlock, lateness_ms: float, bins: int = 1) -> int:
    return int(each.time_ns.max() - lateness_ms * 1e6) // (bins * BIN_NS)


@given(
    st.lists(st.lists(st.floats(0.01, 4.0), min_size=1, max_size=5), max_size=40),
    st.sampled_from([0.0, 1.0, 20.0]),
    st.sampled_from([1, 3]),
)
def test_each_part_ends_with_the_block_that_closes_a_bin(
    steps: list[list[float]], lateness_ms: float, bins: int
) -> None:
    now, count, blocks = 0.0, 0, []
    for gaps in steps:
        times = (now + np.cumsum(gaps)).tolist()
        blocks.append(block(count, times, kernel_drops=1))
        now, count = times[-1], count + len(times)
    parts = list(until_bins_close(iter(blocks), lateness_ms, bins))
    assert numbers(parts) == list(range(count))
    assert sum(part.kernel_drops for part in parts) == len(blocks)
    reached = [edges(part, lateness_ms, bins) for part in parts]
    assert all(before < after for before, after in pairwise(reached[:-1]))
    assert len(parts) <= len({edges(each, lateness_ms, bins) for each in blocks}) + 1


def test_the_clock_another_sampling_and_many_rows_do_not_wait() -> None:
    first, second = block(0, [0.1]), block(1, [0.2])
    many = block(2, [0.3] * BLOCK_ROWS)
    clock = tick(INTERFACE, BASE + 500_000, 0, 3)
    cases = [first, second, replace(many, sampling=2), block(9_000, [0.4]), clock]
    parts = list(until_bins_close(iter(cases), 1.0))
    assert [len(part) for part in parts] == [1, 1, BLOCK_ROWS, 1]
    assert [part.sampling for part in parts] == [1, 1, 2, 1]
    assert (parts[-1].clock_ns, parts[-1].kernel_drops) == (clock.clock_ns, 3)


def test_where_several_bins_come_together_the_clock_says_when_they_are_over() -> None:
    three_bins_ns = 3 * BIN_NS
    begin_ms = (three_bins_ns - BASE % three_bins_ns) / 1e6  # where three bins begin, after BASE
    early, later = (tick(INTERFACE, BASE + int((begin_ms + at) * 1e6), 0, 1) for at in (25.0, 31.5))
    cases = [block(0, [begin_ms + 1.5]), block(1, [begin_ms + 10]), early, block(2, [begin_ms + 28]), later]
    parts = list(until_bins_close(iter(cases), 1.0, bins=3))
    assert [len(part) for part in parts] == [1, 2]
    assert (parts[-1].clock_ns, parts[-1].kernel_drops) == (later.clock_ns, 2)
