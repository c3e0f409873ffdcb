"""The optimiser: directions apart, what was moved remembered, nothing moved for nothing, in a small fluid network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from offramp.decision.command import Command
from offramp.decision.policies.demand import device_key, device_of, flow_key, key_of, source_key
from offramp.decision.policies.optimiser import OptimiserPolicy
from offramp.decision.site import Node, Site
from offramp.decision.traffic import Direction, FlowRate, Quality, Traffic
from offramp.inference.forecast import BIN_NS, Forecast

START_NS = 1_700_000_000_000_000_000


def site(*, up: float = 8e6, down: float | None = None, **more: Any) -> Site:
    path = {"name": "b", "capacity": "20 Mbit/s", "delay_ms": 5, **more.pop("path", {})}
    link = {"name": "a", "capacity": up, "devices": ["10.0.0.0/24"], "paths": [path], "buffer_bytes": 200_000}
    link |= {"capacity_down": down} if down else {}
    return Site.model_validate({
        "mode": "enforce", "links": [link], "limits": {"moves": 50, **more.pop("limits", {})},
        "policy": {"name": "optimiser-reactive", "optimiser": more},
    })  # fmt: skip


def up(number: int) -> FlowRate:
    return FlowRate(f"10.0.0.{number}", "192.0.2.1", 17, 5000 + number, 443, 0.0)


def down(number: int) -> FlowRate:
    return FlowRate("192.0.2.1", f"10.0.0.{number}", 17, 443, 5000 + number, 0.0, True)


class Fluid:
    """A link and its path as fluids: flows of given rates, moved when they are told to be."""

    def __init__(self, of: Site, *, seen: bool = True) -> None:
        self.policy = OptimiserPolicy(of, "a", needs_forecast=False)
        self.link, self.seen = of.links[0], seen
        self.capacity = (self.link.capacity_bps, self.link.capacity_down_bps)
        self.queue_ms = {"": [0.0, 0.0], "b": [0.0, 0.0]}
        self.moved: dict[str, set[Any]] = {}
        self.marks: set[str] = set()
        self.commands: list[Command] = []
        self.worst_ms: list[float] = []
        self.now, self.high = 0, 0.0

    def away(self, flow: FlowRate) -> bool:
        keys = {flow_key(flow), source_key(flow), device_key(device_of(flow))}
        return any(keys & held for name, held in self.moved.items() if name not in self.marks)

    def run(self, seconds: float, rates: Callable[[float], Iterable[tuple[FlowRate, float]]]) -> None:
        for _ in range(round(seconds * 100)):
            self.now += 1
            flows = [(flow, rate) for flow, rate in rates(self.now / 100) if rate]
            self._fill(flows)
            now_ns = START_NS + self.now * BIN_NS
            queue = max(self.queue_ms[""])
            shares = (1.0 - self.high, 0.0, self.high)
            forecast = Forecast("link:a", now_ns, now_ns, 0, shares, (queue,) * 3, queue, "m", "s")
            told = self._traffic(flows)
            for command in self.policy.decide(forecast, told, Quality()):
                self._take(command)

    def _fill(self, flows: list[tuple[FlowRate, float]]) -> None:
        for place, queue in self.queue_ms.items():
            for side in (0, 1):
                load = sum(rate for flow, rate in flows if flow.down == side and self.away(flow) == bool(place))
                capacity = 20e6 if place else self.capacity[side]
                queue[side] = min(max(0.0, queue[side] + (load / capacity - 1) * 10), 200.0)
        self.worst_ms.append(max(self.queue_ms[""]))

    def _traffic(self, flows: list[tuple[FlowRate, float]]) -> Traffic:
        shown = [replace(flow, rate_bps=rate) for flow, rate in flows if self.seen or not self.away(flow)]
        shown.sort(key=lambda flow: -flow.rate_bps)
        sides, there = [], []
        for side in (0, 1):
            loads = [
                sum(rate for flow, rate in flows if flow.down == side and self.away(flow) == away)
                for away in (False, True)
            ]
            queue, other = self.queue_ms[""][side], self.queue_ms["b"][side]
            sides.append(Direction(self.capacity[side], loads[0], queue, queue))
            there.append(Direction(20e6, loads[1], other, other))
        places = {"b": (there[0], there[1])} if self.seen else {}
        both = sides[0].load_bps + sides[1].load_bps
        return Traffic(tuple(shown), (), both, self.capacity[0], (sides[0], sides[1]), 0.0, 0.0, places, self.seen)

    def _take(self, command: Command) -> None:
        self.commands.append(command)
        if command.phase == "abated":
            del self.moved[command.loop_id]
            return
        if command.action["type"] == "mark":
            self.marks.add(command.loop_id)
        if "device" in command.action:
            self.moved[command.loop_id] = {device_key(command.action["device"])}
        else:
            self.moved[command.loop_id] = {key_of(match) for match in command.action["flows"]}

    def named(self) -> set[str]:
        return {str(match.get("ipv4_dst")) for each in self.commands for match in each.action.get("flows", ())}


def steady(flows: Iterable[FlowRate], rate_bps: float) -> Callable[[float], list[tuple[FlowRate, float]]]:
    chosen = [(flow, rate_bps) for flow in flows]
    return lambda _: chosen


def test_a_congested_downlink_is_helped_by_its_own_flows_alone() -> None:
    """100 Mbit/s up, 10 down, of which twelve downloads want 12: uploads of 30 stay where they are."""
    fluid = Fluid(site(up=100e6, down=10e6))
    everything = [*((down(n), 1e6) for n in range(1, 13)), *((up(n), 10e6) for n in range(20, 23))]
    fluid.run(5, lambda _: everything)
    assert fluid.commands
    assert "192.0.2.1" not in fluid.named(), "no flow from the devices is moved"
    assert max(fluid.worst_ms[200:]) < 25


def test_a_congested_uplink_does_not_move_a_harmless_download() -> None:
    fluid = Fluid(site(up=10e6, down=100e6))
    everything = [*((up(n), 4e6) for n in range(1, 4)), (down(9), 20e6)]
    fluid.run(5, lambda _: everything)
    assert fluid.named() == {"192.0.2.1"}
    assert max(fluid.worst_ms[200:]) < 25


@pytest.mark.parametrize("pace", ["fast", "even", "calm"])
def test_a_constant_overload_is_answered_once(pace: str) -> None:
    fluid = Fluid(site(pace=pace))
    fluid.run(55, steady(map(up, range(1, 11)), 1e6))
    assert sum(each.phase == "onset" for each in fluid.commands) <= 2
    assert not any(each.phase == "abated" for each in fluid.commands)
    assert sum(each > 25 for each in fluid.worst_ms[100:]) < 0.03 * len(fluid.worst_ms)


@pytest.mark.parametrize("pace", ["fast", "even", "calm"])
def test_many_light_flows_are_helped_together(pace: str) -> None:
    """Fifty of 2.5 % each, 125 % together: none of them is worth a move by itself."""
    fluid = Fluid(site(pace=pace))
    fluid.run(20, steady(map(up, range(1, 51)), 2e5))
    assert max(fluid.worst_ms[400:]) < 25
    assert sum(each.phase == "onset" for each in fluid.commands) <= 4


def test_what_was_moved_comes_back_when_it_fits_and_not_when_the_link_is_calm_without_it() -> None:
    """Two flows of 5 Mbit/s on 8: one goes. It comes back not before the other has ended."""
    fluid = Fluid(site())
    fluid.run(20, steady([up(1), up(2)], 5e6))
    assert [each.phase for each in fluid.commands if each.phase != "update"] == ["onset"]
    kept = {1, 2} - {int(name.rpartition(".")[2]) for name in _sources(fluid.commands)}
    fluid.run(20, steady([up(3 - kept.pop())], 5e6))
    assert [each.phase for each in fluid.commands if each.phase != "update"] == ["onset", "abated"]


def _sources(commands: list[Command]) -> set[str]:
    return {str(match["ipv4_src"]) for each in commands for match in each.action.get("flows", ())}


def test_a_move_of_what_has_ended_ends() -> None:
    """A flow that lived for half a second is not renewed for as long as others keep the link busy."""
    fluid = Fluid(site())
    fluid.run(0.5, lambda _: [(up(1), 6e6), (up(2), 5e6)])
    moved = _sources(fluid.commands)
    assert len(moved) == 1
    fluid.run(3, steady([up(1 if moved == {"10.0.0.2"} else 2)], 7e6))
    assert [each.phase for each in fluid.commands] == ["onset", "abated"]


def test_one_of_several_that_has_ended_is_left_out_of_the_next_update() -> None:
    fluid = Fluid(site())
    three = [(up(n), 3e6) for n in range(1, 6)]
    fluid.run(2, lambda _: three)
    onset = next(each for each in fluid.commands if each.phase == "onset" and len(each.action["flows"]) > 1)
    gone = onset.action["flows"][0]
    fluid.run(4, lambda _: [each for each in three if each[0].match() != gone])
    later = [each for each in fluid.commands if each.loop_id == onset.loop_id and each.phase != "onset"]
    assert later
    assert gone not in later[-1].action.get("flows", ())


def test_what_is_not_seen_is_assumed_and_tried_again_ever_more_rarely() -> None:
    """Behind the point of steering nobody sees a moved flow: it is tried at home, with growing pauses."""
    fluid = Fluid(site(), seen=False)
    fluid.run(200, steady([up(1), up(2)], 5e6))
    onsets = [each.not_before_ns / 1e9 for each in fluid.commands if each.phase == "onset"]
    pauses = [later - before for before, later in pairwise(onsets)]
    assert 2 <= len(pauses) <= 6
    assert all(later > 1.5 * before for before, later in pairwise(pauses))
    assert sum(each > 25 for each in fluid.worst_ms[100:]) < 0.03 * len(fluid.worst_ms)


def test_slow_commands_move_sources_with_one_rule_for_flows_to_come() -> None:
    fluid = Fluid(site(command_ms=600))
    fluid.run(3, steady([up(1), up(2)], 5e6))
    match = fluid.commands[0].action["flows"][0]
    assert match.keys() == {"eth_type", "ip_proto", "ipv4_src", "udp_dst"}
    changing = [replace(up(1 + n % 2), sport=6000 + n) for n in range(100)]
    fluid.run(6, lambda second: [(changing[2 * int(second)], 5e6), (changing[2 * int(second) + 1], 5e6)])
    assert sum(each.phase == "onset" for each in fluid.commands) == 1
    assert max(fluid.worst_ms[200:]) < 25


@pytest.mark.parametrize("path", [{"same_address": False}, {"delay_ms": 900}])
def test_nothing_goes_where_it_would_break_or_be_no_better(path: dict[str, Any]) -> None:
    fluid = Fluid(site(path=path))
    fluid.run(5, steady(map(up, range(1, 11)), 1e6))
    assert fluid.commands == []


def test_a_closed_path_takes_nothing_new() -> None:
    fluid = Fluid(site())
    fluid.policy.share(lambda: {"b": float("inf")})
    fluid.run(3, steady(map(up, range(1, 11)), 1e6))
    assert fluid.commands == []


def test_it_moves_no_more_than_the_site_allows() -> None:
    fluid = Fluid(site(limits={"moves": 1}))
    fluid.run(10, steady(map(up, range(1, 11)), 1e6))
    assert max(len(held) for held in fluid.moved.values()) == 1
    assert fluid.policy.open_moves == 1


def test_where_nothing_else_may_take_it_a_device_goes_to_a_node_and_comes_back_when_all_fits() -> None:
    of = site(limits={"actions": ["offload"]})
    link = of.links[0].model_copy(update={"paths": (), "nodes": (Node(name="b", capacity=20e6),)})
    fluid = Fluid(of.model_copy(update={"links": (link,)}))
    flows = [(up(n), 5e6) for n in (1, 2)]
    fluid.run(5, lambda _: flows)
    onsets = [each for each in fluid.commands if each.phase == "onset"]
    assert [each.action["type"] for each in onsets] == ["offload"]
    assert onsets[0].scope == f"device:a/{onsets[0].action['device']}"
    assert max(fluid.worst_ms[200:]) < 25
    fluid.run(12, lambda _: [(flow, 1e6) for flow, _ in flows])
    assert fluid.commands[-1].phase == "abated"


def test_heavy_traffic_gives_way_before_anything_is_moved_where_a_queue_honours_marks() -> None:
    of = site(path={"delay_ms": 900})
    two = of.model_copy(update={"links": (of.links[0].model_copy(update={"queues": 2}),)})
    flows = [(up(1), 5e6), (up(2), 5e6), *((up(n), 1e5) for n in range(3, 9))]
    fluid = Fluid(two)
    fluid.run(5, lambda _: flows)
    assert {each.action["type"] for each in fluid.commands} == {"mark"}
    assert _sources(fluid.commands) == {"10.0.0.1", "10.0.0.2"}, "what is light is not marked"
    plain = Fluid(of)
    plain.run(5, lambda _: flows)
    assert plain.commands == [], "on one queue a mark does nothing"
    fluid.run(3, lambda _: [(flow, rate / 10) for flow, rate in flows])
    assert not fluid.moved, "in calm marks are taken back"


def test_what_is_foreseen_makes_moves_cheaper_and_that_is_counted() -> None:
    def first(high: float) -> tuple[int, OptimiserPolicy]:
        fluid = Fluid(site(price_ms=60, trust=1.0))
        fluid.policy, fluid.high = OptimiserPolicy(fluid.policy.site, "a"), high
        fluid.run(20, steady([up(1), up(2)], 4.3e6))
        return fluid.commands[0].not_before_ns, fluid.policy

    (late, unmoved), (early, swayed) = first(0.0), first(0.9)
    assert early < late
    assert unmoved.swayed == (0, 0)
    assert 0 < swayed.swayed[1] <= swayed.swayed[0]


def test_it_goes_on_from_its_state() -> None:
    rates = steady(map(up, range(1, 11)), 1e6)
    whole, part = Fluid(site(), seen=False), Fluid(site(), seen=False)
    whole.run(30, rates)
    part.run(11.23, rates)
    state = json.loads(json.dumps(part.policy.state()))
    part.policy = OptimiserPolicy(site(), "a", needs_forecast=False)
    part.policy.restore(state)
    part.run(30 - 11.23, rates)
    assert [each.to_json() for each in part.commands] == [each.to_json() for each in whole.commands]
