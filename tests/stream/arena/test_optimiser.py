"""The optimiser in the closed loop, beside the threshold on the same packets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from offramp.stream.arena.episode import Outcome, play
from offramp.stream.arena.measures import delays
from offramp.stream.arena.scenario import Scenario, load_scenario
from tests.support.places import ROOT

ARENA = ROOT / "samples/arena"


def scenario(name: str, *, command_ms: float = 15.0, seconds: float = 30.0, **rules: Any) -> Scenario:
    found = load_scenario(ARENA / f"{name}.toml")
    policy = found.site.policy
    optimiser = type(policy.optimiser).model_validate(rules)
    site = found.site.model_copy(update={"policy": policy.model_copy(update={"optimiser": optimiser})})
    network = found.network.model_copy(update={"command_ms": command_ms})
    return found.model_copy(update={"site": site, "network": network, "seconds": seconds})


def mean_ms(of: Scenario, policy: str, seeds: range) -> float:
    every = [delays(play(of, seed, policy, here=ARENA), of.network.lost_ms) for seed in seeds]
    return float(np.concatenate(every).mean())


@pytest.mark.parametrize(("name", "most"), [("mixed", 0.6), ("bulk", 0.9), ("ramp", 0.9)])
def test_its_mean_delay_is_below_that_of_a_threshold_on_the_same_packets(name: str, most: float) -> None:
    of, seeds = scenario(name), range(1, 7)
    assert mean_ms(of, "optimiser-reactive", seeds) < most * mean_ms(of, "threshold", seeds)


def test_a_constant_overload_is_answered_once_and_the_budget_kept() -> None:
    of = scenario("constant", seconds=55.0)
    for seed in (1, 2, 3):
        outcome = play(of, seed, "optimiser-reactive", here=ARENA)
        assert sum(each.phase == "onset" for each in outcome.commands) <= 2
        assert outcome.counts.flaps == 0
        assert outcome.congested[100:].mean() < 0.03


@pytest.mark.parametrize("command_ms", [600.0, 2_000.0])
def test_slow_commands_move_sources_which_wins_over_flows(command_ms: float) -> None:
    """A rule for a source is there before its next flow begins."""
    seeds = range(1, 9)
    sources, flows = (
        mean_ms(scenario("onoff", command_ms=command_ms, unit=unit), "optimiser-reactive", seeds)
        for unit in ("auto", "flow")
    )
    assert sources < 0.9 * flows


def test_a_calm_pace_moves_less_than_a_fast_one() -> None:
    def moved(pace: str) -> list[Outcome]:
        return [play(scenario("onoff", pace=pace), seed, "optimiser-reactive", here=ARENA) for seed in (1, 2, 3)]

    fast, calm = ([sum(getattr(each.counts, of) for each in moved(pace)) for of in ("moved", "flaps")]
                  for pace in ("fast", "calm"))  # fmt: skip
    assert calm[0] < 0.7 * fast[0]
    assert calm[1] < 0.3 * fast[1]
