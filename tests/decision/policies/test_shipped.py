from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.decision.bounds import BOUNDS
from offramp.decision.command import Command, validate
from offramp.decision.policies.shipped import ShippedPolicy
from offramp.decision.site import AltPath, Device, Limits, Link, Node, Rules, Site, load_site
from offramp.decision.traffic import DeviceRate, FlowRate, Quality, Traffic
from offramp.errors import ConfigError, ContractError
from offramp.inference.forecast import Forecast
from tests.support.places import SITE as SAMPLE

LINK = Link(
    name="wan",
    capacity=10e6,
    paths=(AltPath(name="slow", capacity=20e6, delay_ms=30), AltPath(name="fast", capacity=20e6, delay_ms=2)),
    nodes=(Node(name="edge-1"), Node(name="cloud", tier="cloud", delay_ms=20)),
    known=(Device(address="10.0.0.9", priority=-1),),
)
SITE = Site(links=(LINK,), policy=Rules(enter_bins=3, exit_bins=5, hold_s=0.1, cooldown_s=0.2, expiry_s=1))
TRAFFIC = Traffic(
    (
        FlowRate("10.0.0.1", "10.1.0.1", 6, 40000, 5201, 8e6),
        FlowRate("10.0.0.2", "10.1.0.1", 17, 5000, 53, 1e6),
        FlowRate("10.0.0.3", "10.1.0.1", 1, 0, 0, 0.5e6),
    ),
    (DeviceRate("10.0.0.1", 8e6), DeviceRate("10.0.0.9", 1e6)),
    9.5e6,
    10e6,
)
BIN = 10_000_000


def forecast(i: int, high: float, scope: str = "link:wan") -> Forecast:
    end = 1_700_000_000_000_000_000 + i * BIN
    return Forecast(
        scope, end - 64 * BIN, end, 500, (1 - high, 0.0, high), (high * 30, high * 35, 40), high * 9, "m", "abc"
    )


def run(highs: list[float], policy: ShippedPolicy, start: int = 0, scope: str = "link:wan") -> list[Command]:
    out: list[Command] = []
    for i, high in enumerate(highs, start):
        out += policy.decide(forecast(i, high, scope), TRAFFIC, Quality())
    return out


def test_onset_update_abated() -> None:
    commands = run([0.1] * 5 + [0.9] * 80 + [0.05] * 40, ShippedPolicy(SITE, "wan"))
    assert [command.phase for command in commands] == ["onset", "update", "abated"]
    onset, update, abated = commands
    assert onset.action["path"] == "fast"
    assert [flow["tcp_dst"] for flow in onset.action["flows"]] == [5201]
    assert abated.action == {"type": "clear", "loop_id": onset.decision_id}
    assert [command.sequence for command in commands] == [1, 2, 3]
    assert len({command.decision_id for command in commands}) == 3
    assert update.not_before_ns < onset.expires_at_ns


def test_short_peaks_do_nothing() -> None:
    assert run([0.9, 0.9, 0.1] * 20, ShippedPolicy(SITE, "wan")) == []


def test_short_peaks_do_not_keep_a_move_open() -> None:
    commands = run([0.9] * 5 + ([0.05] * 6 + [0.9]) * 6, ShippedPolicy(SITE, "wan"))
    assert [command.phase for command in commands] == ["onset", "abated"]


def test_a_gap_starts_the_count_anew() -> None:
    policy = ShippedPolicy(SITE, "wan")
    assert run([0.9, 0.9], policy) == []
    assert run([0.9], policy, start=90) == []


def test_devices_are_offloaded_but_not_those_of_negative_priority() -> None:
    site = SITE.model_copy(update={"links": (LINK.model_copy(update={"paths": ()}),)})
    commands = run([0.9] * 5, ShippedPolicy(site, "wan"))
    assert commands[0].scope == "device:wan/10.0.0.1"
    assert commands[0].action == {"type": "offload", "device": "10.0.0.1", "from": "wan", "to": "edge-1"}
    kept = tuple(Device(address=f"10.0.0.{i}", priority=-1) for i in (1, 2, 3, 9))
    for paths in ((), LINK.paths):
        link = LINK.model_copy(update={"paths": paths, "known": kept})
        assert run([0.9] * 5, ShippedPolicy(SITE.model_copy(update={"links": (link,)}), "wan")) == []


def test_a_devices_forecast_ranks_it_but_moves_nothing_alone() -> None:
    site = SITE.model_copy(update={"links": (LINK.model_copy(update={"paths": ()}),)})
    traffic = Traffic((), (DeviceRate("10.0.0.1", 5e6), DeviceRate("10.0.0.2", 4e6)), 9.5e6, 10e6)
    policy, out = ShippedPolicy(site, "wan"), []
    for i in range(5):
        assert policy.decide(forecast(i, 0.9, "device:wan/10.0.0.2"), traffic, Quality()) == []
        out += policy.decide(forecast(i, 0.9), lambda: traffic, Quality())
    assert out[0].action["device"] == "10.0.0.2"


