"""Scores as functions of sums, so that a bootstrap replicate is a weighted sum and no second look at the forecasts.

Every forecast adds a row of numbers: its cell of the confusion matrix, its error, its place in the reliability diagram
and in the histograms that the ROC is made of. All scores follow from the sum of such rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.inference.forecast import CLASSES, QUANTILES, Prediction
from offramp.inference.scores import CONFIDENCE_BINS, calibration_error, confidences

SCORE_BINS = 200
"""Cells of a class' score histogram, by quantile: AUC is exact to about 1 / SCORE_BINS squared."""

HIGHER_IS_BETTER = ("accuracy", "precision", "recall", "f1", *(f"auc_{name.lower()}" for name in CLASSES))
LOWER_IS_BETTER = ("mae_ms", "rmse_ms", "ece", "log_loss")
SCORES = (*HIGHER_IS_BETTER, *LOWER_IS_BETTER, *(f"coverage_q{round(100 * q)}" for q in QUANTILES[1:]))


class Sums(NamedTuple):
    """Sums over forecasts, with any leading axes.

    confusion: [..., 3, 3] truth by forecast; errors: [..., 6] forecasts, absolute error, squared error, log loss,
    truths at or below the 0.9 and the 0.99 quantile (NaN of a forecaster without quantiles); reliability: [..., bins,
    3] forecasts, confidence, hits; ranks: [..., 3, 2, SCORE_BINS] by class, false or true, by ascending score.
    """

    confusion: NDArray[np.float64]
    errors: NDArray[np.float64]
    reliability: NDArray[np.float64]
    ranks: NDArray[np.float64]


def sums_by_cell(
    found: Prediction, delay_ms: NDArray[np.float32], classes: NDArray[np.int64], cells: NDArray[np.int64], count: int
) -> Sums:
    """Return the sums of the forecasts of each cell: rows [n] each belong to cells[i] of `count`."""
    n = len(delay_ms)
    best = found.probabilities.argmax(axis=1)
    error = found.quantiles_ms[:, 0].astype(np.float64) - delay_ms
    likely = np.clip(found.probabilities[np.arange(n), classes], 1e-7, 1.0)
    whole = found.quantiles_ms.shape[1] == len(QUANTILES)
    covered = [delay_ms <= found.quantiles_ms[:, i] if whole else np.full(n, np.nan) for i in range(1, len(QUANTILES))]
    errors = np.column_stack([np.ones(n), np.abs(error), error**2, -np.log(likely), *covered])
    place, three = confidences(found.probabilities, classes)
    return Sums(
        _count(cells, count, classes * 3 + best, 9).reshape(count, 3, 3),
        np.stack([np.bincount(cells, column, count) for column in errors.T], axis=1),
        np.stack([_count(cells, count, place, CONFIDENCE_BINS, column) for column in three.T], axis=2),
        _ranks(found.probabilities, classes, cells, count),
    )


def _count(
    cells: NDArray[np.int64],
    count: int,
    place: NDArray[np.int64],
    places: int,
    weight: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return a histogram of places for each cell: float64 [count, places]."""
    return np.bincount(cells * places + place, weight, count * places).astype(np.float64).reshape(count, places)


def _ranks(
    probabilities: NDArray[np.float32], classes: NDArray[np.int64], cells: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Return each cell's histograms of the scores of each class: float64 [count, 3, 2, SCORE_BINS]."""
    out = np.zeros((count, 3, 2, SCORE_BINS))
    for kind in range(3):
        score = probabilities[:, kind]
        edges = np.unique(np.quantile(score, np.linspace(0, 1, SCORE_BINS)[1:], method="lower"))
        place = np.minimum(np.searchsorted(edges, score, side="left"), SCORE_BINS - 1)
        true = (classes == kind).astype(np.int64)
        out[:, kind] = _count(cells, count, true * SCORE_BINS + place, 2 * SCORE_BINS).reshape(count, 2, SCORE_BINS)
    return out


def weighted(sums: Sums, weights: NDArray[np.float64]) -> Sums:
    """Return the sums of replicates: cells' sums [c, ...] times weights [r, c] are [r, ...]."""
    return Sums(*(np.tensordot(weights, part, axes=1) for part in sums))


def scores(sums: Sums) -> dict[str, NDArray[np.float64]]:
    """Return every score of SCORES, of the leading axes of the sums; NaN where there is nothing to say."""
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall, f1 = by_class(sums.confusion)
        n = sums.errors[..., 0]
        out = {"accuracy": np.trace(sums.confusion, axis1=-2, axis2=-1) / n}
        for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
            out[name] = np.nanmean(np.where(sums.confusion.sum(axis=-1) > 0, values, np.nan), axis=-1)
        area = auc(sums.ranks)
        out |= {f"auc_{name.lower()}": area[..., i] for i, name in enumerate(CLASSES)}
        out["mae_ms"], out["rmse_ms"] = sums.errors[..., 1] / n, np.sqrt(sums.errors[..., 2] / n)
        out["ece"], out["log_loss"] = calibration_error(sums.reliability), sums.errors[..., 3] / n
        for i, q in enumerate(QUANTILES[1:]):
            out[f"coverage_q{round(100 * q)}"] = sums.errors[..., 4 + i] / n
    return out


def by_class(confusion: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return precision, recall and F1 of each class [..., 3]; a class that was never forecast has precision 0."""
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, said = confusion.sum(axis=-1), confusion.sum(axis=-2)
    return hit / np.maximum(said, 1e-12), hit / np.maximum(true, 1e-12), 2 * hit / np.maximum(true + said, 1e-12)


def auc(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area under the ROC [...] of histograms [..., 2, cells] of false and true by ascending score."""
    false, true = ranks[..., 0, :], ranks[..., 1, :]
    below = np.cumsum(false, axis=-1) - false / 2
    area: NDArray[np.float64] = (true * below).sum(axis=-1) / (true.sum(axis=-1) * false.sum(axis=-1))
    return area


def roc(ranks: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return false and true positive rates, from (0, 0) to (1, 1), of histograms [2, cells]."""
    falling = np.cumsum(ranks[:, ::-1], axis=1)
    rates = np.hstack([np.zeros((2, 1)), falling]) / np.maximum(falling[:, -1:], 1e-12)
    return rates[0], rates[1]
