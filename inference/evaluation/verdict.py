"""The verdict at the top of the report: who is best, by how much, and which baselines the hybrid beats or does not."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from offramp.inference.baselines.models import model_of
from offramp.inference.evaluation.results import GOALS, REFERENCE
from offramp.inference.evaluation.scores import HIGHER_IS_BETTER
from offramp.inference.evaluation.tables import LABELS, number, table, with_interval

SHOWN = ("f1", "mae_ms", "accuracy", "rmse_ms", "ece")
MAX_OVERLAPS = 1
"""Rivals whose interval may overlap the hybrid's where the goal is met."""
PLACES = (
    ("better", "better, intervals apart"),
    ("better_overlapping", "better, intervals overlap"),
    ("worse_overlapping", "not better, intervals overlap"),
    ("worse", "worse, intervals apart"),
)


def standing(results: Mapping[str, Any], score: str) -> dict[str, list[str]]:
    """Return by PLACES the rivals that the hybrid is better or worse than."""
    sign = 1 if score in HIGHER_IS_BETTER else -1
    out: dict[str, list[str]] = {place: [] for place, _ in PLACES}
    for name in rivals(results):
        found = results["differences"][name][score]
        how = "better" if sign * found["value"] < 0 else "worse"
        out[how + ("_overlapping" if found["overlap"] else "")].append(name)
    return out


def rivals(results: Mapping[str, Any]) -> list[str]:
    """Return the models that the hybrid is compared with: none of its presets."""
    return [name for name in results["differences"] if not name.startswith(REFERENCE)]


def goal_met(results: Mapping[str, Any]) -> bool:
    """Return whether the hybrid is better than every rival on all GOALS, with at most MAX_OVERLAPS overlaps on each."""
    places = [standing(results, score) for score in GOALS]
    return not any(
        each["worse"] or each["worse_overlapping"] or len(each["better_overlapping"]) > MAX_OVERLAPS
        for each in places
    )  # fmt: skip


def summary(results: Mapping[str, Any]) -> str:
    """Return in two sentences who has the best macro F1 and MAE, and whether the goal is met."""
    if REFERENCE not in results["models"]:
        return "The hybrid was not among the models; this is a comparison of rivals only."
    said = "; ".join(_first(results, score) for score in GOALS)
    count = len(rivals(results))
    if not count:
        return f"{said}. No rival was among the models: this says nothing of how good that is."
    return (
        f"{said}. The goal (the hybrid better than all {count} rivals here on both, its interval apart from those of "
        f"all but at most {MAX_OVERLAPS}) is {'met' if goal_met(results) else 'not met'}."
    )


def _first(results: Mapping[str, Any], score: str) -> str:
    """Return who is best on a score, and where the hybrid, or the next best, stands."""
    sign = 1 if score in HIGHER_IS_BETTER else -1
    values = {name: m["scores"][score]["value"] for name, m in results["models"].items()}
    order = sorted(values, key=lambda name: -sign * values[name])
    label, unit = LABELS[score].removesuffix(", ms"), " ms" if score.endswith("_ms") else ""
    if order[0] == REFERENCE and len(order) > 1:
        return (
            f"The hybrid has the best {label}, {number(values[REFERENCE], score)}{unit} (next: "
            f"{model_of(order[1]).title}, {number(values[order[1]], score)}{unit})"
        )
    place = f", in place {order.index(REFERENCE) + 1} of {len(order)}" if order[0] != REFERENCE else ""
    return (
        f"{'The hybrid' if order[0] == REFERENCE else model_of(order[0]).title} has the best {label}, "
        f"{number(values[order[0]], score)}{unit}"
        + (f" (the hybrid: {number(values[REFERENCE], score)}{unit}{place})" if place else "")
    )


def verdict(results: Mapping[str, Any]) -> str:
    """Return the box at the top of the page: the summary, who is best on each score, and against whom."""
    rows = [_row(results, score) for score in SHOWN]
    head = ["score", "best", "the hybrid", "best, less the hybrid", "not clearly worse than the best"]
    parts = [f"<p><b>{escape(summary(results))}</b></p>", table(head, rows, words=(4,))]
    if rivals(results):
        parts.append(_against(results))
    return f'<div class="verdict">{"".join(parts)}</div>'


def _row(results: Mapping[str, Any], score: str) -> list[str]:
    winner = results["winners"][score]
    best, ties = winner["best"], [model_of(name).title for name in winner["not_clearly_worse"]]
    mine = results["models"].get(REFERENCE)
    apart = "-"
    if best != REFERENCE and best in results["differences"]:
        found = results["differences"][best][score]
        apart = with_interval(found, score, signed=True)
        apart += f"<br><small>intervals {'overlap' if found['overlap'] else 'apart'}</small>"
    return [
        LABELS[score],
        f"<b>{escape(model_of(best).title)}</b><br>{with_interval(results['models'][best]['scores'][score], score)}",
        with_interval(mine["scores"][score], score) if mine else "-", apart, escape(", ".join(ties)) or "none",
    ]  # fmt: skip


def _against(results: Mapping[str, Any]) -> str:
    """Return the table of rivals that the hybrid is better or worse than, surely or not."""
    rows = []
    for key, label in PLACES:
        names = [[model_of(name).title for name in standing(results, score)[key]] for score in GOALS]
        rows.append([label, *(escape(", ".join(each)) or "none" for each in names)])
    head = ["the hybrid is", *(f"on {LABELS[score].removesuffix(', ms')} than" for score in GOALS)]
    return table(head, rows, words=tuple(range(1, len(head))))
