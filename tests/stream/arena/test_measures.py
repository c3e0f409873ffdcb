"""Measures of episodes made by hand: each number against what it must be."""

from __future__ import annotations

import numpy as np
import pytest

from offramp.stream.arena.comparisons import Blocks, difference_of, near, ratio_of
from offramp.stream.arena.episode import Outcome
from offramp.stream.arena.executor import Counts
from offramp.stream.arena.measures import measures, tallied
from offramp.stream.arena.report.columns import FELT
from offramp.stream.arena.requests import Requests

LOST_MS, BUDGET_MS = 200.0, 25.0


def outcome(**changed: object) -> Outcome:
    """Ten seconds: six packets of 1,000 bytes, flows 0 and 1 of class a, flow 2 of b; one is lost, one late."""
    values: dict[str, object] = {
        "time_ns": np.array([0, 1, 2, 3, 6, 7], np.int64) * 1_000_000_000,
        "size": np.full(6, 1_000, np.int64),
        "delay_ms": np.array([1.0, 2.0, np.nan, 30.0, 5.0, 7.0]),
        "place": np.zeros(6, np.int64),
        "counts": Counts(moved=3, returned=2, flaps=1, refused=4, lost=5, broken=6, refused_tasks=7),
        "commands": [],
        "flow": np.array([0, 1, 0, 2, 2, 2], np.int64),
        "link": np.zeros(3, np.int64),
        "kind": np.array([0, 0, 1], np.int64),
        "classes": ("a", "b"),
        "queue_ms": np.zeros((1_000, 2), np.float32),
        "congested": np.arange(1_000) < 250,
        "energy_nj": 80_000.0,
        "seconds": 10.0,
    }
    return Outcome(**{**values, **changed})  # type: ignore[arg-type]


def test_each_measure_is_what_it_says() -> None:
    found = measures([outcome()], LOST_MS, BUDGET_MS)
    assert found.mean_ms == pytest.approx((1 + 2 + 200 + 30 + 5 + 7) / 6)
    assert (found.lost, found.over) == pytest.approx((1 / 6, 2 / 6))
    assert found.throughput_bps == pytest.approx(5 * 8_000 / 10)
    assert found.congested == 0.25
    assert found.energy_nj == pytest.approx(80_000 / (5 * 8_000))
    minutes = 7 / 60
    others = (found.refused, found.failed, found.broken, found.refused_tasks)
    per_minute = (found.moves, found.returns, found.flaps, *others)
    assert per_minute == pytest.approx(tuple(count / minutes for count in (3, 2, 1, 4, 5, 6, 7)))
    assert (found.blocks, found.in_time) == (2, None)


def test_classes_part_the_whole() -> None:
    tally = tallied([outcome(), outcome()], LOST_MS, BUDGET_MS)
    whole, classes = tally.measures(), tally.classes()
    assert list(classes) == ["a", "b"]
    assert classes["a"].mean_ms == pytest.approx((1 + 2 + 200) / 3)
    assert classes["b"].mean_ms == pytest.approx((30 + 5 + 7) / 3)
    assert (classes["a"].lost, classes["b"].lost, classes["b"].over) == pytest.approx((1 / 3, 0.0, 1 / 3))
    assert sum(each.share for each in classes.values()) == pytest.approx(1.0)
    assert sum(each.throughput_bps for each in classes.values()) == pytest.approx(whole.throughput_bps)
    for column in range(4):
        parts = sum(tally.blocks(name)[column] for name in classes)
        np.testing.assert_allclose(parts, tally.blocks()[column])
    assert all(each.low_ms <= each.mean_ms <= each.high_ms for each in classes.values())


def test_a_class_without_a_packet_has_no_row() -> None:
    assert list(tallied([outcome(classes=("a", "b", "c"))], LOST_MS, BUDGET_MS).classes()) == ["a", "b"]


def test_a_class_that_sends_nothing_has_its_requests() -> None:
    """What a device computes for itself is in time or not, though no packet of it is ever seen."""
    none, kind, in_time = np.zeros(2), np.array([2, 2]), np.array([True, False])
    requests = Requests(kind, kind, none, in_time, ~in_time, kind, none)
    tally = tallied([outcome(classes=("a", "b", "own"), requests=requests)], LOST_MS, BUDGET_MS)
    own = tally.classes()["own"]
    assert (own.in_time, own.share) == (0.5, 0.0)
    shown = {column.title: column.shown({**own._asdict(), "regret_ms": None}) for column in FELT}
    assert shown.pop("in time") == "50.0%"
    assert set(shown.values()) == {"-", "0.00"}


def test_deadlines_are_told_where_there_are_some() -> None:
    kind, in_time, none = np.array([0, 0, 1, 1, 1]), np.array([True, False, True, True, True]), np.zeros(5)
    requests = Requests(none.astype(np.int64), kind, none, in_time, ~in_time, kind, none)
    tally = tallied([outcome(requests=requests)], LOST_MS, BUDGET_MS)
    assert tally.measures().in_time == pytest.approx(4 / 5)
    assert [each.in_time for each in tally.classes().values()] == [0.5, 1.0]


def test_policies_have_the_same_blocks_whenever_their_last_packet_comes() -> None:
    """A sender that reacts sends other packets under another policy: the blocks are of time, not of packets."""
    late = outcome(time_ns=np.array([0, 1, 2, 3, 4, 4], np.int64) * 1_000_000_000)
    whole, other = (tallied([each], LOST_MS, BUDGET_MS).blocks() for each in (outcome(), late))
    assert len(whole.packets) == len(other.packets) == 2
    assert other.packets.tolist() == [6, 0]
    assert np.isfinite(difference_of(whole, other)).all()


def blocks(means: list[float]) -> Blocks:
    packets = np.full(len(means), 10.0)
    return Blocks(np.array(means) * 10, packets, packets * 0, packets * 0)


def test_comparisons_are_paired_block_by_block() -> None:
    base = [1.0, 100.0, 3.0, 50.0] * 10
    one, other = blocks([each + 2 for each in base]), blocks(base)
    assert difference_of(one, other) == pytest.approx((2.0, 2.0, 2.0))  # apart the intervals are 20 wide
    assert ratio_of(blocks([each * 1.5 for each in base]), other) == pytest.approx((1.5, 1.5, 1.5))
    assert near(blocks([1.04, 104.0, 3.0, 60.0]), blocks([1.0, 100.0, 3.0, 50.0])) == 0.75
