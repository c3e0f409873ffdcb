"""What the report says first: it follows from the scores, whoever wins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from offramp.inference.evaluation.results import differences, winners
from offramp.inference.evaluation.scores import HIGHER_IS_BETTER, SCORES
from offramp.inference.evaluation.tables import best_rivals, in_words, number
from offramp.inference.evaluation.verdict import goal_met, standing, summary, verdict

RIVALS = ("boosting", "ewma", "svm")


def results(hybrid: float, *rivals: float, width: float = 0.01) -> dict[str, Any]:
    """Results of a hybrid and rivals that are so good, 0 to 1, on all scores."""
    models, replicates = {}, {}
    for name, good in zip(("hybrid", "hybrid-paper", *RIVALS), (hybrid, 0.2, *rivals), strict=True):
        values = {score: good if score in HIGHER_IS_BETTER else 1 - good for score in SCORES}
        models[name] = {"scores": {s: {"value": v, "low": v - width, "high": v + width} for s, v in values.items()}}
        replicates[name] = {s: v + np.linspace(-width, width, 41) for s, v in values.items()}
    return {
        "models": models, "differences": differences(models, replicates), "winners": winners(models, replicates)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "places", "met"),
    [
        ((0.9, 0.8, 0.7, 0.6), (["boosting", "ewma", "svm"], [], [], []), True),
        ((0.9, 0.885, 0.7, 0.6), (["ewma", "svm"], ["boosting"], [], []), True),
        ((0.9, 0.885, 0.89, 0.6), (["svm"], ["boosting", "ewma"], [], []), False),
        ((0.9, 0.91, 0.7, 0.6), (["ewma", "svm"], [], ["boosting"], []), False),
        ((0.9, 0.95, 0.97, 0.6), (["svm"], [], [], ["boosting", "ewma"]), False),
    ],
)
def test_every_rival_has_its_place_and_the_goal_follows(
    scores: tuple[float, float, float, float], places: tuple[list[str], ...], met: bool
) -> None:
    found = results(*scores)
    for score in ("f1", "mae_ms"):
        assert tuple(standing(found, score).values()) == places
    assert goal_met(found) == met
    assert ("is met." in summary(found)) == met
    assert ("is not met." in summary(found)) != met


def test_the_summary_names_the_winner_with_figures() -> None:
    lost = summary(results(0.9, 0.95, 0.7, 0.6))
    assert "Gradient boosting has the best macro F1, 0.950 (the hybrid: 0.900, in place 2 of 5)" in lost
    won = summary(results(0.9, 0.8, 0.7, 0.6))
    assert "The hybrid has the best macro F1, 0.900 (next: Gradient boosting, 0.800)" in won
    assert "The hybrid has the best MAE, 0.1 ms (next: Gradient boosting, 0.2 ms)" in won
    without = results(0.9, 0.8, 0.7, 0.6)
    del without["models"]["hybrid"]
    assert "not among the models" in summary(without)


def test_alone_the_hybrid_has_met_nothing() -> None:
    alone = results(0.9, 0.8, 0.7, 0.6)
    for name in RIVALS:
        del alone["models"][name], alone["differences"][name]
    assert "No rival was among the models" in summary(alone)
    assert "met" not in summary(alone).replace("method", "")


def test_the_box_tells_by_how_much_and_whether_surely() -> None:
    text = verdict(results(0.9, 0.95, 0.97, 0.6))
    assert "+0.070" in text
    assert "intervals apart" in text
    assert "Exponential average" in text


def test_rivals_shown_by_kind_are_the_best_of_both_goals() -> None:
    found = results(0.9, 0.8, 0.7, 0.6)
    found["models"]["svm"]["scores"]["mae_ms"]["value"] = 0.01
    assert best_rivals(found, most=1) == ["boosting", "svm"]
    assert best_rivals(found, most=3) == ["boosting", "ewma", "svm"]


def test_numbers_and_settings_are_written_for_readers() -> None:
    assert number(57.494, "mae_ms") == "57.5"
    assert number(0.8935) == "0.893"
    assert number(float("nan")) == number(None) == "-"
    assert number(0.0612, signed=True) == "+0.061"
    assert in_words({"rows": 10, "class": {"rounds": 3}}) == "rows 10, class (rounds 3)"
