"""The LSTM alone: two recurrent layers over the normalised channels, no dense layers before, no spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.inference.baselines.forecaster import Series, Task
from offramp.inference.baselines.networks import Network, forecast, of_time, tuned, with_heads
from offramp.inference.forecast import Prediction

CANDIDATES: tuple[dict[str, Any], ...] = (
    {"units": 64, "dropout": 0.1, "learning_rate": 2e-3, "batch": 32},
    {"units": 64, "dropout": 0.3, "learning_rate": 1e-3, "batch": 32},
    {"units": 96, "dropout": 0.1, "learning_rate": 2e-3, "batch": 32},
)


def recurrent(channels: int, settings: dict[str, Any]) -> Any:
    """Return the network over series of `channels`."""
    import keras
    from keras import layers

    inputs = keras.Input((None, channels))
    body = layers.LSTM(settings["units"], return_sequences=True)(inputs)
    body = layers.LSTM(settings["units"], return_sequences=True)(layers.Dropout(settings["dropout"])(body))
    return with_heads(inputs, layers.Dropout(settings["dropout"])(body))


class Lstm:
    """Two LSTM layers, their state carried through the whole series."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.settings: dict[str, Any] = {}

    def fit(self, train: Sequence[Series], validation: Sequence[Series], task: Task) -> None:
        """Tune and fit; see Forecaster.fit."""
        learn, held = of_time(train, validation, task)
        model, self.settings = tuned(lambda one: recurrent(len(task.channels), one), CANDIDATES, learn, held, task)
        self._network = Network(model, learn)

    def predict(self, series: Series) -> Prediction:
        """Forecast by the two heads; see Forecaster.predict."""
        return forecast(self.outputs(series))

    def outputs(self, series: Series) -> dict[str, NDArray[np.float32]]:
        """Return all outputs of the network after every bin."""
        return self._network.of_series(series.x)
