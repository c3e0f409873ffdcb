"""The hybrid as a forecaster: trained as `offramp train` does it, and asked as the stream asks it, step by step."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from offramp.inference.baselines.forecaster import HISTORY_BINS, Series, Task, portion
from offramp.inference.dataset.sequence import TrainingSequence
from offramp.inference.forecast import Prediction
from offramp.inference.serving.table import open_predictor
from offramp.inference.training.train import train as train_hybrid

CHUNK = 1_024
"""Bins of the pieces of which a part is drawn where the budget does not reach for all."""


class Hybrid:
    """The shipped shape of the network; its artifact is kept in `folder` and serves `offramp replay --model`."""

    preset = "default"

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.settings: dict[str, Any] = {}
        self._folder = folder / "artifact"

    def fit(self, train: Sequence[Series], validation: Sequence[Series], task: Task) -> None:
        """Train the artifact; its early stopping and its scores are on the validation part. See Forecaster.fit."""
        meta = {
            "name": f"hybrid-{self.preset}", "channels": list(task.channels), "bin_ms": task.bin_ms,
            "spectrum_size": int(train[0].spectrum.shape[1]), "horizon_ms": task.horizon_ms, "command": task.command,
        }  # fmt: skip
        with redirect_stdout(sys.stderr):
            artifact = train_hybrid(
                self._sequences(train, task, task.budget.bins), dict(task.normaliser), self._folder, meta,
                preset=self.preset, seed=task.seed, epochs=task.budget.epochs, thresholds_ms=task.thresholds_ms,
                validation=self._sequences(validation, task, max(2 * CHUNK, task.budget.bins // 4)),
            )  # fmt: skip
        self._predictor = open_predictor(self._folder)
        weights = sum(array.size for array in artifact.weights.values())
        self.settings = {"preset": self.preset, "parameters": weights}

    def predict(self, series: Series) -> Prediction:
        """Forecast by one step a bin from a fresh state; see Forecaster.predict."""
        state = np.zeros((1, self._predictor.state_size), np.float32)
        return self._predictor.predict(series.x, series.spectrum, np.zeros(len(series.x), np.int32), state)

    def _sequences(self, series: Sequence[Series], task: Task, most: int) -> list[TrainingSequence]:
        """Return series as `train` takes them: all, or as many pieces as the budget has bins."""
        bins = sum(len(each.x) for each in series)
        out = []
        for each in portion(series, most / max(bins, 1), task.seed, task.bin_ms, CHUNK):
            delay = each.targets_ms[:, task.horizon].copy()
            delay[: HISTORY_BINS - 1] = np.nan
            out.append(TrainingSequence(each.x, each.spectrum, delay, each.source))
        return out


class PaperHybrid(Hybrid):
    """The published hyperparameters."""

    preset = "paper"
