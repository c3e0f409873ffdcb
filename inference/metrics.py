"""How good forecasts are: accuracy, macro F1, error of the median, and the baseline of persistence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.calibration import expected_calibration_error
from inference.forecast import QUANTILES

LEAST_MS = 0.01
"""A queueing delay below this is none."""


def terciles(delay_ms: NDArray[np.float32]) -> tuple[float, float]:
    """Return the delays that cut known delays in thirds, NaN left out: where Medium and High begin.

    Where a third and more have no delay they are Normal, and the others are halved.
    """
    known = delay_ms[~np.isnan(delay_ms)]
    low, high = np.quantile(known, [1 / 3, 2 / 3])
    if low >= LEAST_MS:
        return float(low), float(high)
    waiting = known[known >= LEAST_MS]
    return LEAST_MS, float(np.median(waiting)) if len(waiting) else 2 * LEAST_MS


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
