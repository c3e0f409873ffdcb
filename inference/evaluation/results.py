"""The numbers of the report: every model's scores with intervals, its differences to the hybrid, and who wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.inference.baselines.forecaster import Budget
from offramp.inference.baselines.models import model_of
from offramp.inference.evaluation.bootstrap import (
    CELLS_PER_BLOCK,
    REPLICATES,
    block_seconds,
    block_weights,
    interval,
    source_weights,
)
from offramp.inference.evaluation.evaluation_data import EvaluationData, TestSet
from offramp.inference.evaluation.jobs import SHARES, JobOutcome, Plan, TestSets
from offramp.inference.evaluation.paper import PUBLISHED
from offramp.inference.evaluation.scores import HIGHER_IS_BETTER, SCORES, Sums, by_class, scores, sums_by_cell, weighted

REFERENCE = "hybrid"
GOALS = ("f1", "mae_ms")
Replicates = Mapping[str, NDArray[np.float64]]


class Scorer:
    """Scores the forecasts of one test set; its draws are the same for all."""

    def __init__(self, test_set: TestSet, seed: int) -> None:
        self.test_set = test_set
        self.cells = len(test_set.cells.origin)
        self._blocks = block_weights(self.cells, REPLICATES, seed)
        self._sources = source_weights(test_set.cells.origin, REPLICATES, seed)

    def sums(self, outcome: JobOutcome) -> Sums:
        """Return the sums of a model's forecasts by cell."""
        return sums_by_cell(
            outcome.found, self.test_set.label_ms, self.test_set.classes, self.test_set.cells.cell, self.cells
        )

    def score(self, sums: Sums) -> tuple[dict[str, dict[str, float]], Replicates]:
        """Return each score with its interval by blocks and by sources, and its block replicates."""
        value = scores(weighted(sums, np.ones((1, self.cells))))
        blocks, sources = (scores(weighted(sums, weights)) for weights in (self._blocks, self._sources))
        out = {}
        for name in SCORES:
            low, high = interval(blocks[name])
            by_source = interval(sources[name])
            out[name] = {"value": float(value[name][0]), "low": low, "high": high,
                         "low_by_source": by_source[0], "high_by_source": by_source[1]}  # fmt: skip
        return out, blocks


