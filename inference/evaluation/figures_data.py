"""Figures of the data: how the classes are spread, how the channels correlate, what traffic each class is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from offramp.inference.baselines.forecaster import Task, usable
from offramp.inference.evaluation.evaluation_data import EvaluationData
from offramp.inference.evaluation.palette import CLASS_COLOURS
from offramp.inference.forecast import CLASSES
from offramp.inference.scores import classify

MAX_ROWS = 60_000
TRAFFIC = ("load_up", "load_down", "packets_up", "size_up", "size_down", "new_flow", "rtt", "delay_peak")
"""Channels of the traffic figure, where the data set has them; others fill up."""


def sample(data: EvaluationData, task: Task, part: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return raw channels [n, F] and targets [n] of at most MAX_ROWS bins, evenly spread over a part."""
    places = [usable(series, task) for series in data.parts[part]]
    step = max(1, -(-sum(map(len, places)) // MAX_ROWS))
    raw = [series.raw[rows[::step]] for series, rows in zip(data.parts[part], places, strict=True)]
    delay = [s.targets_ms[rows[::step], task.horizon] for s, rows in zip(data.parts[part], places, strict=True)]
    return np.concatenate(raw), np.concatenate(delay)


def class_distribution(data: EvaluationData, task: Task) -> Figure:
    """Draw the share of each class in each part (the paper's figure 4)."""
    figure = Figure((7, 3.6))
    axes = figure.subplots()
    for i, part in enumerate(data.parts):
        counts = np.bincount(classify(data.targets(part, task.horizon), task.thresholds_ms), minlength=3)
        for kind, name in enumerate(CLASSES):
            share = counts[kind] / counts.sum()
            axes.bar(i + (kind - 1) * 0.27, share, 0.25, color=CLASS_COLOURS[name], label=name if i == 0 else None)
            axes.text(i + (kind - 1) * 0.27, share + 0.01, f"{counts[kind]:,}", ha="center", fontsize=7)
    axes.set_xticks(range(len(data.parts)), [part.capitalize() for part in data.parts])
    low, high = task.thresholds_ms
    axes.set(
        ylabel="share of bins",
        title=f"Classes {task.horizon_ms} ms ahead: Medium from {low:.3g} ms, High from {high:.3g} ms",
    )
    axes.set_ylim(0, axes.get_ylim()[1] * 1.06)
    figure.legend(loc="outside right upper")
    return figure


def correlations(data: EvaluationData, task: Task) -> Figure:
    """Draw the correlation of the channels and of the target (figure 5)."""
    raw, delay = sample(data, task, "train")
    columns = np.column_stack([raw, np.log1p(delay)]).astype(np.float64)
    gaps = np.isnan(columns)
    means = np.where(gaps, 0, columns).sum(axis=0) / np.maximum((~gaps).sum(axis=0), 1)
    columns = np.where(gaps, means, columns)
    names = [*data.channels, "log1p target"]
    varied = columns.std(axis=0) > 1e-9
    columns, names = columns[:, varied], [name for name, kept in zip(names, varied, strict=True) if kept]
    matrix = np.corrcoef(columns, rowvar=False)
    figure = Figure((8.6, 7.4))
    axes = figure.subplots()
    image = axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, label="Pearson correlation", shrink=0.8)
    axes.set_title(
        "Channels of the training part"
        + ("" if varied.all() else f"; {int((~varied).sum())} never vary and are left out")
    )
    return figure


def traffic(data: EvaluationData, task: Task) -> Figure:
    """Draw how traffic differs between the classes: channels now, by the class to come (figures 7 to 9)."""
    raw, delay = sample(data, task, "train")
    kinds = classify(delay, task.thresholds_ms)
    figure = Figure((10, 5.2))
    grid = figure.subplots(2, 4).ravel()
    for axes, at in zip(grid, _shown(data.channels, raw), strict=False):
        values = raw[:, at]
        fine = np.isfinite(values)
        top = float(np.quantile(values[fine], 0.995)) if fine.any() else 1.0
        edges = np.linspace(0, max(top, 1e-6), 40)
        for kind, name in enumerate(CLASSES):
            mine = values[fine & (kinds == kind)]
            if len(mine):
                counts, _ = np.histogram(np.minimum(mine, edges[-1]), edges)
                axes.stairs(counts / len(mine), edges, color=CLASS_COLOURS[name], label=name, linewidth=1.4,
                            linestyle=("-", "--", ":")[kind])  # fmt: skip
        axes.set_yscale("log")
        axes.set_title(data.channels[at], fontsize=10)
        axes.tick_params(labelsize=8)
    for axes in grid[::4]:
        axes.set_ylabel("share of bins")
    figure.supxlabel("value of the channel, in its own unit", fontsize=10)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure


def _shown(channels: Sequence[str], raw: NDArray[np.float32]) -> list[int]:
    """Return the columns to show: those of TRAFFIC, filled up by others; none that never varies."""
    first = [channels.index(name) for name in TRAFFIC if name in channels]
    order = first + [i for i in range(len(channels)) if i not in first]
    return [i for i in order if len(np.unique(raw[np.isfinite(raw[:, i]), i])) > 1][: len(TRAFFIC)]
