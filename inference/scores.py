"""Scores of forecasts: accuracy, macro F1, calibration, error of the median, and those of a persistence baseline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offramp.inference.forecast import QUANTILES

MIN_MS = 0.01
"""A queueing delay below this is none."""

FEW = 1e-7
"""Least probability in a log loss, so that one wrong forecast does not decide it alone."""

CONFIDENCE_BINS = 15
"""Equal bins of confidence, over which forecasts and what came true are compared."""


def terciles(delay_ms: NDArray[np.float32]) -> tuple[float, float]:
    """Return the delays that cut known delays in thirds, NaN left out: where Medium and High begin.

    Where a third and more have no delay they are Normal, and the others are halved.
    """
    known = delay_ms[~np.isnan(delay_ms)]
    low, high = np.quantile(known, [1 / 3, 2 / 3])
    if low >= MIN_MS:
        return float(low), float(high)
    waiting = known[known >= MIN_MS]
    return MIN_MS, float(np.median(waiting)) if len(waiting) else 2 * MIN_MS


def classify(delay_ms: NDArray[np.float32], thresholds_ms: tuple[float, float]) -> NDArray[np.int64]:
    """Return class indices: 0 below the first threshold, 2 from the second on."""
    return np.digitize(delay_ms, thresholds_ms).astype(np.int64)


def macro_f1(truth: NDArray[np.int64], found: NDArray[np.int64]) -> float:
    """Return the mean F1 over the classes that occur in the truth."""
    scores = []
    for kind in np.unique(truth):
        hit = float(np.sum((truth == kind) & (found == kind)))
        scores.append(2 * hit / float(np.sum(truth == kind) + np.sum(found == kind)))
    return float(np.mean(scores)) if scores else 0.0


def log_loss(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Return the mean negative log of the probability given to what came true."""
    given = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.maximum(given, FEW)).mean())


def confidences(
    probabilities: NDArray[np.float32], truth: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the bin of confidence of each forecast: int64 [n]; and 1, its confidence, its hit: float64 [n, 3]."""
    best = probabilities.argmax(axis=1)
    confidence = probabilities[np.arange(len(best)), best].astype(np.float64)
    place = np.minimum((confidence * CONFIDENCE_BINS).astype(np.int64), CONFIDENCE_BINS - 1)
    return place, np.column_stack([np.ones(len(best)), confidence, best == truth])


def calibration_error(reliability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expected calibration error of the most probable class (Guo et al. 2017).

    reliability: [..., CONFIDENCE_BINS, 3], sums of `confidences` by bin.
    """
    n, confidence, hits = (reliability[..., i] for i in range(3))
    error: NDArray[np.float64] = np.abs(confidence - hits).sum(axis=-1) / n.sum(axis=-1)
    return error


def expected_calibration_error(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Return the calibration error of forecasts [n, 3] against the classes that came true [n], n > 0.

    NaN where a forecast is no number, as of a model that noise has drowned.
    """
    if not np.isfinite(probabilities).all():
        return float("nan")
    place, each = confidences(probabilities, truth)
    sums = np.stack([np.bincount(place, column, CONFIDENCE_BINS) for column in each.T], axis=1, dtype=np.float64)
    return float(calibration_error(sums))


def score(
    delay_ms: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    quantiles_ms: NDArray[np.float32],
    now_ms: NDArray[np.float32],
    thresholds_ms: tuple[float, float],
) -> dict[str, float]:
    """Return the scores of forecasts against the truth [n], and of persistence (the delay seen now, [n])."""
    truth, found = classify(delay_ms, thresholds_ms), probabilities.argmax(axis=1)
    same = classify(now_ms, thresholds_ms)
    error = delay_ms[:, None] - quantiles_ms
    q = np.array(QUANTILES)
    return {
        "windows": len(truth),
        "accuracy": float(np.mean(truth == found)),
        "macro_f1": macro_f1(truth, found),
        "mae_ms": float(np.mean(np.abs(error[:, 0]))),
        "pinball_ms": float(np.mean(np.maximum(q * error, (q - 1) * error))),
        "coverage_q50": float(np.mean(delay_ms <= quantiles_ms[:, 0])),
        "coverage_q90": float(np.mean(delay_ms <= quantiles_ms[:, 1])),
        "coverage_q99": float(np.mean(delay_ms <= quantiles_ms[:, 2])),
        "ece": expected_calibration_error(probabilities, truth),
        "persistence_accuracy": float(np.mean(truth == same)),
        "persistence_macro_f1": macro_f1(truth, same),
        "persistence_mae_ms": float(np.mean(np.abs(delay_ms - now_ms))),
    }