def results_of(data: EvaluationData, plan: Plan, test_sets: TestSets, outcomes: Sequence[JobOutcome]) -> dict[str, Any]:
    """Return everything of results.json."""
    task, test_set = test_sets.at(plan.horizon_ms)
    scorer = Scorer(test_set, data.seed)
    main = [one for one in outcomes if one.job.horizon_ms == plan.horizon_ms and one.job.share >= 1]
    models, replicates = {}, {}
    for outcome in main:
        sums = scorer.sums(outcome)
        judged, replicates[outcome.job.model] = scorer.score(sums)
        models[outcome.job.model] = {
            "title": model_of(outcome.job.model).title, "scores": judged, "classes": per_class(sums),
            "confusion": sums.confusion.sum(axis=0).astype(int).tolist(),
            "published": PUBLISHED.get(outcome.job.model, {}),
            **{key: outcome.record[key] for key in ("settings", "fit_s", "fit_cpu_s", "cost")},
        }  # fmt: skip
    return {
        "command": data.command, "fingerprint": data.fingerprint, "seed": data.seed,
        "budget": asdict(plan.budget), "full_budget": plan.budget.rows >= Budget().rows,
        "horizon_ms": plan.horizon_ms, "thresholds_ms": list(task.thresholds_ms), "reference": REFERENCE,
        "test": {"forecasts": len(test_set.label_ms), "series": len(test_set.series),
                 "sources": len({s.origin for s in test_set.series}), "block_s": block_seconds(plan.horizon_ms),
                 "blocks": -(-scorer.cells // CELLS_PER_BLOCK)},
        "models": models, "differences": differences(models, replicates), "winners": winners(models, replicates),
        "horizons": by_horizon(data, test_sets, outcomes), "learning": learning(plan, scorer, outcomes),
        "kinds": by_kind(data, scorer, main),
        "importance": {o.job.model: o.record["importance"] for o in main if "importance" in o.record},
    }  # fmt: skip


def by_kind(data: EvaluationData, scorer: Scorer, main: Sequence[JobOutcome]) -> dict[str, Any]:
    """Return accuracy, macro F1 and MAE of every model by kind of source."""
    origins = np.unique([series.origin for series in scorer.test_set.series])
    kinds = np.array([data.kinds.get(str(origin), str(origin)) for origin in origins])[scorer.test_set.cells.origin]
    names = sorted(set(kinds.tolist()))
    weights = np.stack([(kinds == name).astype(np.float64) for name in names])
    out: dict[str, Any] = {name: {"forecasts": 0, "models": {}} for name in names}
    for outcome in main:
        sums = weighted(scorer.sums(outcome), weights)
        found = scores(sums)
        for i, name in enumerate(names):
            out[name]["forecasts"] = int(sums.errors[i, 0])
            out[name]["models"][outcome.job.model] = {key: float(found[key][i]) for key in ("accuracy", "f1", "mae_ms")}
    return out


def per_class(sums: Sums) -> list[dict[str, float]]:
    """Return precision, recall, F1 and support of each class."""
    confusion = sums.confusion.sum(axis=0)
    precision, recall, f1 = by_class(confusion)
    return [
        {"precision": float(precision[i]), "recall": float(recall[i]), "f1": float(f1[i]), "support": int(n)}
        for i, n in enumerate(confusion.sum(axis=1))
    ]


def differences(models: Mapping[str, Any], replicates: Mapping[str, Replicates]) -> dict[str, Any]:
    """Return each rival's score minus the hybrid's with a paired interval, and whether their own intervals overlap."""
    if REFERENCE not in models:
        return {}
    ours = models[REFERENCE]["scores"]
    out: dict[str, Any] = {}
    for name, model in models.items():
        if name == REFERENCE:
            continue
        out[name] = {}
        for score in SCORES:
            theirs = model["scores"][score]
            low, high = interval(replicates[name][score] - replicates[REFERENCE][score])
            out[name][score] = {
                "value": theirs["value"] - ours[score]["value"], "low": low, "high": high,
                "overlap": bool(theirs["low"] <= ours[score]["high"] and ours[score]["low"] <= theirs["high"]),
            }  # fmt: skip
    return out


def winners(models: Mapping[str, Any], replicates: Mapping[str, Replicates]) -> dict[str, Any]:
    """Return by score who is best, and of which others the paired interval says that they are not clearly worse."""
    out = {}
    for score in ("accuracy", "f1", "mae_ms", "rmse_ms", "ece"):
        sign = 1 if score in HIGHER_IS_BETTER else -1
        best = max(models, key=lambda name: sign * models[name]["scores"][score]["value"])
        ties = [
            name for name in models
            if name != best and interval(sign * (replicates[best][score] - replicates[name][score]))[0] <= 0
        ]  # fmt: skip
        out[score] = {"best": best, "not_clearly_worse": ties}
    return out


def by_horizon(data: EvaluationData, test_sets: TestSets, outcomes: Sequence[JobOutcome]) -> list[dict[str, Any]]:
    """Return scores of the models that were scored at every horizon, by ascending horizon."""
    whole = [one for one in outcomes if one.job.share >= 1]
    names = {one.job.model for one in whole if one.job.horizon_ms != max(data.horizons_ms)} & {
        one.job.model for one in whole if one.job.horizon_ms == max(data.horizons_ms)
    }
    out = []
    for horizon in sorted({one.job.horizon_ms for one in whole}):
        task, test_set = test_sets.at(horizon)
        scorer = Scorer(test_set, data.seed)
        asked = [one for one in whole if one.job.horizon_ms == horizon and one.job.model in names]
        found = {one.job.model: scorer.score(scorer.sums(one))[0] for one in asked}
        out.append({"horizon_ms": horizon, "thresholds_ms": list(task.thresholds_ms), "models": found})
    return out


def learning(plan: Plan, scorer: Scorer, outcomes: Sequence[JobOutcome]) -> list[dict[str, Any]]:
    """Return the scores of the learners by share of the training part."""
    asked = [one for one in outcomes if one.job.horizon_ms == plan.horizon_ms]
    learners = {one.job.model for one in asked if one.job.share < 1}
    return [
        {"share": share, "models": {
            one.job.model: scorer.score(scorer.sums(one))[0]
            for one in asked if one.job.model in learners and one.job.share == share
        }}
        for share in (*SHARES, 1.0) if learners
    ]  # fmt: skip
