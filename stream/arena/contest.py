"""A contest: policies on the same episodes of a scenario, tuned alike where asked for, held against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.stream.arena.comparisons import Blocks, difference_of, near, ratio_of
from offramp.stream.arena.episode import BOUND, Model, Outcome, play
from offramp.stream.arena.measures import Measures, Served, Tally
from offramp.stream.arena.scenario import Scenario
from offramp.stream.arena.tuning import Trial, tune, with_settings

RIVAL = "threshold"
"""Whom the others are held against once all are tuned: it needs no foresight, so foresight must beat it."""
SHARES = np.linspace(0.0, 1.0, 401)
"""Of which quantiles of the delay are kept, for its distribution: the last step is the slowest quarter of a percent."""


class Standing(NamedTuple):
    """What a policy came to under some settings.

    blocks: of all traffic; class_blocks: by class; quantiles_ms: float64 [401] of the delay, at SHARES; first: the
    episode of the first seed.
    """

    settings: Mapping[str, Any]
    measures: Measures
    classes: Mapping[str, Served]
    blocks: Blocks
    class_blocks: Mapping[str, Blocks]
    quantiles_ms: NDArray[np.float64]
    first: Outcome


@dataclass
class Contest:
    """Plays each policy when its standing is first asked for.

    trials: settings that each policy is tuned by, 0 for none; untuned: policies that are left as they are set; here,
    root: where the scenario's files are; played: called after each episode.
    """

    scenario: Scenario
    policies: Sequence[str]
    seeds: int
    trials: int = 0
    untuned: Sequence[str] = ()
    model: Model | None = None
    here: Path = Path()
    root: Path | None = None
    played: Callable[[], None] = lambda: None
    tried: dict[str, list[Trial]] = field(default_factory=dict)
    _standings: dict[tuple[str, bool], Standing] = field(default_factory=dict)

    def standing(self, policy: str, *, as_set: bool = False) -> Standing:
        """Return what a policy came to: tuned, where that was asked for; as_set: by the scenario's own settings."""
        settings: Mapping[str, Any] = {}
        if self.trials and not as_set and policy not in self.untuned:
            settings = self._best(policy).settings
        key = policy, not settings
        if key not in self._standings:
            self._standings[key] = self.play(policy, settings)
        return self._standings[key]

    def row(self, policy: str) -> dict[str, Any]:
        """Return a policy's measures, and how it stands against the first policy, the bound and the tuned threshold.

        Where something reacts there is no bound: what it will send is not known.
        """
        found, first = self.standing(policy), self.standing(self.policies[0])
        bound = self.standing(BOUND) if BOUND in self.policies and not self.scenario.reacts else None
        ideal = bound.class_blocks if bound else {}
        classes = {
            name: {**served._asdict(), "regret_ms": _regret(found.class_blocks[name], ideal.get(name))}
            for name, served in found.classes.items()
        }
        row: dict[str, Any] = {
            "scenario": self.scenario.name, "policy": policy, "seeds": self.seeds,
            "command_ms": self.scenario.network.command_ms, "settings": dict(found.settings),
            **found.measures._asdict(), "difference_ms": difference_of(found.blocks, first.blocks),
            "against": self.policies[0], "regret_ms": _regret(found.blocks, bound.blocks if bound else None),
            "near_bound": near(found.blocks, bound.blocks) if bound else None, "classes": classes,
        }  # fmt: skip
        if self.trials:
            as_set, tried = self.standing(policy, as_set=True), self.tried.get(policy, [])
            row |= {
                "ratio_to_threshold": self._ratio(found),
                "as_set": {**as_set.measures._asdict(), "ratio_to_threshold": self._ratio(as_set)},
                "trials": [{"settings": dict(each.settings), "mean_ms": each.mean_ms} for each in tried],
            }  # fmt: skip
        return row

    def _ratio(self, standing: Standing) -> tuple[float, float, float] | None:
        return ratio_of(standing.blocks, self.standing(RIVAL).blocks) if RIVAL in self.policies else None

    def _best(self, policy: str) -> Trial:
        if policy not in self.tried:
            trials: list[Trial] = []
            tune(
                self.scenario, policy, self.trials, model=self.model, here=self.here, root=self.root,
                report=trials.append,
            )  # fmt: skip
            self.tried[policy] = trials
        return min(self.tried[policy], key=lambda trial: trial.mean_ms)

    def play(self, policy: str, settings: Mapping[str, Any]) -> Standing:
        """Return what a policy comes to under some settings, on all seeds."""
        network, one = self.scenario.network, with_settings(self.scenario, policy, settings)
        tally, first = Tally(network.lost_ms, self.scenario.link.budget_ms), list[Outcome]()
        for seed in range(1, self.seeds + 1):
            outcome = play(one, seed, policy, model=self.model, here=self.here, root=self.root)
            tally.add(outcome)
            first = first or [outcome]
            self.played()
        classes = tally.classes()
        return Standing(
            settings, tally.measures(), classes, tally.blocks(), {name: tally.blocks(name) for name in classes},
            np.quantile(tally.delays_ms(), SHARES), first[0],
        )  # fmt: skip


def _regret(one: Blocks, bound: Blocks | None) -> tuple[float, float, float] | None:
    """Return the mean delay less the bound's, and its interval, ms."""
    return difference_of(one, bound) if bound is not None else None
