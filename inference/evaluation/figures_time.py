"""Figures over time, horizon and data: forecast and truth, errors by horizon, learning curve, importance, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from offramp.inference.baselines.forecaster import Task
from offramp.inference.evaluation.evaluation_data import TestSet
from offramp.inference.evaluation.palette import colour, line, title
from offramp.inference.forecast import Prediction

EXCERPT_S = 30.0
MAX_CHANNELS = 16


def over_time(task: Task, test_set: TestSet, found: Mapping[str, Prediction]) -> Figure:
    """Draw truth and forecasts where the test part moves most, and the class probabilities of the first model."""
    begin, end, series = _liveliest(test_set, round(EXCERPT_S * 1_000 / task.bin_ms))
    time_s = (test_set.rows[series][: end - begin] - test_set.rows[series][0]) * task.bin_ms / 1_000
    figure = Figure((10, 5.6))
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
    top.plot(time_s, test_set.label_ms[begin:end], color="#999999", linewidth=3, label="truth")
    for name, forecasts in found.items():
        delay = forecasts.quantiles_ms[begin:end]
        if delay.shape[1] == 3 and name == next(iter(found)):
            top.fill_between(time_s, delay[:, 0], delay[:, 1], color=line(name)["color"], alpha=0.2, linewidth=0,
                             label=f"{title(name).split(' (')[0]}:\nmedian to 0.9 quantile")  # fmt: skip
        top.plot(time_s, delay[:, 0], label=title(name), linewidth=1.2, **{**line(name), "marker": ""})
    for i, limit in enumerate(task.thresholds_ms):
        label = "limits of the classes" if i == 0 else None
        top.axhline(limit, color="#666666", linewidth=0.7, linestyle=(0, (1, 3)), label=label)
    where = test_set.series[series].source
    top.set(ylabel=f"largest delay of the\nnext {task.horizon_ms} ms, ms", title=f"Forecast and truth: {where}")
    highest = max(
        float(each[begin:end].max()) for each in (test_set.label_ms, *(f.quantiles_ms[:, 0] for f in found.values()))
    )
    top.set_ylim(0, min(1.05 * highest, 2 * float(test_set.label_ms[begin:end].max())) + 0.1)
    name = next(iter(found))
    first = found[name].probabilities[begin:end]
    below.stackplot(time_s, first.T, colors=("#56B4E9", "#E69F00", "#8B2500"), labels=("Normal", "Medium", "High"))
    below.set(xlabel="time, s", ylabel="probability", ylim=(0, 1), title=f"Class probabilities: {title(name)}")
    for axes in (top, below):
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return figure


def _liveliest(test_set: TestSet, length: int) -> tuple[int, int, int]:
    """Return the stretch of the test set, of one series, in which the truth varies most (by log), and the series.

    Stretches are as long as asked for, or as the longest series.
    """
    length = min(length, max(map(len, test_set.rows)))
    best, begin = (-1.0, 0, 0), 0
    for at, rows in enumerate(test_set.rows):
        for start in range(begin, begin + len(rows) - length + 1, max(1, length // 2)):
            moved = float(np.log1p(test_set.label_ms[start : start + length]).std())
            best = max(best, (moved, start, at))
        begin += len(rows)
    return best[1], best[1] + length, best[2]


def horizons(results: Mapping[str, Any]) -> Figure:
    """Draw macro F1, accuracy and MAE over the horizon with their intervals."""
    rows = results["horizons"]
    figure = Figure((11, 3.9))
    grid = figure.subplots(1, 3)
    labels = (("accuracy", "accuracy"), ("f1", "macro F1"), ("mae_ms", "MAE, ms"))
    for axes, (score, label) in zip(grid, labels, strict=True):
        for name in rows[0]["models"]:
            _curve(axes, [r["horizon_ms"] for r in rows], [r["models"][name][score] for r in rows], name)
        axes.set_xscale("log")
        axes.set_xticks([r["horizon_ms"] for r in rows], [f"{r['horizon_ms'] / 1_000:g}" for r in rows])
        axes.minorticks_off()
        axes.set(xlabel="horizon, s (log scale)", title=label)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    return figure


def learning(results: Mapping[str, Any]) -> Figure:
    """Draw macro F1 and MAE over the share of the training part."""
    rows = results["learning"]
    figure = Figure((8, 3.8))
    grid = figure.subplots(1, 2)
    for axes, (score, label) in zip(grid, (("f1", "macro F1"), ("mae_ms", "MAE, ms")), strict=True):
        for name in rows[-1]["models"]:
            _curve(axes, [row["share"] for row in rows], [row["models"][name][score] for row in rows], name)
        axes.set_xscale("log")
        axes.set_xticks([row["share"] for row in rows], [f"{row['share']:.0%}" for row in rows])
        axes.minorticks_off()
        axes.set(xlabel="share of the training part (log scale)", title=label)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    return figure


def _curve(axes: Any, x: Sequence[float], values: Sequence[Mapping[str, float]], name: str) -> None:
    y = [one["value"] for one in values]
    low, high = [one["low"] for one in values], [one["high"] for one in values]
    axes.plot(x, y, label=title(name), markersize=4, **line(name))
    axes.fill_between(x, low, high, color=line(name)["color"], alpha=0.12, linewidth=0)


def importance(results: Mapping[str, Any]) -> Figure:
    """Draw what each channel is worth to each learner: macro F1 lost and MAE gained when it is rotated.

    Those that matter most are shown; results.json has all.
    """
    found = results["importance"]
    names = list(found)
    channels = sorted(found[names[0]], key=lambda c: max(abs(found[name][c]["f1"]) for name in names))[-MAX_CHANNELS:]
    figure = Figure((10, 0.24 * len(channels) + 1.6))
    grid = figure.subplots(1, 2, sharey=True)
    for axes, (score, label) in zip(grid, (("f1", "macro F1 lost"), ("mae_ms", "MAE gained, ms")), strict=True):
        for i, name in enumerate(names):
            places = np.arange(len(channels)) + (i - (len(names) - 1) / 2) * 0.4
            axes.barh(
                places, [found[name][c][score] for c in channels], 0.38, color=line(name)["color"], label=title(name)
            )
        axes.axvline(0, color="black", linewidth=0.6)
        axes.set_xlabel(label)
        axes.grid(visible=False, axis="y")
    grid[0].set_yticks(range(len(channels)), channels, fontsize=8)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def cost(results: Mapping[str, Any]) -> Figure:
    """Draw CPU time and energy of a forecast among many, and the wait for one window alone."""
    models = results["models"]
    names = list(models)[::-1]
    source = next(iter(models.values()))["cost"]["energy_source"]
    figure = Figure((11, 0.32 * len(names) + 1.4))
    grid = figure.subplots(1, 3, sharey=True)
    kinds = (("cpu_us", "CPU time a forecast, µs"), ("energy_mj", f"energy a forecast, mJ\n({source})"),
             ("window_ms", "wait for one window alone, ms"))  # fmt: skip
    for axes, (key, label) in zip(grid, kinds, strict=True):
        values = [max(1e-6, models[name]["cost"][key]) for name in names]
        axes.barh(range(len(names)), values, 0.72, color=[colour(name) for name in names])
        for i, value in enumerate(values):
            axes.text(value, i, f" {value:.3g}", va="center", fontsize=8)
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 2, max(values) * 6)
        axes.set_xlabel(label)
        axes.grid(visible=False, axis="y")
    grid[0].set_yticks(range(len(names)), [title(name) for name in names])
    return figure
