"""Persistence: the largest delay of the horizon that has just passed is that of the next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.inference.baselines.forecaster import Series, Task, usable
from offramp.inference.baselines.lags import peak_of_last
from offramp.inference.forecast import Prediction
from offramp.inference.scores import classify


def last_peak(series: Series, bins: int) -> NDArray[np.float32]:
    """Return the largest delay of the last `bins` bins after each bin: float32 [T], ms."""
    return peak_of_last(np.nan_to_num(series.bin_peak_ms)[:, None], bins)[:, 0]


def trusting(classes: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return float32 [3, 3]: by the class a point forecast falls into, how often each class came true in training.

    The forecast's own class keeps more than half, so that the most probable class is the one that was forecast.
    """
    counts = np.ones((3, 3))
    np.add.at(counts, (classes, truth), 1)
    rows = counts / counts.sum(axis=1, keepdims=True)
    for i in range(3):
        if rows[i, i] <= 0.5:
            rows[i] *= 0.49 / (1 - rows[i, i])
            rows[i, i] = 0.51
    return np.asarray(rows, np.float32)


class Persistence:
    """The baseline without parameters; its probabilities are the shares of the training part."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.settings: dict[str, Any] = {}

    def fit(self, train: Sequence[Series], validation: Sequence[Series], task: Task) -> None:
        """Learn how often a class stays; see Forecaster.fit."""
        self._task = task
        rows = [usable(series, task) for series in train]
        found = np.concatenate([last_peak(s, task.bins)[at] for s, at in zip(train, rows, strict=True)])
        truth = np.concatenate([s.targets_ms[at, task.horizon] for s, at in zip(train, rows, strict=True)])
        self._trust = trusting(classify(found, task.thresholds_ms), classify(truth, task.thresholds_ms))

    def predict(self, series: Series) -> Prediction:
        """Forecast the last horizon's largest delay; see Forecaster.predict."""
        delay = last_peak(series, self._task.bins)
        return Prediction(self._trust[classify(delay, self._task.thresholds_ms)], delay[:, None])
