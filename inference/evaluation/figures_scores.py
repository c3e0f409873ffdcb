"""Figures of the scores: confusion, metric bars with intervals, ROC, reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from offramp.inference.evaluation.palette import FAMILIES, FAMILY_TITLES, colour, line, title
from offramp.inference.evaluation.scores import Sums, roc
from offramp.inference.forecast import CLASSES

BARS = (("accuracy", "accuracy"), ("f1", "macro F1"), ("mae_ms", "MAE, ms"), ("rmse_ms", "RMSE, ms"))
LABELS = {"accuracy": "accuracy", "precision": "macro precision", "recall": "macro recall", "f1": "macro F1"}


def confusions(results: Mapping[str, Any], names: Sequence[str]) -> Figure:
    """Draw the confusion matrices of some models side by side (figure 6): shares of the true class."""
    figure = Figure((3.5 * len(names) + 0.8, 3.6))
    grid = figure.subplots(1, len(names), squeeze=False)[0]
    image: Any = None
    for axes, name in zip(grid, names, strict=True):
        counts = np.array(results["models"][name]["confusion"], np.float64)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        for i in range(3):
            for j in range(3):
                text = f"{shares[i, j]:.1%}\n{int(counts[i, j]):,}"
                axes.text(
                    j, i, text, ha="center", va="center", fontsize=8, color="white" if shares[i, j] > 0.6 else "black"
                )
        axes.set_xticks(range(3), CLASSES)
        axes.set_yticks(range(3), CLASSES)
        axes.set(title=title(name), xlabel="forecast")
        axes.grid(visible=False)
    grid[0].set_ylabel("truth")
    figure.colorbar(image, ax=grid.tolist(), label="share of the true class", shrink=0.8)
    return figure


def bars(results: Mapping[str, Any], scores: Sequence[tuple[str, str]] = BARS) -> Figure:
    """Draw scores of every model with their intervals (figures 10 and 11), and what was published beside."""
    models = results["models"]
    names = list(models)[::-1]
    figure = Figure((11, 0.34 * len(names) + 1.7))
    grid = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    for axes, (score, label) in zip(grid, scores, strict=True):
        for i, name in enumerate(names):
            one = models[name]["scores"][score]
            axes.barh(i, one["value"], 0.72, color=colour(name))
            wide = [[max(0.0, one["value"] - one["low"])], [max(0.0, one["high"] - one["value"])]]
            axes.errorbar(one["value"], i, xerr=np.nan_to_num(wide), color="black", capsize=2, linewidth=1)
            published = models[name]["published"].get(score)
            if published is not None:
                axes.plot(published, i, marker="D", color="white", markeredgecolor="black", markersize=5)
        axes.set_xlabel(label)
        axes.grid(visible=False, axis="y")
        if score not in ("mae_ms", "rmse_ms"):
            axes.set_xlim(0, 1)
        elif max(models[n]["scores"][score]["value"] for n in names) > 8 * min(
            models[n]["scores"][score]["value"] for n in names
        ):
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter("")  # over less than a decade they would be written on top of each other
            axes.set_xlabel(label + " (log scale)")
    grid[0].set_yticks(range(len(names)), [title(name) for name in names])
    handles: list[Any] = [Patch(color=FAMILIES[key], label=FAMILY_TITLES[key]) for key in FAMILIES]
    handles.append(grid[0].plot([], [], "D", color="white", markeredgecolor="black", label="published (other data)")[0])
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=9)
    return figure


def rocs(sums: Mapping[str, Sums], results: Mapping[str, Any]) -> Figure:
    """Draw the ROC of each class for some models (figure 12)."""
    figure = Figure((11, 4.6 + 0.22 * len(sums)))
    grid = figure.subplots(1, 3, sharey=True)
    for kind, axes in enumerate(grid):
        axes.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=0.8)
        for name, part in sums.items():
            false, true = roc(part.ranks.sum(axis=0)[kind])
            area = results["models"][name]["scores"][f"auc_{CLASSES[kind].lower()}"]["value"]
            style = {**line(name), "marker": ""}
            axes.plot(false, true, label=f"{title(name)}: {area:.3f}", **style)
        axes.set(title=f"{CLASSES[kind]} against the rest", xlabel="false positive rate")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=8, title="AUC", title_fontsize=8)
        axes.set_aspect("equal")
    grid[0].set_ylabel("true positive rate")
    return figure


def reliability(sums: Mapping[str, Sums], results: Mapping[str, Any]) -> Figure:
    """Draw how often the most probable class came true, by its probability; below, how many forecasts said so."""
    figure = Figure((7, 6.2))
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.plot([1 / 3, 1], [1 / 3, 1], color="#BBBBBB", linewidth=0.8)
    for name, part in sums.items():
        n, confidence, hits = part.reliability.sum(axis=0).T
        good = n > max(20.0, 1e-4 * n.sum())
        error = results["models"][name]["scores"]["ece"]["value"]
        top.plot(
            confidence[good] / n[good],
            hits[good] / n[good],
            label=f"{title(name)}: ECE {error:.3f}",
            markersize=4,
            **line(name),
        )
        below.plot(confidence[good] / n[good], n[good] / n.sum(), markersize=4, **line(name))
    top.set(ylabel="share that came true", title="Reliability of the most probable class")
    below.set(xlabel="probability of the most probable class", ylabel="share of\nforecasts")
    figure.legend(*top.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    return figure


def report_bars(results: Mapping[str, Any], names: Sequence[str]) -> Figure:
    """Draw the classification report of some models: precision, recall and F1 of each class (figure 9)."""
    figure = Figure((10, 3.4))
    grid = figure.subplots(1, 3, sharey=True)
    for axes, (key, label) in zip(grid, (("precision", "precision"), ("recall", "recall"), ("f1", "F1")), strict=True):
        for i, name in enumerate(names):
            values = [one[key] for one in results["models"][name]["classes"]]
            places = np.arange(3) + (i - (len(names) - 1) / 2) * 0.8 / len(names)
            axes.bar(places, values, 0.74 / len(names), color=line(name)["color"], label=title(name))
        axes.set_xticks(range(3), CLASSES)
        axes.set_ylim(0, 1)
        axes.set_title(label)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(names), fontsize=9)
    return figure
