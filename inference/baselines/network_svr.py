"""MLP-SVR and SVR-LSTM: a support vector regression of the delay on a network's last layer, whose class head stays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from offramp.inference.baselines.forecaster import Series, Task, usable
from offramp.inference.baselines.lstm import Lstm
from offramp.inference.baselines.mlp import Mlp
from offramp.inference.baselines.support import Regression, regressed, support_regression
from offramp.inference.forecast import Prediction

COST = 1.0


class NetworkSvr:
    """A network with a support vector regression in the place of its delay head."""

    kind: ClassVar[type[Mlp] | type[Lstm]]

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.settings: dict[str, Any] = {}
        self._network = self.kind(name, folder)

    def fit(self, train: Sequence[Series], validation: Sequence[Series], task: Task) -> None:
        """Fit the network, then the regression to its last layer; see Forecaster.fit."""
        self._network.fit(train, validation, task)
        self._regression = self._on_last_layer(train, task)
        self.settings = {**self._network.settings, "c": COST}

    def predict(self, series: Series) -> Prediction:
        """Forecast the class by the network, the delay by the regression; see Forecaster.predict."""
        outputs = self._network.outputs(series)
        return Prediction(outputs["classes"], regressed(self._regression, outputs["body"]))

    def _on_last_layer(self, train: Sequence[Series], task: Task) -> Regression:
        """Return the regression of the delay over at most Budget.kernel_rows rows."""
        places = [usable(series, task) for series in train]
        step = -(-sum(map(len, places)) // task.budget.kernel_rows)
        hidden, delays = [], []
        for series, place in zip(train, places, strict=True):
            rows = place[::step]
            if len(rows):
                hidden.append(self._network.outputs(series)["body"][rows])
                delays.append(series.targets_ms[rows, task.horizon])
        return support_regression(np.concatenate(hidden), np.concatenate(delays), COST, task.seed)


class MlpSvr(NetworkSvr):
    """On the MLP's."""

    kind = Mlp


class SvrLstm(NetworkSvr):
    """On the LSTM's."""

    kind = Lstm
