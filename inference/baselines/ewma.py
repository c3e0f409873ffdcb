"""The exponential average: the horizon's peaks, averaged with a memory tuned on the validation part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from offramp.inference.baselines.forecaster import Series, Task, usable
from offramp.inference.baselines.persistence import last_peak, trusting
from offramp.inference.baselines.search import best_of
from offramp.inference.forecast import Prediction
from offramp.inference.scores import classify

ALPHAS = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
PEAKS = (1.0, 0.5, 0.1)


def average(values: NDArray[np.float32], alpha: float) -> NDArray[np.float32]:
    """Return the exponential average of values [T] after each of them, beginning with the first."""
    begin = np.array([(1 - alpha) * float(values[0])]) if len(values) else np.zeros(1)
    found, _ = lfilter([alpha], [1.0, alpha - 1.0], values.astype(np.float64), zi=begin)
    return np.asarray(np.maximum(found, 0.0), np.float32)


class Ewma:
    """Exponential average of the largest delay of the last bins; both lengths are chosen by validation MAE."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.settings: dict[str, Any] = {}

    def fit(self, train: Sequence[Series], validation: Sequence[Series], task: Task) -> None:
        """Choose the memory and learn how often a class comes true; see Forecaster.fit."""
        self._task = task
        candidates = [{"alpha": alpha, "peak_share": share} for share in PEAKS for alpha in ALPHAS]
        self.settings = best_of(candidates, lambda one: self._mae(validation, one), len(candidates))
        pairs = [self._pair(series, self.settings) for series in train]
        found, truth = (np.concatenate(part) for part in zip(*pairs, strict=True))
        self._trust = trusting(classify(found, task.thresholds_ms), classify(truth, task.thresholds_ms))

    def predict(self, series: Series) -> Prediction:
        """Forecast the average; see Forecaster.predict."""
        delay = self._delay(series, self.settings)
        return Prediction(self._trust[classify(delay, self._task.thresholds_ms)], delay[:, None])

    def _delay(self, series: Series, settings: dict[str, Any]) -> NDArray[np.float32]:
        bins = max(1, round(self._task.bins * settings["peak_share"]))
        return average(last_peak(series, bins), settings["alpha"])

    def _pair(self, series: Series, settings: dict[str, Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        at = usable(series, self._task)
        return self._delay(series, settings)[at], series.targets_ms[at, self._task.horizon]

    def _mae(self, validation: Sequence[Series], settings: dict[str, Any]) -> float:
        found, truth = (np.concatenate(p) for p in zip(*(self._pair(s, settings) for s in validation), strict=True))
        return float(np.mean(np.abs(found - truth)))
