"""Marks alone: of heavy flows of the direction that queues, while it does, where a mark does anything."""

from __future__ import annotations

import pytest

from offramp.decision.command import Command
from offramp.decision.policies.priority import PriorityPolicy
from offramp.decision.site import Limits, Link, Rules, Site
from offramp.decision.traffic import Direction, FlowRate, Quality, Traffic
from offramp.inference.forecast import BIN_NS, Forecast

START_NS = 1_700_000_000_000_000_000
CAPACITY = 10e6
RATES = {1: 4e6, 2: 2e6, 3: 0.9e6}
"""Of flows up by device; down they are the same."""


def site(queues: int = 2, **limits: object) -> Site:
    link = Link(name="wan", capacity=CAPACITY, queues=queues, devices=("10.0.0.0/24",))  # type: ignore[arg-type]
    return Site(mode="enforce", links=(link,), policy=Rules(name="priority"), limits=Limits(**limits))  # type: ignore[arg-type]


def decide(
    policy: PriorityPolicy, number: int, up_ms: float, down_ms: float = 0.0, gone: tuple[int, ...] = (),
    quality: float = 1.0,
) -> list[Command]:  # fmt: skip
    """Decide for a bin; gone: devices that are silent."""
    up = [FlowRate(f"10.0.0.{n}", "192.0.2.1", 17, n, 9, rate) for n, rate in RATES.items() if n not in gone]
    down = [FlowRate("192.0.2.1", f"10.0.0.{n}", 17, 9, n, rate, True) for n, rate in RATES.items() if n not in gone]
    flows = tuple(sorted(up + down, key=lambda flow: -flow.rate_bps))
    sides = Direction(CAPACITY, 7e6, up_ms), Direction(CAPACITY, 7e6, down_ms)
    now, queue = START_NS + (number + 1) * BIN_NS, max(up_ms, down_ms)
    forecast = Forecast("link:wan", now - BIN_NS, now, 0, (1.0, 0.0, 0.0), (queue,) * 3, queue, "counters", "")
    return policy.decide(forecast, Traffic(flows, (), 14e6, CAPACITY, sides), Quality(dropped=1.0 - quality))


def marked(commands: list[Command]) -> list[str]:
    return [each.action["flows"][0]["ipv4_src"] for each in commands if each.phase == "onset"]


def test_heavy_flows_of_the_direction_that_queues_are_marked_once() -> None:
    policy = PriorityPolicy(site(), "wan")
    assert decide(policy, 0, up_ms=1.9) == []
    commands = decide(policy, 1, up_ms=3.0)
    assert marked(commands) == ["10.0.0.1", "10.0.0.2"]
    assert all(each.action["type"] == "mark" and each.action["dscp"] == 1 for each in commands)
    assert decide(policy, 2, up_ms=3.0) == []
    assert marked(decide(policy, 3, up_ms=1.0, down_ms=3.0)) == ["192.0.2.1"] * 2
    assert policy.open_moves == 4


def test_marks_are_taken_back_in_calm_and_of_flows_that_are_over() -> None:
    policy = PriorityPolicy(site(), "wan")
    decide(policy, 0, up_ms=3.0)
    number, cleared = 1, list[Command]()
    while not cleared:  # the second flow is over, the queue is not
        cleared = decide(policy, number, up_ms=3.0, gone=(2,))
        number += 1
    assert [each.phase for each in cleared] == ["abated"]
    assert policy.open_moves == 1
    cleared = []
    begin = number
    while not cleared:
        cleared = decide(policy, number, up_ms=0.5, gone=(2,))
        number += 1
    assert (number - begin) * BIN_NS >= 1e9
    assert policy.open_moves == 0


@pytest.mark.parametrize("chosen", [site(queues=1), site(actions=("reroute", "offload"))])
def test_it_does_nothing_where_a_mark_does_nothing_or_is_not_allowed(chosen: Site) -> None:
    policy = PriorityPolicy(chosen, "wan")
    assert decide(policy, 0, up_ms=100.0) == []
    assert policy.open_scopes == frozenset()


def test_no_more_is_marked_than_may_be_and_bad_data_is_not_enforced() -> None:
    policy = PriorityPolicy(site(moves=1), "wan")
    assert marked(decide(policy, 0, up_ms=9.0, down_ms=9.0)) == ["10.0.0.1"]
    assert decide(policy, 1, up_ms=9.0, down_ms=9.0) == []
    doubtful = PriorityPolicy(site(), "wan")
    assert {each.mode for each in decide(doubtful, 0, up_ms=9.0, quality=0.5)} == {"dry_run"}


def test_the_number_of_classes_is_part_of_the_version() -> None:
    assert PriorityPolicy(site(1), "wan").version != PriorityPolicy(site(2), "wan").version
