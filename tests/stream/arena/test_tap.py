"""Where the tap stands changes what is seen of a move, and not what comes of it: the product's own bins in the loop."""

from __future__ import annotations

from pathlib import Path

import pytest

from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_predictor
from offramp.stream.arena.episode import Model, Outcome, play
from offramp.stream.arena.measures import delays
from offramp.stream.arena.scenario import Scenario, load_scenario
from tests.support.places import ROOT
from tests.support.tapped import tapped

SEEDS = (1, 2, 3)


def mean_ms(outcomes: list[Outcome]) -> float:
    every = [delays(each, 200.0) for each in outcomes]
    return float(sum(each.sum() for each in every) / sum(map(len, every)))


@pytest.mark.parametrize("name", ["bulk", "onoff"])
def test_a_tap_before_or_after_the_point_of_steering_gives_the_same_effect(name: str) -> None:
    """Of what a threshold wins by what it sees behind that point, it wins as much before it, give or take a fifth."""
    path = ROOT / "samples" / "arena" / f"{name}.toml"
    artifact = load_artifact(DEFAULT_ARTIFACT)
    model = Model(artifact, open_predictor(DEFAULT_ARTIFACT))

    def played(policy: str, tap: str) -> list[Outcome]:
        return [play(seen_by(path, tap), seed, policy, model=model, here=path.parent) for seed in SEEDS]

    nothing = mean_ms(played("none", "after"))
    before, after = (nothing - mean_ms(played("threshold", tap)) for tap in ("before", "after"))
    assert after > 0.4 * nothing
    assert 0.8 < before / after < 1.25, (nothing, before, after)


def seen_by(path: Path, tap: str) -> Scenario:
    scenario = tapped(load_scenario(path), tap)
    network = scenario.network.model_copy(update={"sees": "tap"})
    return scenario.model_copy(update={"seconds": 20.0, "network": network})
