"""Prepare a data set for the evaluation of forecasters.

Joins the stream's normaliser and STFT with inference's evaluation, which knows neither: the scale is learned from the
training part alone.
"""

from __future__ import annotations

import numpy as np

from offramp.errors import ContractError
from offramp.inference.baselines.forecaster import Series
from offramp.inference.dataset.dataset import Dataset
from offramp.inference.evaluation.evaluation_data import EvaluationData, Transform
from offramp.stream.channels import CHANNELS
from offramp.stream.windows.model_input import model_input
from offramp.stream.windows.normaliser import Normaliser


def evaluation_data_of(dataset: Dataset, limits: tuple[float, float] | None, seed: int, command: str) -> EvaluationData:
    """Return the data set as an evaluation takes it; command: the command line that gives the same again."""
    scale = scale_of(dataset)
    transform = transform_of(scale)
    origins = dataset.manifest.get("origins", {})
    return EvaluationData(
        parts=prepared(dataset, transform), transform=transform, channels=dataset.channels,
        normaliser=scale.state() | {"limits": np.stack(scale.limits())},
        horizons_ms=dataset.horizons_ms, bin_ms=int(dataset.manifest["bin_ms"]), fingerprint=dataset.fingerprint,
        kinds={name: str(one.get("kind", name)) for name, one in origins.items()}, thresholds_ms=limits, seed=seed,
        command=command,
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
    limits = normaliser.limits()
    return lambda raw: model_input(raw, limits)


def prepared(dataset: Dataset, transform: Transform) -> dict[str, list[Series]]:
    """Return the series of each part as forecasters take them."""
    out: dict[str, list[Series]] = {"train": [], "validation": [], "test": []}
    for each in dataset.series:
        x, spectrum = transform(each.x)
        out[each.part].append(
            Series(each.x, x, spectrum, each.now_ms, each.delay_ms, each.source, each.origin, each.time_ns)
        )
    return out
