"""What a command of the optimiser tells of its look: the queues, what it moved, and the nearest that it did not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from offramp.decision.command import SCHEMA_FILE, Command, validate
from offramp.decision.policies import account
from offramp.decision.policies.assignment import FURTHER
from offramp.decision.policies.optimiser import CHANGES
from offramp.decision.policies.policy import LinkPolicy
from offramp.decision.policies.table import link_policy
from offramp.decision.site import Site
from offramp.decision.traffic import Direction, FlowRate, Quality, Traffic
from offramp.inference.forecast import BIN_NS, Forecast

START_NS = 1_700_000_000_000_000_000
CAPACITY = 8e6
MEMBERS = {"directions", "moved", "candidates", "price_ms", "network"}


def site(
    *, moves: int = 50, paths: Sequence[str] = ("b",), nodes: Sequence[str] = (), queues: int = 1, **more: Any
) -> Site:  # fmt: skip
    link = {
        "queues": queues, "nodes": [{"name": name, "delay_ms": 2} for name in nodes],
        "name": "a", "capacity": CAPACITY, "devices": ["10.0.0.0/24"], "buffer_bytes": 200_000,
        "paths": [{"name": name, "capacity": "20 Mbit/s", "delay_ms": 5} for name in paths],
        "known": [{"address": "10.0.0.9", "priority": -1}],
    }  # fmt: skip
    return Site.model_validate({
        "links": [link], "limits": {"moves": moves, "actions": ["reroute", "offload", "mark"]},
        "policy": {"name": "optimiser-reactive", "optimiser": {"every_bins": 1, **more}},
    })  # fmt: skip


def up(number: int, rate_bps: float) -> FlowRate:
    return FlowRate(f"10.0.0.{number}", "192.0.2.1", 17, 5000 + number, 443, rate_bps)


def down(number: int, rate_bps: float) -> FlowRate:
    return FlowRate("192.0.2.1", f"10.0.0.{number}", 17, 443, 5000 + number, rate_bps, True)


def look(
    policy: LinkPolicy, flows: Sequence[FlowRate], queue_ms: float = 60.0, *, at: int = 0, sees_moved: bool = True
) -> list[Command]:
    """Return the commands of one look at flows that have had these rates for long."""
    loads = [sum(flow.rate_bps for flow in flows if flow.down == side) for side in (False, True)]
    sides = Direction(CAPACITY, loads[0], queue_ms, queue_ms), Direction(CAPACITY, loads[1], 0.0, 0.0)
    traffic = Traffic(tuple(flows), (), sum(loads), CAPACITY, sides, 0.0, 0.0, {}, sees_moved)
    now_ns = START_NS + at * BIN_NS
    forecast = Forecast(
        "link:a", now_ns - 64 * BIN_NS, now_ns, 500, (0.1, 0.2, 0.7), (1.0, 2.0, 3.0), queue_ms, "m", "s"
    )
    return policy.decide(forecast, traffic, Quality())


def why(commands: Sequence[Command]) -> dict[str, str]:
    """Return the word of each candidate by its source."""
    return {each["match"]["ipv4_src"]: each["why"] for each in commands[0].reason["candidates"]}


def test_a_command_tells_the_queues_and_rates_of_what_it_moves() -> None:
    commands = look(link_policy(site(), "a"), [up(1, 5e6), up(2, 4e6), down(3, 1e6)])
    (onset,) = commands
    validate(json.loads(onset.to_json()))
    assert onset.reason.keys() >= MEMBERS
    assert onset.reason["directions"] == {
        "up": {"load_bps": 9_000_000, "capacity_bps": 8_000_000, "queue_ms": 60.0},
        "down": {"load_bps": 1_000_000, "capacity_bps": 8_000_000, "queue_ms": 0.0},
    }
    told = onset.reason["moved"]
    assert [each["match"] for each in told] == sorted(onset.action["flows"], key=lambda match: match["ipv4_src"]), (
        "the heaviest first"
    )
    assert {(each["from"], each["to"], each["why"]) for each in told} == {("a", "b", "saves delay")}
    assert told[0]["rate_bps"] == 5_000_000
    assert max(each["saved_ms"] for each in told) > onset.reason["price_ms"] == 3.09
    assert onset.reason["network"] == "supposed"
    assert why(commands)["192.0.2.1"] == "no better there"


def test_moved_flows_that_are_not_seen_are_of_the_applied_network() -> None:
    (onset,) = look(link_policy(site(), "a"), [up(1, 9e6)], sees_moved=False)
    assert onset.reason["network"] == "applied"


def test_what_may_not_be_moved_is_told_of() -> None:
    commands = look(link_policy(site(), "a"), [up(9, 5e6), up(2, 4e6)])
    assert why(commands) == {"10.0.0.9": "may not be moved"}
    assert commands[0].reason["candidates"][0]["saved_ms"] > 0


def test_a_price_that_is_too_high_is_told_of() -> None:
    commands = look(link_policy(site(price_ms=20.0), "a"), [up(1, 7.7e6), *(up(n, 3e5) for n in range(2, 6))])
    assert [each["match"]["ipv4_src"] for each in commands[0].reason["moved"]] == ["10.0.0.1"]
    for each in commands[0].reason["candidates"]:
        assert each["why"] == ("below price" if each["saved_ms"] > 0 else "no better there")
        assert each["saved_ms"] <= FURTHER * commands[0].reason["price_ms"], "what a further change costs"
    assert "below price" in why(commands).values()


def test_no_room_in_moves_is_told_of() -> None:
    commands = look(link_policy(site(moves=1), "a"), [up(n, 3e6) for n in range(1, 5)])
    assert len(commands[0].action["flows"]) == 1
    assert "no room in moves" in why(commands).values()


def test_what_is_left_for_the_next_look_is_told_of() -> None:
    commands = look(link_policy(site(price_ms=0.1), "a"), [up(n, 4e5) for n in range(11, 51)])
    assert len(commands[0].reason["moved"]) == CHANGES
    assert "next look" in why(commands).values()


def test_a_closed_path_is_told_of() -> None:
    policy = link_policy(site(paths=("b", "c")), "a")
    policy.share(lambda: {"c": float("inf")})
    commands = look(policy, [up(1, 9e6), up(2, 9e6), up(3, 9e6), up(4, 9e6)])
    words = {(each["to"], each["why"]) for each in commands[0].reason["candidates"]}
    assert ("c", "path closed") in words


def test_what_a_command_is_on_its_way_for_is_told_of() -> None:
    policy = link_policy(site(command_ms=50), "a")
    flows = [up(1, 5e6), up(2, 4e6)]
    first = look(policy, flows)
    moved = {match["ipv4_src"] for match in first[0].action["flows"]}
    later = look(policy, [*flows, up(3, 6e6), up(4, 6e6)], at=1)
    assert later
    told = [each for each in later[0].reason["candidates"] if each["why"] == "in flight"]
    assert {each["match"]["ipv4_src"] for each in told} == moved
    assert {each["from"] for each in told} == {"b"}


def test_what_comes_back_tells_why() -> None:
    policy = link_policy(site(), "a")
    moved = look(policy, [up(1, 5e6), up(2, 4e6)])[0].reason["moved"]
    ended = look(policy, [], 0.0, at=250)
    told = [each for command in ended for each in command.reason["moved"]]
    assert {each["why"] for each in told} == {"has ended"}
    assert all("saved_ms" not in each and each["to"] == "a" for each in told)
    assert {each["match"]["ipv4_src"] for each in told} == {each["match"]["ipv4_src"] for each in moved}
    for command in ended:
        validate(json.loads(command.to_json()))


def test_an_update_that_only_renews_tells_nothing_new() -> None:
    policy = link_policy(site(every_bins=1_000), "a")
    flows, commands = [up(1, 5e6), up(2, 4e6)], list[Command]()
    first = -(START_NS // BIN_NS) % 1_000
    for at in range(first, first + 600, 20):
        commands += look(policy, flows, at=at)
    assert [each.phase for each in commands] == ["onset", "update"]
    assert [bool(MEMBERS & each.reason.keys()) for each in commands] == [True, False]


def test_a_reason_tells_of_no_more_than_the_schema_lets_it() -> None:
    rules = json.loads(SCHEMA_FILE.read_text())
    reason = rules["properties"]["reason"]["properties"]
    assert reason["candidates"]["maxItems"] == account.MOST_CANDIDATES
    assert reason["moved"]["maxItems"] == account.MOST_MOVED
    words = {account.SAVES, account.ENDED, account.AGAIN, account.TRIAL, account.HEAVY, account.LIGHT}
    assert set(rules["$defs"]["moved"]["properties"]["why"]["enum"]) == words
    words = {account.FIXED, account.COMING, account.FULL, account.CLOSED, account.LATER, account.CHEAP, account.WORSE}
    assert set(rules["$defs"]["candidate"]["properties"]["why"]["enum"]) == words
    commands = look(link_policy(site(), "a"), [up(n, 5e5) for n in range(1, 60)])
    assert len(commands[0].reason["candidates"]) == account.MOST_CANDIDATES
    assert len(commands[0].to_json()) < 8_000


def test_a_device_that_goes_to_a_node_is_told_as_one_and_its_flows_are_no_candidates() -> None:
    policy = link_policy(site(paths=(), nodes=("edge",)), "a")
    commands = look(policy, [up(1, 5e6), up(1, 4e6), up(2, 1e6)])
    (offload,) = [each for each in commands if each.action["type"] == "offload" and each.action["device"] == "10.0.0.1"]
    validate(json.loads(offload.to_json()))
    (told,) = offload.reason["moved"]
    assert (told["device"], told["from"], told["to"], told["why"]) == ("10.0.0.1", "a", "edge", "saves delay")
    assert told["rate_bps"] > 3_000_000
    assert all(each.get("device") != "10.0.0.1" for each in offload.reason["candidates"])
    back = list[Command]()
    for at in range(1, 300):
        back += look(policy, [], 0.0, at=at)
    ended = [each for each in back if each.loop_id == offload.loop_id and each.phase == "abated"]
    assert [each["device"] for each in ended[0].reason["moved"]] == ["10.0.0.1"]


def test_marks_tell_what_gives_way_and_what_need_not_any_more() -> None:
    policy = link_policy(site(queues=2, paths=()), "a")
    commands = look(policy, [up(1, 5e6), up(2, 4e6)])
    (mark,) = [each for each in commands if each.action["type"] == "mark"]
    validate(json.loads(mark.to_json()))
    assert {(each["from"], each["to"], each["why"]) for each in mark.reason["moved"]} == {("a", "a", "is heavy")}
    assert [each["rate_bps"] for each in mark.reason["moved"]] == [5_000_000, 4_000_000]
    later = list[Command]()
    for at in range(1, 300):
        later += look(policy, [], 0.0, at=at)
    ended = [each for each in later if each.phase == "abated"]
    assert {each["why"] for each in ended[0].reason["moved"]} == {"need not give way"}
