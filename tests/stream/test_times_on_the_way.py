"""Wrong times on the way to and from a link's bins: pace, blocks of a live link, shedding, the table."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from offramp.capture.block import NO_TIME, Interface, PacketBlock
from offramp.cli.show.table import LineTable
from offramp.stream.channels import BIN_NS
from offramp.stream.local import pace
from offramp.stream.local.bin_edges import until_bins_close
from offramp.stream.pipeline.timeline import LinkTimeline
from offramp.stream.worker.load_shedding import LinkBacklog
from tests.support.times import BASE, SECOND, Times, steady


def block_of(time_ns: Times, **told: Any) -> PacketBlock:
    size, none = np.full(len(time_ns), 60, np.int32), np.zeros(len(time_ns), np.int32)
    interfaces = (Interface("x", 1),)
    return PacketBlock(np.zeros(60, np.uint8), none.astype(np.int64), size, size, time_ns, none, interfaces, **told)


@pytest.mark.parametrize("wrong", [60 * SECOND, 2**31 * SECOND, -60 * SECOND, -(2**62)])
@pytest.mark.parametrize("at", [1, 500, 998, 999])
def test_a_paced_replay_does_not_wait_for_a_wrong_time(wrong: int, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, slept = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    time_ns = steady(2_000)
    time_ns[at] = max(time_ns[at] + wrong, NO_TIME)
    blocks = [block_of(time_ns[:1_000], first_number=1), block_of(time_ns[1_000:], first_number=1_001)]
    parts = list(pace.paced(iter(blocks), 1.0))
    assert sum(map(len, parts)) == 2_000
    assert sum(slept) == pytest.approx(4.0, abs=0.7)
    np.testing.assert_array_equal(np.concatenate([part.time_ns for part in parts]), time_ns)


def test_a_paced_replay_goes_on_at_its_pace_when_time_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: sum(slept))
    monkeypatch.setattr(time, "sleep", slept.append)
    time_ns = steady(2_000)
    time_ns[1_000:] -= 3_600 * SECOND
    list(pace.paced(iter([block_of(time_ns)]), 2.0))
    assert 1.0 <= sum(slept) <= 2.0


@pytest.mark.parametrize("bins", [1, 50])
def test_blocks_of_a_live_link_do_not_wait_for_a_time_that_is_over(bins: int) -> None:
    time_ns = steady(2_000)
    time_ns[1_000:] -= 3_600 * SECOND
    time_ns[200] = 2**31 * SECOND
    blocks = [block_of(time_ns[start : start + 10]) for start in range(0, 2_000, 10)]
    sizes = [len(block) for block in until_bins_close(iter(blocks), 1.0, bins)]
    assert sum(sizes) == 2_000
    assert max(sizes) <= 5 * bins + 2 * 10  # 5 packets a bin; until it closes


def test_a_message_of_the_future_does_not_end_the_shedding() -> None:
    backlog = LinkBacklog(1.0)
    turns = [backlog.update(5.0, now, waiting=True) for now in (0.0, 1.0, 4.0)]
    assert turns == [False, False, True]
    assert not backlog.update(-3_600.0, 4.1, waiting=True)
    assert backlog.shedding
    assert backlog.update(0.1, 4.2, waiting=True)


def test_the_table_prints_on_when_time_goes_back() -> None:
    lines: list[str] = []
    table = LineTable(lines.append, SECOND, BIN_NS)
    one = np.zeros((1, 3), np.float32)
    for second in (10, 11, 12, 5, 6, 7):
        end = np.array([BASE + second * SECOND])
        table.update(LinkTimeline("up", end, one[0, :1], one[0, :1], one[0, :1], one, one))
    table.close()
    assert [line.split()[0] for line in lines[1:]] == ["0.0s", "1.0s", "2.0s", "-5.0s", "-4.0s", "-3.0s"]
