"""The arithmetic of the proof: sums, scores, intervals, classes, and what a kept job depends on."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from offramp.errors import InputError
from offramp.inference.baselines.forecaster import Budget, Series, Task, portion, usable
from offramp.inference.baselines.lags import features, lagged, mean_of_last, peak_of_last, table
from offramp.inference.baselines.models import MODELS
from offramp.inference.evaluation import jobs
from offramp.inference.evaluation.bootstrap import (
    CELLS_PER_BLOCK,
    block_seconds,
    block_weights,
    cells_of,
    interval,
    source_weights,
)
from offramp.inference.evaluation.evaluate import finite
from offramp.inference.evaluation.results import differences, winners
from offramp.inference.evaluation.scores import roc, scores, sums_by_cell, weighted
from offramp.inference.forecast import Prediction
from offramp.inference.scores import calibration_error
from offramp.sources import sources_of

N = 4_000


Answers = tuple[Prediction, NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


@pytest.fixture
def answers() -> Answers:
    """Forecasts that are right two times out of three, their truth, and cells."""
    rng = np.random.default_rng(2)
    classes = rng.integers(0, 3, N)
    probabilities = rng.dirichlet([0.7, 0.7, 0.7], N).astype(np.float32)
    probabilities[np.arange(N), classes] += 0.4
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    delay = rng.gamma(2, 10, N).astype(np.float32)
    quantiles = np.sort(delay[:, None] + rng.normal(0, 5, (N, 3)), axis=1).clip(0).astype(np.float32)
    return Prediction(probabilities, quantiles), delay, classes, rng.integers(0, 40, N)


def test_scores_are_sklearns(answers: Answers) -> None:
    found, delay, classes, cells = answers
    ours = scores(weighted(sums_by_cell(found, delay, classes, cells, 40), np.ones((1, 40))))
    said = found.probabilities.argmax(axis=1)
    expected = {
        "accuracy": metrics.accuracy_score(classes, said),
        "precision": metrics.precision_score(classes, said, average="macro"),
        "recall": metrics.recall_score(classes, said, average="macro"),
        "f1": metrics.f1_score(classes, said, average="macro"),
        "mae_ms": metrics.mean_absolute_error(delay, found.quantiles_ms[:, 0]),
        "rmse_ms": metrics.root_mean_squared_error(delay, found.quantiles_ms[:, 0]),
        "log_loss": metrics.log_loss(classes, found.probabilities),
        "coverage_q90": np.mean(delay <= found.quantiles_ms[:, 1]),
    }
    for name, value in expected.items():
        assert ours[name][0] == pytest.approx(value, abs=1e-6), name
    for kind, name in enumerate(("normal", "medium", "high")):
        exact = metrics.roc_auc_score(classes == kind, found.probabilities[:, kind])
        assert ours[f"auc_{name}"][0] == pytest.approx(exact, abs=2e-4)


def test_ties_in_probabilities_count_half(answers: Answers) -> None:
    _, delay, classes, cells = answers
    same = Prediction(np.full((N, 3), 1 / 3, np.float32), delay[:, None])
    found = scores(weighted(sums_by_cell(same, delay, classes, cells, 40), np.ones((1, 40))))
    assert found["auc_high"][0] == pytest.approx(0.5)
    assert found["mae_ms"][0] == 0
    assert math.isnan(found["coverage_q90"][0])  # a median alone has no 0.9 quantile


def test_a_weighted_sum_is_the_score_of_repeated_forecasts(answers: Answers) -> None:
    found, delay, classes, cells = answers
    weights = np.random.default_rng(1).integers(0, 3, 40).astype(float)
    rows = np.repeat(np.arange(N), weights[cells].astype(int))
    repeated = Prediction(found.probabilities[rows], found.quantiles_ms[rows])
    one = scores(weighted(sums_by_cell(found, delay, classes, cells, 40), weights[None]))
    other = scores(
        weighted(sums_by_cell(repeated, delay[rows], classes[rows], cells[rows], 40), np.ones((1, 40)))
    )  # fmt: skip
    for name in ("accuracy", "f1", "mae_ms", "rmse_ms", "ece", "log_loss"):
        assert one[name][0] == pytest.approx(other[name][0]), name


def test_calibration_and_roc_of_known_forecasts() -> None:
    assert calibration_error(np.array([[10.0, 9.0, 9.0], [10.0, 6.0, 5.0]])) == pytest.approx(1 / 20)
    perfect = np.array([[3.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 2.0]])
    false, true = roc(perfect)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert true[2] == 1 and false[2] == 0  # noqa: PT018


def test_cells_are_stretches_of_one_recording() -> None:
    second = 1_000_000_000
    time = np.array([0, 1, 3, 9, 0, 100]) * second + np.array([0, 0, 0, 0, 7, 7]) * second
    cells = cells_of(["a", "a", "a", "a", "b", "b"], time, 500)
    assert cells.cell.tolist() == [0, 0, 1, 2, 3, 4]
    assert cells.origin.tolist() == [0, 0, 0, 1, 1]
    assert block_seconds(500) == 10
    assert block_seconds(5_000) == 20


def test_draws_are_blocks_that_fill_the_ring() -> None:
    weights = block_weights(40, 500, 3)
    np.testing.assert_allclose(weights.sum(axis=1), 40)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.2)
    np.testing.assert_array_equal(weights, block_weights(40, 500, 3))
    few = block_weights(400, 200, 3)
    alone = (few > 0) & (np.roll(few, 1, axis=1) == 0) & (np.roll(few, -1, axis=1) == 0)
    assert not alone.any()  # a cell comes with its neighbours
    by_source = source_weights(np.array([0, 0, 0, 1]), 200, 1)
    assert set(map(tuple, by_source)) == {(1, 1, 1, 1), (2, 2, 2, 0), (0, 0, 0, 2)}


def test_the_interval_of_independent_blocks_is_the_normal_one() -> None:
    rng = np.random.default_rng(5)
    means = np.repeat(rng.normal(0, 1, 400), CELLS_PER_BLOCK)  # constant within a block
    low, high = interval(block_weights(len(means), 4_000, 1) @ means / len(means))
    half = 1.96 * means.std() / math.sqrt(400)
    assert (high - low) / 2 == pytest.approx(half, rel=0.2)
    naive = 1.96 * means.std() / math.sqrt(len(means))
    assert (high - low) / 2 > 1.5 * naive  # what single windows would have claimed
    assert all(map(math.isnan, interval(np.full(3, np.nan))))


def some_series(bins: int = 400) -> Series:
    rng = np.random.default_rng(4)
    x = rng.random((bins, 3), np.float32)
    delay = rng.random((bins, 1), np.float32)
    delay[-50:] = np.nan
    return Series(x, x, rng.random((bins, 2), np.float32), delay[:, 0].copy(), delay, "s", "s", 0)


TASK = Task(0, 500, 10, (0.3, 0.6), ("a", "b", "c"))


def test_the_past_of_a_bin() -> None:
    x = some_series().x
    for n in (1, 2, 3, 16, 64):
        for t in (0, 5, 399):
            past = x[max(0, t - n + 1) : t + 1]
            np.testing.assert_allclose(mean_of_last(x, n)[t], past.mean(axis=0), atol=1e-6)
            np.testing.assert_array_equal(peak_of_last(x, n)[t], past.max(axis=0))
    np.testing.assert_array_equal(lagged(x, 3)[10], x[7])
    np.testing.assert_array_equal(lagged(x, 3)[1], x[0])


def test_rows_have_a_window_and_a_target() -> None:
    series = some_series()
    assert usable(series, TASK).tolist() == list(range(63, 350))
    rows = table([series], TASK, 100)
    assert len(rows.label_ms) == 96  # every third of 287
    np.testing.assert_array_equal(rows.features[1], features(series, TASK)[66])
    assert set(rows.classes.tolist()) == {0, 1, 2}
    with pytest.raises(InputError, match="known target"):
        table([series.cut(0, 60, 10)], TASK, 100)


def test_a_portion_is_seeded_and_whole_from_one_on() -> None:
    series = [some_series(5_000)]
    few = portion(series, 0.25, 1, 10)
    assert [len(s.x) for s in few] == [1_024] or sum(len(s.x) for s in few) <= 2_048
    assert few[0].time_ns == portion(series, 0.25, 1, 10)[0].time_ns
    assert portion(series, 1.0, 1, 10) == series
    assert Budget().scaled(1) == Budget()
    assert Budget().scaled(0.001).bins == 4_000


def scored(value: float, low: float, high: float) -> dict[str, dict[str, dict[str, float]]]:
    return {"scores": {name: {"value": value, "low": low, "high": high} for name in jobs_scores()}}


def jobs_scores() -> tuple[str, ...]:
    from offramp.inference.evaluation.scores import SCORES

    return SCORES


def test_who_wins_is_said_even_if_it_is_a_rival() -> None:
    models = {"hybrid": scored(0.8, 0.75, 0.85), "boosting": scored(0.9, 0.87, 0.93), "ewma": scored(0.89, 0.8, 0.92)}
    spread = np.linspace(-0.02, 0.02, 100)
    draws = {"hybrid": 0.8 + spread, "boosting": 0.9 + spread, "ewma": 0.89 - spread}
    replicates = {name: dict.fromkeys(jobs_scores(), values) for name, values in draws.items()}
    won = winners(models, replicates)
    assert won["f1"] == {"best": "boosting", "not_clearly_worse": ["ewma"]}
    assert won["mae_ms"] == {"best": "hybrid", "not_clearly_worse": []}
    found = differences(models, replicates)["boosting"]["f1"]
    assert found["value"] == pytest.approx(0.1)
    assert (found["low"], found["high"]) == (pytest.approx(0.1), pytest.approx(0.1))  # paired: the spread cancels
    assert not found["overlap"]
    assert differences(models, replicates)["ewma"]["f1"]["overlap"]


def test_what_json_cannot_say() -> None:
    said = finite({"a": [1.0, math.nan], "b": math.inf, "c": "x"})
    assert json.dumps(said, allow_nan=False) == '{"a": [1.0, null], "b": null, "c": "x"}'


def test_every_model_names_its_sources() -> None:
    for model in MODELS:
        folder = jobs.HERE.parent / f"baselines/{model.place.split(':')[0]}.py"
        names = {path.name for path in sources_of(folder)}
        assert {folder.name, "forecaster.py", "scores.py"} <= names
    hybrid = {path.name for path in sources_of(jobs.HERE.parent / "baselines/hybrid.py")}
    assert {"train.py", "keras_model.py", "step.py"} <= hybrid
