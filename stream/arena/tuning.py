"""Tuning: settings of a policy drawn at random, the best on seeds of their own, so that rivals are tuned alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from offramp.stream.arena.episode import BOUND, Model, play
from offramp.stream.arena.measures import measures
from offramp.stream.arena.scenario import Scenario

SEEDS = range(101, 105)
"""Of tuning; those that are judged count from 1."""

OPTIMISER: dict[str, Sequence[Any]] = {
    "price_ms": (0.3, 1.0, 3.0, 6.0, 10.0, 20.0, 40.0),
    "price_share": (0.0, 0.1, 0.2, 0.4),
    "horizon_ms": (50.0, 100.0, 200.0, 500.0, 1_000.0),
    "rate_s": (0.03, 0.05, 0.1, 0.2, 0.5, 1.0),
    "every_bins": (1, 2, 5),
    "min_share": (0.005, 0.01, 0.02, 0.05),
}
GRIDS: dict[str, dict[str, Sequence[Any]]] = {
    "static": {"share": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)},
    "threshold": {
        "queue_ms": (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 25.0),
        "exit_share": (0.25, 0.5, 1.0),
        "enter_bins": (1, 2, 5),
        "hold_s": (0.1, 0.3, 0.5, 1.0, 2.0),
        "exit_s": (0.2, 0.5, 1.0, 2.0, 5.0),
        "target_load": (0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        "return_load": (0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        "room": (0.5, 0.7, 0.9),
        "drain": (0.0, 0.25, 0.5, 1.0),
    },
    "optimiser": OPTIMISER,
    "optimiser-reactive": OPTIMISER,
    "priority": {
        "queue_ms": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
        "share": (0.02, 0.05, 0.1, 0.2, 0.3),
        "exit_s": (0.2, 0.5, 1.0, 2.0, 5.0),
    },
    "shipped": {
        "enter_bins": (1, 2, 3, 5, 10),
        "exit_bins": (20, 50, 100, 200),
        "hold_s": (0.1, 0.3, 1.0, 2.0),
        "cooldown_s": (0.1, 0.3, 1.0, 2.0),
        "target_load": (0.5, 0.6, 0.7, 0.8, 0.9),
        "quantile": ("q50", "q90"),
    },
    BOUND: {"price": (0.5, 2.0, 8.0, 20.0)},
}
"""What is drawn from, by policy; a policy without a row has nothing to tune."""


class Trial(NamedTuple):
    """Some settings, and what they came to on the seeds of tuning: mean delay, ms; moves and flaps, a minute."""

    settings: Mapping[str, Any]
    mean_ms: float
    moves: float = 0.0
    flaps: float = 0.0


def tune(
    scenario: Scenario, policy: str, trials: int, *, model: Model | None = None, here: Path = Path(),
    root: Path | None = None, report: Callable[[Trial], None] = lambda _: None, seed: int = 0,
) -> Trial:  # fmt: skip
    """Return the best of some settings drawn at random; the ones that the scenario has are the first."""
    grid, rng = GRIDS.get(policy, {}), np.random.default_rng(seed)
    found = []
    known: dict[tuple[Any, ...], tuple[float, float, float]] = {}
    for number in range(trials if grid else 1):
        drawn = {name: values[int(rng.integers(len(values)))] for name, values in grid.items()} if number else {}
        key = tuple(drawn.values())
        if key not in known:  # of a small grid the same is drawn again
            one = with_settings(scenario, policy, drawn)
            played = [play(one, each, policy, model=model, here=here, root=root) for each in SEEDS]
            found_here = measures(played, scenario.network.lost_ms, scenario.link.budget_ms)
            known[key] = found_here.mean_ms, found_here.moves, found_here.flaps
        trial = Trial(drawn, *known[key])
        report(trial)
        found.append(trial)
    return min(found, key=lambda trial: trial.mean_ms)


def with_settings(scenario: Scenario, policy: str, settings: Mapping[str, Any]) -> Scenario:
    """Return a scenario whose policy of this name has these settings."""
    if policy == BOUND:
        update: dict[str, Any] = {BOUND: scenario.clairvoyant.model_copy(update=dict(settings))}
        return scenario.model_copy(update=update)
    rules, table = scenario.site.policy, policy.partition("-")[0]
    if table in type(rules).model_fields:
        update = {table: getattr(rules, table).model_copy(update=dict(settings))}
    else:
        update = dict(settings)
    changed = rules.model_copy(update=update)
    return scenario.model_copy(update={"site": scenario.site.model_copy(update={"policy": changed})})
