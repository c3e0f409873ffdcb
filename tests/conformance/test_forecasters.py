"""Every forecaster, the hybrid among them, keeps the same promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from offramp.errors import ConfigError
from offramp.inference.baselines.forecaster import Budget, Forecaster, Series, Task, usable
from offramp.inference.baselines.models import MODELS, NAMES, chosen, make
from offramp.stream.channels import BIN_MS, CHANNELS
from offramp.stream.learning.evaluating import prepared, scale_of, transform_of
from tests.support.made_datasets import made_dataset

BUDGET = Budget(rows=600, kernel_rows=400, bins=2_048, epochs=1, trials=1)
BINS = 500
CUT = 300
DERIVED = ("hybrid-paper", "linear-mlp", "mlp-svr", "svr-lstm")
"""Fit as another does; what they add has no random part."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):  # threads of small tables wait more than they work
        yield


World = tuple[dict[str, list[Series]], Task]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    dataset = made_dataset(tmp_path_factory.mktemp("data"), links=10, seconds=7)
    scale = scale_of(dataset)
    parts = prepared(dataset, transform_of(scale))
    known = np.concatenate([s.targets_ms[usable(s, Task(1, 500, 10, (1, 2), ())), 1] for s in parts["train"]])
    thresholds = (float(np.quantile(known, 1 / 3)) + 1e-3, float(np.quantile(known, 2 / 3)) + 2e-3)
    task = Task(1, 500, BIN_MS, thresholds, CHANNELS, 1, BUDGET, scale.state())
    return parts, task


@pytest.fixture(scope="module", params=NAMES)
def fitted(request: pytest.FixtureRequest, world: World, tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    parts, task = world
    forecaster = make(request.param, tmp_path_factory.mktemp(request.param))
    forecaster.fit(parts["train"], parts["validation"], task)
    return forecaster


def test_a_forecast_of_every_bin(fitted: Forecaster, world: World) -> None:
    series = world[0]["test"][0].cut(0, BINS, BIN_MS)
    found = fitted.predict(series)
    assert found.probabilities.shape == (BINS, 3)
    assert found.probabilities.dtype == np.float32
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)
    assert (found.probabilities >= 0).all()
    assert found.quantiles_ms.shape in ((BINS, 1), (BINS, 3))
    assert found.quantiles_ms.dtype == np.float32
    assert np.isfinite(found.quantiles_ms).all()
    assert (found.quantiles_ms >= 0).all()
    assert (np.diff(found.quantiles_ms, axis=1) >= 0).all()
    assert fitted.name in NAMES


def test_the_future_does_not_change_the_past(fitted: Forecaster, world: World) -> None:
    series = world[0]["test"][0].cut(0, BINS, BIN_MS)
    rng = np.random.default_rng(1)
    changed = replace(
        series,
        **{name: getattr(series, name).copy() for name in ("raw", "x", "spectrum", "bin_peak_ms", "targets_ms")},
    )
    for name in ("raw", "x", "spectrum", "bin_peak_ms"):
        part = getattr(changed, name)[CUT:]
        part[...] = rng.random(part.shape, np.float32) * 3
    changed.targets_ms[...] = np.nan  # the truth is not looked at anywhere
    before, after = fitted.predict(series), fitted.predict(changed)
    np.testing.assert_allclose(after.probabilities[:CUT], before.probabilities[:CUT], atol=1e-5)
    np.testing.assert_allclose(after.quantiles_ms[:CUT], before.quantiles_ms[:CUT], rtol=1e-4, atol=1e-3)
    assert not np.allclose(after.quantiles_ms[CUT:], before.quantiles_ms[CUT:])  # the comparison can fail


@pytest.mark.parametrize("fitted", [name for name in NAMES if name not in DERIVED], indirect=True)
def test_same_seed_same_forecast(fitted: Forecaster, world: World, tmp_path: Path) -> None:
    parts, task = world
    series = parts["test"][0].cut(0, BINS, BIN_MS)
    again = make(fitted.name, tmp_path)
    again.fit(parts["train"], parts["validation"], task)
    np.testing.assert_array_equal(again.predict(series).probabilities, fitted.predict(series).probabilities)
    np.testing.assert_array_equal(again.predict(series).quantiles_ms, fitted.predict(series).quantiles_ms)
    assert again.settings == fitted.settings


def test_the_table_of_models() -> None:
    assert len(set(NAMES)) == len(MODELS) == 13
    assert chosen(("persistence", "hybrid")) == ("hybrid", "persistence")
    assert chosen(()) == NAMES
    with pytest.raises(ConfigError, match="unknown; expected some of hybrid"):
        chosen(("oracle",))
