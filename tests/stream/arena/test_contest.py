"""A contest: every policy tuned by as many trials, and held against the bound and the tuned threshold."""

from __future__ import annotations

import numpy as np
import pytest

from offramp.stream.arena.contest import SHARES, Contest
from offramp.stream.arena.episode import BOUND, play
from offramp.stream.arena.measures import measures
from offramp.stream.arena.scenario import Scenario, load_scenario
from offramp.stream.arena.tuning import tune, with_settings
from tests.support.places import ROOT

POLICIES = ("none", "static", "threshold", BOUND)
TRIALS, SEEDS = 4, 2


def scenario() -> Scenario:
    return load_scenario(ROOT / "samples/arena/jobs.toml").model_copy(update={"seconds": 10.0})


@pytest.fixture(scope="module")
def tuned() -> Contest:
    return Contest(scenario(), POLICIES, SEEDS, TRIALS)


def test_every_trial_is_in_the_log_and_all_have_as_many(tuned: Contest) -> None:
    for policy in POLICIES:
        trials = tuned.row(policy)["trials"]
        assert len(trials) == (1 if policy == "none" else TRIALS), policy
        assert trials[0]["settings"] == {}
        best = min(trials, key=lambda trial: trial["mean_ms"])
        assert tuned.row(policy)["settings"] == best["settings"] == tune(scenario(), policy, TRIALS).settings


def test_as_set_is_the_policy_untuned_and_tuned_what_tuning_found(tuned: Contest) -> None:
    one = scenario()
    for policy in POLICIES:
        row = tuned.row(policy)
        for settings, found in (({}, row["as_set"]), (row["settings"], row)):
            own = with_settings(one, policy, settings)
            wanted = measures([play(own, seed, policy) for seed in range(1, SEEDS + 1)], one.network.lost_ms, 25.0)
            assert {name: found[name] for name in wanted._fields} == wanted._asdict(), policy


def test_all_are_held_against_the_tuned_threshold_and_the_bound(tuned: Contest) -> None:
    rows = {policy: tuned.row(policy) for policy in POLICIES}
    assert rows["threshold"]["ratio_to_threshold"] == (1.0, 1.0, 1.0)
    assert rows[BOUND]["regret_ms"] == (0.0, 0.0, 0.0)
    assert rows[BOUND]["near_bound"] == 1.0
    for policy, row in rows.items():
        wanted = row["mean_ms"] / rows["threshold"]["mean_ms"]
        middle, low, high = row["ratio_to_threshold"]
        assert middle == pytest.approx(wanted), policy
        assert low <= middle <= high, policy
        assert row["as_set"]["ratio_to_threshold"][0] * rows["threshold"]["mean_ms"] == pytest.approx(
            row["as_set"]["mean_ms"]
        )
        assert row["regret_ms"][0] == pytest.approx(row["mean_ms"] - rows[BOUND]["mean_ms"])
        assert set(row["classes"]) == {"sensors", "jobs"}


def test_who_is_left_untuned_is_as_it_is_set() -> None:
    contest = Contest(scenario(), ("threshold", "static"), 1, TRIALS, ("static",))
    row = contest.row("static")
    assert (row["settings"], row["trials"]) == ({}, [])
    assert row["mean_ms"] == row["as_set"]["mean_ms"]
    assert row["ratio_to_threshold"][0] == pytest.approx(row["mean_ms"] / contest.row("threshold")["mean_ms"])
    assert len(contest.row("threshold")["trials"]) == TRIALS


def test_where_something_reacts_there_is_no_bound() -> None:
    one = load_scenario(ROOT / "samples/arena/city.toml").model_copy(update={"seconds": 2.0})
    contest = Contest(one, ("none", BOUND), 1)
    for policy in contest.policies:
        row = contest.row(policy)
        assert row["regret_ms"] is row["near_bound"] is None
        assert all(served["regret_ms"] is None for served in row["classes"].values())


def test_without_the_bound_or_tuning_nothing_is_held_against_them() -> None:
    played = []
    contest = Contest(scenario(), ("none", "threshold"), 1, played=lambda: played.append(1))
    row = contest.row("threshold")
    assert row["regret_ms"] is row["near_bound"] is None
    assert not {"ratio_to_threshold", "as_set", "trials"} & row.keys()
    contest.row("threshold")
    assert len(played) == 2, "each policy is played once"
    standing = contest.standing("none")
    assert standing.quantiles_ms.shape == SHARES.shape
    assert (np.diff(standing.quantiles_ms) >= 0).all()
    assert standing.quantiles_ms[380] == pytest.approx(standing.measures.p95_ms)
