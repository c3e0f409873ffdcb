"""The intake: bounded, in order, and everything that does not come out is counted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from offramp.capture.block import Interface, PacketBlock, joined, tick
from offramp.capture.intake.block_queue import ROW_BYTES, BlockQueue
from offramp.capture.intake.intake import Intake, Until
from offramp.capture.intake.shedding import Shedding, SheddingRule
from offramp.capture.sources.source import Fault, ListSource

INTERFACE = Interface("t", 1)


def block(first: int, count: int, size: int = 60, step_ns: int = 1, drops: int = 0, sampling: int = 1) -> PacketBlock:
    numbers = np.arange(first, first + count)
    return PacketBlock(
        np.repeat(numbers, size).astype(np.uint8), np.arange(count) * size, np.full(count, size, np.int32),
        np.full(count, size, np.int32), numbers * step_ns, np.zeros(count, np.int32), (INTERFACE,), first, drops,
        sampling,
    )  # fmt: skip


def times(blocks: list[PacketBlock]) -> list[int]:
    return [time_ns for each in blocks for time_ns in each.time_ns.tolist()]


def test_joined_blocks_are_their_packets_in_order() -> None:
    whole = joined([block(1, 3, drops=2), tick(INTERFACE, 77, 4, 1), block(4, 2)])
    assert whole.time_ns.tolist() == [1, 2, 3, 4, 5]
    assert whole.data[whole.offset].tolist() == [1, 2, 3, 4, 5]
    assert (whole.kernel_drops, whole.first_number, whole.clock_ns) == (3, 1, 0)
    assert joined([block(1, 3), tick(INTERFACE, 77, 4, 0)]).clock_ns == 77


def test_a_queue_without_room_sheds_the_oldest_and_keeps_the_kernels_drops() -> None:
    queue = BlockQueue(limit_bytes=3 * 10 * (60 + ROW_BYTES))
    for number in range(5):
        queue.put(block(1 + 10 * number, 10, drops=1))
    queue.end()
    left = []
    while (each := queue.get(10)) is not None:
        left.append(each)
    assert times(left) == list(range(21, 51))
    assert queue.shed == queue.shed_taken == 20
    assert sum(each.kernel_drops for each in left) == 5
    assert [each.shed_before for each in left] == [20, 0, 0]


def test_what_is_shed_is_told_by_the_block_behind_it_when_that_is_taken() -> None:
    queue = BlockQueue(limit_bytes=2 * 10 * (60 + ROW_BYTES))
    told = []
    for number in range(6):
        queue.put(block(1 + 10 * number, 10))
        if number == 2:
            assert (queue.shed, queue.shed_taken) == (10, 0)
            told.append(queue.get(10))
    queue.end()
    while (each := queue.get(100)) is not None:
        told.append(each)
    assert [(int(each.time_ns[0]), each.shed_before) for each in told if each] == [(11, 10), (41, 20)]
    assert (queue.shed, queue.shed_taken) == (30, 30)


def test_packets_of_flows_that_were_not_kept_are_told_with_the_block_they_were_in() -> None:
    """However far ahead the other thread is, and also where the block itself is shed."""
    queue = BlockQueue(limit_bytes=2 * 10 * (60 + ROW_BYTES))
    for number in range(5):
        queue.put(replace(block(1 + 10 * number, 10), sampled_away=1 << number))
    assert (queue.shed, queue.sampled_away) == (30, 0)
    told: list[tuple[int, int, int]] = []
    while len(told) < 2 and (each := queue.get(10)) is not None:
        told.append((len(each), each.sampled_away, queue.sampled_away))
    assert told == [(10, 1 + 2 + 4 + 8, 15), (10, 16, 31)]
    assert joined([replace(block(1, 3), sampled_away=4), replace(block(4, 3), sampled_away=5)]).sampled_away == 9


def test_a_queue_joins_what_waits_but_not_across_samplings() -> None:
    queue = BlockQueue()
    for number, sampling in enumerate((1, 1, 1, 2, 2, 1)):
        queue.put(block(1 + 10 * number, 10, sampling=sampling))
    queue.end()
    sizes = []
    while (each := queue.get(20)) is not None:
        sizes.append((len(each), each.sampling))
    assert sizes == [(20, 1), (10, 1), (20, 2), (10, 1)]


def test_fill_is_by_bytes_or_by_time() -> None:
    queue = BlockQueue(limit_bytes=100 * (60 + ROW_BYTES), limit_s=1.0)
    assert queue.fill == 0
    queue.put(block(1, 50))
    assert queue.fill == pytest.approx(0.5)
    queue.put(block(51, 1, step_ns=20_000_000))
    assert queue.fill == 1.0


def test_everything_passes_an_intake_that_keeps_up() -> None:
    intake = Intake(ListSource([block(1 + 10 * number, 10) for number in range(20)]))
    got = list(intake.read())
    assert times(got) == list(range(1, 201))
    assert intake.account.captured == 0
    assert intake.faults == []


def test_a_count_ends_it_at_that_packet() -> None:
    intake = Intake(ListSource([block(1 + 10 * number, 10) for number in range(20)]), until=Until(packets=37))
    assert times(list(intake.read())) == list(range(1, 38))


class Endless:
    """A source that goes on until it is closed."""

    name = "endless"
    faults: ClassVar[list[Fault]] = []

    def __init__(self) -> None:
        self.closed = threading.Event()

    def read(self) -> Iterator[PacketBlock]:
        number = 0
        while not self.closed.wait(0.002):
            yield block(1 + 10 * number, 10)
            number += 1

    def close(self) -> None:
        self.closed.set()


@pytest.mark.parametrize("how", ["duration", "close", "reader"])
def test_it_ends_when_it_is_told_to(how: str) -> None:
    intake = Intake(Endless(), until=Until(duration_s=0.05 if how == "duration" else 0))  # type: ignore[arg-type]
    for count, _ in enumerate(intake.read()):
        if how == "reader" and count == 3:
            break
        if how == "close" and count == 3:
            intake.close()
    assert how == "reader" or intake._source.closed.is_set()  # type: ignore[attr-defined]


def test_the_sources_error_is_raised_where_it_is_read() -> None:
    class Broken(Endless):
        def read(self) -> Iterator[PacketBlock]:
            yield block(1, 10)
            raise ValueError("broken")

    got: list[PacketBlock] = []
    with pytest.raises(ValueError, match="broken"):
        got += Intake(Broken()).read()  # type: ignore[arg-type]


def test_overload_is_shed_by_rule_counted_and_told() -> None:
    """The reader stands still while blocks come in: payload goes, then flows, then the oldest blocks."""
    told: list[str] = []
    rule = SheddingRule(raise_s=0.0, payload_bytes=40, most=4)
    gate = threading.Event()
    blocks = [block(1 + 100 * number, 100, size=80) for number in range(200)]

    class Gated(ListSource):
        def read(self) -> Iterator[PacketBlock]:
            yield from self.blocks
            gate.set()

    queue = BlockQueue(limit_bytes=20 * 100 * (80 + ROW_BYTES))
    intake = Intake(Gated(blocks), shedding=Shedding(rule), queue=queue, report=told.append)
    reading = intake.read()
    first = next(reading)
    assert gate.wait(30)
    rest = list(reading)
    out = sum(len(each) for each in [first, *rest])
    account = intake.account
    assert account.captured == account.shed.total()
    assert out + account.captured == 200 * 100
    assert set(account.shed) == {"flow_sampling", "queue_full"}
    assert account.notes["payload_shed"] > 0
    assert told == [
        "payload beyond 40 bytes is shed",
        "payload beyond 40 bytes is shed, and 1 of 2 flows is kept",
        "payload beyond 40 bytes is shed, and 1 of 4 flows is kept",
    ]
    assert {each.sampling for each in rest} <= {1, 2, 4}