def test_what_reroutes_leave_over_is_offloaded_but_nothing_is_moved_twice() -> None:
    narrow = LINK.model_copy(update={"paths": (AltPath(name="lte", capacity=5e6),)})
    traffic = Traffic(
        (FlowRate("10.0.0.1", "10.1.0.1", 6, 1, 2, 6e6), FlowRate("10.0.0.2", "10.1.0.1", 6, 1, 2, 3e6)),
        (DeviceRate("10.0.0.1", 6e6), DeviceRate("10.0.0.2", 3e6)),
        12e6,
        10e6,
    )
    policy = ShippedPolicy(SITE.model_copy(update={"links": (narrow,)}), "wan")
    out = [c for i in range(60) for c in policy.decide(forecast(i, 0.9), traffic, Quality())]
    actions = [c.action for c in out if c.phase == "onset"]
    assert [a["type"] for a in actions] == ["reroute", "offload"]
    assert [flow["ipv4_src"] for flow in actions[0]["flows"]] == ["10.0.0.2"]
    assert actions[1]["device"] == "10.0.0.1"


def test_what_no_path_or_node_can_take_is_marked() -> None:
    policy = ShippedPolicy(Site(links=(Link(name="wan", capacity=10e6),)), "wan")
    onset = run([0.9] * 5, policy)[0]
    assert onset.action["type"] == "mark"
    assert onset.action["dscp"] == 1


def test_only_what_the_site_allows_is_moved() -> None:
    limits = Limits.model_validate({"only": ["10.0.0.2/32"]})
    policy = ShippedPolicy(SITE.model_copy(update={"limits": limits}), "wan")
    onset = run([0.9] * 5, policy)[0]
    assert [flow["ipv4_src"] for flow in onset.action["flows"]] == ["10.0.0.2"]


def test_the_cap_on_moves_counts_flows_and_devices() -> None:
    policy = ShippedPolicy(SITE.model_copy(update={"limits": Limits(moves=1)}), "wan")
    assert len([c for c in run([0.9] * 60, policy) if c.phase == "onset"]) == 1
    assert policy.open_moves == 1


def test_probable_high_within_the_budget_opens_nothing() -> None:
    policy = ShippedPolicy(SITE.model_copy(update={"links": (LINK.model_copy(update={"budget_ms": 50.0}),)}), "wan")
    assert run([0.9] * 50, policy) == []


def test_a_silent_link_lets_its_moves_expire() -> None:
    policy = ShippedPolicy(SITE, "wan")
    assert len(run([0.9] * 5, policy)) == 1
    assert run([0.9] * 3, policy, start=400) == []
    assert policy.expired == 1
    assert policy.open_moves == 0


def calm(policy: ShippedPolicy, bins: range, quality: Quality) -> list[Command]:
    return [c for i in bins for c in policy.decide(forecast(i, 0.02), TRAFFIC, quality)]


def test_a_move_is_held_while_the_quality_is_gone_and_released_when_it_is_back() -> None:
    policy = ShippedPolicy(SITE, "wan", mode="enforce")
    run([0.9] * 5, policy)
    assert calm(policy, range(5, 50), Quality(decoded=0.5)) == []
    assert policy.open_moves == 1
    out = calm(policy, range(50, 52), Quality())
    assert [(c.phase, c.mode) for c in out] == [("abated", "enforce")]


def test_a_move_that_bad_data_kept_from_being_renewed_expires_for_all_alike() -> None:
    """Nothing is enforced below the floor, a renewal neither; the policy holds the move for over when it is."""
    policy = ShippedPolicy(SITE, "wan", mode="enforce")
    onset = run([0.9] * 5, policy)[0]
    life = (onset.expires_at_ns - onset.not_before_ns) // 10_000_000
    out = [c for i in range(5, life + 20) for c in policy.decide(forecast(i, 0.45), TRAFFIC, Quality(dropped=0.8))]
    assert [(c.phase, c.mode) for c in out] == [("update", "dry_run")]
    assert "data quality below the floor" in out[0].reason["rule"]
    assert (policy.open_moves, policy.expired) == (0, 1)


def test_the_clear_of_a_move_that_was_never_enforced_is_not_enforced_either() -> None:
    policy = ShippedPolicy(SITE, "wan", mode="enforce")
    onset = [c for i in range(3) for c in policy.decide(forecast(i, 0.9), TRAFFIC, Quality(shed=0.5))][-1]
    assert (onset.phase, onset.mode) == ("onset", "dry_run")
    assert [(c.phase, c.mode) for c in calm(policy, range(3, 40), Quality())] == [("abated", "dry_run")]


