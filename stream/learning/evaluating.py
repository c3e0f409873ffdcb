"""Evaluate forecasters on a data set: what `offramp evaluate` runs.

Here the stream's normaliser and STFT meet inference's evaluation, which knows neither: the scale is learned from the
training part alone.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.errors import ConfigError, ContractError, writing
from offramp.extras import require
from offramp.inference.baselines.forecaster import Budget, Series
from offramp.inference.baselines.models import chosen
from offramp.inference.dataset.dataset import Dataset, open_dataset
from offramp.inference.evaluation.evaluate import evaluate, main_table
from offramp.inference.evaluation.jobs import Plan
from offramp.inference.evaluation.verdict import summary
from offramp.inference.evaluation.world import Transform, World
from offramp.kernels import announce_compiling
from offramp.stream.channels import CHANNELS
from offramp.stream.datasets.edge_traffic import edge_traffic
from offramp.stream.learning.training import parse_thresholds
from offramp.stream.windows.normaliser import Normaliser, scaled
from offramp.stream.windows.stft import Spectra

QUICK = 0.01
"""Share of the budget that `--quick` leaves."""


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What `offramp evaluate` was asked."""

    dataset: Path
    out: Path
    models: tuple[str, ...]
    horizon_ms: int
    curves: bool
    thresholds: str
    scale: float
    quick: bool
    seed: int
    watts: float
    edge: tuple[str, ...]
    jobs: int = 1


def run_evaluate(options: EvaluateOptions) -> None:
    """Run `offramp evaluate`: progress on standard error, the main table on standard output."""
    if options.scale <= 0:
        raise ConfigError(f"--scale {options.scale:g}: expected a share of the budget above 0, such as 0.3")
    require("offramp evaluate", "keras", "tensorflow", "sklearn", "matplotlib")
    announce_compiling()
    limits = parse_thresholds(options.thresholds)
    edge = edge_traffic(options.edge) if options.edge else None
    dataset = open_dataset(options.dataset)
    world = world_of(dataset, limits, options)
    budget = Budget().scaled(QUICK if options.quick else options.scale)
    plan = Plan(chosen(options.models), options.horizon_ms, options.curves, budget, options.watts)
    with writing(options.out):
        results = evaluate(world, plan, options.out, edge, options.jobs)
    print(main_table(results))
    print(f"{summary(results)}\nreport: {options.out / 'report.html'}", file=sys.stderr)


def world_of(dataset: Dataset, limits: tuple[float, float] | None, options: EvaluateOptions) -> World:
    """Return the data set as an evaluation takes it."""
    scale = scale_of(dataset)
    transform = transform_of(scale)
    told = dataset.manifest.get("origins", {})
    words = ["offramp evaluate", options.dataset.name, *(f"--models {name}" for name in options.models)]
    words += [f"--horizon {options.horizon_ms}", f"--thresholds {options.thresholds}", f"--seed {options.seed}"]
    words.append("--quick" if options.quick else f"--scale {options.scale:g}")
    return World(
        parts=prepared(dataset, transform), transform=transform, channels=dataset.channels,
        normaliser=scale.state() | {"limits": np.stack(scale.limits())},
        horizons_ms=dataset.horizons_ms, bin_ms=int(dataset.manifest["bin_ms"]), fingerprint=dataset.fingerprint,
        kinds={name: str(one.get("kind", name)) for name, one in told.items()}, thresholds_ms=limits, seed=options.seed,
        command=" ".join(words),
    )  # fmt: skip


def scale_of(dataset: Dataset) -> Normaliser:
    """Return the scale of the training part. Raise ContractError for other channels than the stream's."""
    if dataset.channels != CHANNELS:
        raise ContractError(
            f"the data set has {len(dataset.channels)} channels, this version makes {len(CHANNELS)}; build it again"
        )
    out = Normaliser(len(CHANNELS))
    for series in dataset.part("train"):
        out.update(np.ascontiguousarray(series.x))
    return out


def transform_of(normaliser: Normaliser) -> Transform:
    """Return what makes the model's input of one raw series [T, F]: normalised [T, F] and its spectra [T, K]."""
    mean, low, high = normaliser.limits()

    def transform(raw: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        x = scaled(np.ascontiguousarray(raw), mean, low, high)
        return x, Spectra(1).update(x, np.zeros(len(x), np.int32), np.zeros(len(x), np.uint8))

    return transform


def prepared(dataset: Dataset, transform: Transform) -> dict[str, list[Series]]:
    """Return the series of each part as forecasters take them."""
    out: dict[str, list[Series]] = {"train": [], "validation": [], "test": []}
    for each in dataset.series:
        x, spectrum = transform(each.x)
        out[each.part].append(
            Series(each.x, x, spectrum, each.now_ms, each.delay_ms, each.source, each.origin, each.time_ns)
        )
    return out
