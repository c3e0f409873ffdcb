"""The CNN: causal convolutions over the normalised channels; the last layer sees 61 bins, nearly a whole window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from offramp.inference.baselines.forecaster import Series, Task
from offramp.inference.baselines.networks import Network, forecast, of_time, tuned, with_heads
from offramp.inference.forecast import Prediction

CANDIDATES: tuple[dict[str, Any], ...] = (
    {"filters": 64, "dropout": 0.1, "learning_rate": 2e-3, "batch": 32},
    {"filters": 32, "dropout": 0.1, "learning_rate": 2e-3, "batch": 32},
    {"filters": 64, "dropout": 0.3, "learning_rate": 1e-3, "batch": 32},
)
DILATIONS = (1, 2, 4, 8)
KERNEL = 5


def convolutions(channels: int, settings: dict[str, Any]) -> Any:
    """Return the network over series of `channels`."""
    import keras
    from keras import layers

    inputs = keras.Input((None, channels))
    body = inputs
    for dilation in DILATIONS:
        body = layers.Conv1D(settings["filters"], KERNEL, padding="causal", dilation_rate=dilation, activation="relu")(
            body
        )
        body = layers.Dropout(settings["dropout"])(body)
    return with_heads(inputs, layers.Dense(settings["filters"], "relu")(layers.Concatenate()([inputs, body])))


class Cnn:
    """Convolutions that never look ahead."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.settings: dict[str, Any] = {}

    def fit(self, train: Sequence[Series], validation: Sequence[Series], task: Task) -> None:
        """Tune and fit; see Forecaster.fit."""
        learn, held = of_time(train, validation, task)
        model, self.settings = tuned(lambda one: convolutions(len(task.channels), one), CANDIDATES, learn, held, task)
        self._network = Network(model, learn)

    def predict(self, series: Series) -> Prediction:
        """Forecast by the two heads; see Forecaster.predict."""
        return forecast(self._network.of_series(series.x))