def test_a_move_is_renewed_as_soon_as_the_data_can_be_trusted_again() -> None:
    policy = ShippedPolicy(SITE, "wan", mode="enforce")
    onset = run([0.9] * 5, policy)[0]
    half = (onset.expires_at_ns - onset.not_before_ns) // 20_000_000
    bad = [c for i in range(5, half + 40) for c in policy.decide(forecast(i, 0.45), TRAFFIC, Quality(shed=0.2))]
    assert [(c.phase, c.mode) for c in bad] == [("update", "dry_run")]
    copy = ShippedPolicy(SITE, "wan", mode="enforce")
    copy.restore(json.loads(json.dumps(policy.state())))
    good = policy.decide(forecast(half + 40, 0.45), TRAFFIC, Quality())
    assert [(c.phase, c.mode, c.sequence) for c in good] == [("update", "enforce", 3)]
    assert copy.decide(forecast(half + 40, 0.45), TRAFFIC, Quality()) == good
    assert policy.decide(forecast(half + 41, 0.45), TRAFFIC, Quality()) == []


def test_bad_quality_is_never_enforced() -> None:
    policy = ShippedPolicy(SITE.model_copy(update={"mode": "enforce"}), "wan")
    good = [policy.decide(forecast(i, 0.9), TRAFFIC, Quality()) for i in range(3)][-1]
    assert good[0].mode == "enforce"
    policy = ShippedPolicy(SITE.model_copy(update={"mode": "enforce"}), "wan")
    bad = [policy.decide(forecast(i, 0.9), TRAFFIC, Quality(decoded=0.5)) for i in range(3)][-1]
    assert bad[0].mode == "dry_run"
    assert "not enforced" in bad[0].reason["rule"]


RUNS = st.lists(st.tuples(st.sampled_from([0.02, 0.45, 0.9]), st.integers(1, 60)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(RUNS, st.integers(0, 200), st.integers(1, 3))
def test_whatever_comes_the_rules_hold(runs: list[tuple[float, int]], cut: int, cap: int) -> None:
    site = SITE.model_copy(update={"limits": Limits(moves=cap), "mode": "enforce"})
    highs = [high for high, length in runs for _ in range(length)]
    commands = run(highs, ShippedPolicy(site, "wan"))
    first, second = ShippedPolicy(site, "wan"), ShippedPolicy(site, "wan")
    before = run(highs[:cut], first)
    second.restore(json.loads(json.dumps(first.state())))
    after = run(highs[cut:], second, start=cut)
    assert [c.to_json() for c in before + after] == [c.to_json() for c in commands]
    check_rules(commands, cap)


def check_rules(commands: list[Command], cap: int) -> None:
    open_moves: dict[str, Command] = {}
    bodies: dict[str, str] = {}
    quiet_until = 0
    for command in commands:
        body = command.to_json()
        validate(json.loads(body))
        assert bodies.setdefault(command.decision_id, body) == body
        last = open_moves.get(command.loop_id)
        if command.phase == "onset":
            assert last is None
            assert command.sequence == 1
            assert command.not_before_ns >= quiet_until
        else:
            assert last is not None
            assert command.sequence == last.sequence + 1
            assert command.not_before_ns < last.expires_at_ns
        if command.phase == "abated":
            del open_moves[command.loop_id]
            quiet_until = command.not_before_ns + 200_000_000
        else:
            open_moves[command.loop_id] = command
        assert sum(len(c.action.get("flows", [0])) for c in open_moves.values()) <= cap


def test_the_contract_refuses_what_is_not_in_it() -> None:
    body = run([0.9] * 5, ShippedPolicy(SITE, "wan"))[0].to_dict()
    for change in ({"phase": "begin"}, {"surprise": 1}, {"action": {"type": "reroute", "flows": [], "path": "x"}}):
        with pytest.raises(ContractError):
            validate(body | change)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[links]]\nname = 'a'\n", ["link 'a': capacity", "missing"]),
        ("[[links]]\nname = 'a'\ncapacity = 'fast'\n", ["link 'a': capacity", "20 Mbit/s", "fast"]),
        ("[[links]]\nname = 'a'\ncapacity = 1\ncapicity = 2\n", ["link 'a': capicity", "did you mean capacity?"]),
        ("links = 3", ["links", "found 3"]),
        ("links = [", ["no TOML"]),
    ],
)
def test_wrong_site_is_told(text: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_site(path)
    for word in ["site.toml", *words]:
        assert word in str(caught.value)


def test_the_longest_waits_that_are_taken_give_commands_whose_dates_can_be_written() -> None:
    longest = BOUNDS["wait_s"].most
    rules = Rules(enter_bins=3, hold_s=longest, cooldown_s=longest, expiry_s=BOUNDS["expiry_s"].most)
    commands = run([0.9] * 5, ShippedPolicy(SITE.model_copy(update={"policy": rules}), "wan"))
    assert commands
    for command in commands:
        validate(command.to_dict())


def test_a_refactoring_gives_no_decision_another_id() -> None:
    """The version is part of each id. It changes with the rules (then here too), not with a class's name or a default's
    spelling."""
    assert ShippedPolicy(load_site(SAMPLE), "uplink").version == "2-2ecf14109a04"
