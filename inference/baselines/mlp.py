"""The MLP alone: three dense ReLU layers on the hand-made lags of one bin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.inference.baselines.forecaster import Series, Task
from offramp.inference.baselines.lags import features, table
from offramp.inference.baselines.networks import Network, forecast, rows_as_examples, tuned, with_heads
from offramp.inference.forecast import Prediction

CANDIDATES: tuple[dict[str, Any], ...] = (
    {"units": 128, "dropout": 0.1, "learning_rate": 1e-3, "batch": 256},
    {"units": 64, "dropout": 0.3, "learning_rate": 1e-3, "batch": 256},
    {"units": 128, "dropout": 0.3, "learning_rate": 3e-4, "batch": 256},
)


def dense_stack(width: int, settings: dict[str, Any]) -> Any:
    """Return the network over rows of `width` features."""
    import keras
    from keras import layers

    inputs = keras.Input((width,))
    body = inputs
    for _ in range(3):
        body = layers.Dense(settings["units"], "relu")(body)
        body = layers.Dropout(settings["dropout"])(body)
    return with_heads(inputs, body)


class Mlp:
    """Dense layers over the features of `inference.baselines.lags`, standardised."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.settings: dict[str, Any] = {}

    def fit(self, train: Sequence[Series], validation: Sequence[Series], task: Task) -> None:
        """Tune and fit; see Forecaster.fit."""
        self._task = task
        rows, held = table(train, task, task.budget.rows), table(validation, task, task.budget.rows // 3)
        self._mean, self._width = rows.features.mean(axis=0), rows.features.std(axis=0) + 1e-3
        self.learn(rows.features, rows.label_ms)
        rows, held = (part._replace(features=self.inputs(part.features)) for part in (rows, held))
        learned, judged = rows_as_examples(rows, task), rows_as_examples(held, task)
        model, self.settings = tuned(
            lambda one: dense_stack(rows.features.shape[1], one), CANDIDATES, learned, judged, task
        )
        self._network = Network(model, learned)

    def learn(self, found: NDArray[np.float32], delay_ms: NDArray[np.float32]) -> None:
        """Learn what `inputs` needs beside the scale; nothing here."""

    def inputs(self, found: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's inputs of features [n, D]."""
        return np.asarray(np.clip((found - self._mean) / self._width, -8, 8), np.float32)

    def predict(self, series: Series) -> Prediction:
        """Forecast by the two heads; see Forecaster.predict."""
        return forecast(self.outputs(series))

    def outputs(self, series: Series) -> dict[str, NDArray[np.float32]]:
        """Return all outputs of the network after every bin."""
        return self._network.of_rows(self.inputs(features(series, self._task)))
