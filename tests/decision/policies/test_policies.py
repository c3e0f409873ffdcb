"""Every policy of the table: the same input gives the same commands, restored or not, and none that may not be."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from offramp.decision.command import Command, validate
from offramp.decision.policies.policy import LinkPolicy
from offramp.decision.policies.table import POLICIES, link_policy
from offramp.decision.site import AltPath, Device, Limits, Link, Node, Rules, Site
from offramp.decision.traffic import DeviceRate, Direction, FlowRate, Quality, Traffic
from offramp.errors import ContractError
from offramp.inference.forecast import BIN_NS, Forecast

FIXED, OUTSIDE, CAPACITY = "10.0.0.9", "172.16.0.5", 10e6
LINK = Link(
    name="wan", capacity=CAPACITY, queues=2, devices=("10.0.0.0/24",),  # type: ignore[arg-type]  # pydantic takes text
    paths=(AltPath(name="fast", capacity=8e6, delay_ms=2), AltPath(name="slow", capacity=20e6, delay_ms=30)),
    nodes=(Node(name="edge-1", capacity=5e6),), known=(Device(address=FIXED, priority=-1),),
)  # fmt: skip
START_NS = 1_700_000_000_000_000_000


def site(name: str, moves: int = 5) -> Site:
    rules = Rules(name=name, hold_s=0.1, cooldown_s=0.1, expiry_s=1, enter_bins=2, exit_bins=5)  # type: ignore[arg-type]
    only = ("10.0.0.0/24", "192.0.2.0/24")
    return Site(mode="enforce", links=(LINK,), policy=rules, limits=Limits(moves=moves, only=only))  # type: ignore[arg-type]


def bins(seed: int, count: int) -> list[tuple[Forecast, Traffic, Quality]]:
    """Episodes of congestion and calm; flows come and go, data is bad now and then."""
    rng = np.random.default_rng(seed)
    out, queue = [], 0.0
    flows = [
        FlowRate(f"10.0.0.{device}", "192.0.2.1", 17, 5000 + device, 53, 0.0, down=False) for device in range(1, 12)
    ]
    flows += [FlowRate("192.0.2.1", f"10.0.0.{device}", 6, 443, 6000 + device, 0.0, down=True) for device in (2, 9)]
    flows.append(FlowRate(OUTSIDE, "198.51.100.1", 17, 1, 2, 0.0))
    for number in range(count):
        busy = (number // 150) % 2 == 0
        rates = rng.uniform(0.0, 3e6 if busy else 4e5, len(flows))
        shown = [
            FlowRate(each.src, each.dst, each.proto, each.sport, each.dport, round(float(rate), 1), each.down)
            for each, rate in zip(flows, rates, strict=True) if rng.random() < 0.9
        ]  # fmt: skip
        shown.sort(key=lambda flow: -flow.rate_bps)
        load = [sum(flow.rate_bps for flow in shown if flow.down == down) for down in (False, True)]
        queue = max(0.0, queue + (load[0] / CAPACITY - 1.0) * 10)
        now = START_NS + (number + 1) * BIN_NS
        high = min(queue / 30, 1.0)
        forecast = Forecast(
            "link:wan", now - 64 * BIN_NS, now, 500, (1 - high, 0.0, high), (queue, queue * 1.2, queue * 1.5), queue,
            "m", "abc",
        )  # fmt: skip
        devices = tuple(DeviceRate(f.src, f.rate_bps) for f in shown if f.src.startswith("10."))
        sides = (Direction(CAPACITY, load[0], queue), Direction(CAPACITY, load[1], 0.0))
        quality = Quality(dropped=0.5 if rng.random() < 0.02 else 0.0)
        out.append((forecast, Traffic(tuple(shown), devices, sum(load), CAPACITY, sides), quality))
    return out


def run(policy: LinkPolicy, seen: list[tuple[Forecast, Traffic, Quality]]) -> list[Command]:
    out: list[Command] = []
    for forecast, traffic, quality in seen:
        rows = np.array([forecast.probabilities], np.float32), np.array([forecast.quantiles_ms], np.float32)
        if policy.may_trigger(*rows)[0] or policy.scope in policy.open_scopes:
            out += policy.decide(forecast, lambda traffic=traffic: traffic, quality)  # type: ignore[misc]
    return out


def texts(commands: list[Command]) -> list[str]:
    return [command.to_json() for command in commands]


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_input_gives_the_same_commands_and_a_restored_policy_goes_on(name: str) -> None:
    seen = bins(1, 900)
    whole = texts(run(link_policy(site(name), "wan"), seen))
    assert texts(run(link_policy(site(name), "wan"), seen)) == whole
    for cut in (1, 140, 149, 451, 899):
        before, after = link_policy(site(name), "wan"), link_policy(site(name), "wan")
        first = texts(run(before, seen[:cut]))
        after.restore(json.loads(json.dumps(before.state())))
        assert first + texts(run(after, seen[cut:])) == whole
    assert bool(whole) == (name not in ("none", "static"))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", POLICIES)
def test_nothing_is_moved_that_may_not_be_and_what_opens_ends(name: str, seed: int) -> None:
    chosen = site(name)
    policy = link_policy(chosen, "wan")
    life_ns, open_until, limit = int(chosen.policy.expiry_s * 1e9), dict[str, tuple[int, int]](), chosen.limits.moves
    for one in bins(seed, 900):
        for command in run(policy, [one]):
            validate(command.to_dict())
            assert command.expires_at_ns - command.not_before_ns == life_ns
            assert command.scope.startswith(("link:wan", "device:wan/"))
            text = json.dumps(command.action)
            assert FIXED not in text
            assert OUTSIDE not in text
            if command.phase == "abated":
                assert open_until.pop(command.loop_id)
            else:
                assert command.phase == "onset" or command.loop_id in open_until
                open_until[command.loop_id] = (command.expires_at_ns, len(command.action.get("flows", ())) or 1)
        now = one[0].window_end_ns
        open_until = {name: each for name, each in open_until.items() if each[0] > now}
        assert sum(size for _, size in open_until.values()) <= limit
        assert policy.open_moves <= limit


@pytest.mark.parametrize("name", POLICIES)
def test_a_state_of_another_policy_or_of_nobody_is_refused(name: str) -> None:
    policy = link_policy(site(name), "wan")
    run(policy, bins(1, 145))
    state: dict[str, Any] = policy.state()
    for key in state.keys() - {"version"}:
        broken = {**state, key: [-1] if isinstance(state[key], list) else -1}
        with pytest.raises((ContractError, KeyError, TypeError, ValueError, AttributeError)):
            link_policy(site(name), "wan").restore(broken)


def test_another_setting_is_another_version() -> None:
    versions = {link_policy(site(name, moves), "wan").version for name in POLICIES for moves in (5, 6)}
    assert len(versions) == 2 * len(POLICIES) - 2, "none and static have no moves"
