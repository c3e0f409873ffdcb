"""The arena's profile: each part is timed without those that it calls, and nothing is left patched."""

from __future__ import annotations

import pytest

from bench.arena_profile import PARTS, Parts, profile
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_backend
from offramp.stream.arena import episode
from offramp.stream.arena.episode import BOUND, Model
from offramp.stream.arena.scenario import load_scenario
from tests.support.places import ROOT


def test_a_part_is_timed_without_what_it_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr("time.process_time", lambda: float(next(clock)))
    parts = Parts()
    inner = parts.timed("inner", lambda: None)
    parts.timed("outer", lambda: [inner(), inner()])()
    assert parts.spent_s == {"inner": 2.0, "outer": 3.0}  # from 0 to 5, of which 1 to 2 and 3 to 4 are inner


def test_each_policy_spends_its_time_where_it_works() -> None:
    path = ROOT / "samples/arena/jobs.toml"
    scenario = load_scenario(path).model_copy(update={"seconds": 4.0})
    artifact = load_artifact(DEFAULT_ARTIFACT)
    model, serve = Model(artifact, open_backend("compiled", artifact)), vars(episode)["serve"]
    spends = {
        "none": {"queues", "bins", "moves"},
        "threshold": {"queues", "bins", "moves", "policy", "counters"},
        "shipped": {"queues", "bins", "moves", "policy", "pipeline", "model"},
        BOUND: {"queues", "bins", "moves", "foresight"},
    }
    for policy, parts in spends.items():
        spent = profile(scenario, policy, model, path.parent, None)
        assert spent.keys() - {"all"} == parts, policy
        assert parts <= PARTS.keys()
        assert sum(spent[part] for part in parts) <= spent["all"] * 1.01
    assert vars(episode)["serve"] is serve
