"""SVR-LSTM: a support vector regression of the delay on the LSTM's last layer, whose class head stays."""

from __future__ import annotations

from collections.abc import Sequence

from inference.rivals.forecaster import Series, Task
from inference.rivals.lstm import Lstm
from inference.rivals.support import COST, on_hidden, regressed
from inference.serve import Prediction


class SvrLstm(Lstm):
    """The LSTM with a support vector regression in the place of its delay head."""

    def fit(self, train: Sequence[Series], validation: Sequence[Series], task: Task) -> None:
        """Fit the LSTM, then the regression to its last layer; see Forecaster.fit."""
        super().fit(train, validation, task)
        self._machine = on_hidden(self, train, task)
        self.settings["c"] = COST

    def predict(self, series: Series) -> Prediction:
        """Forecast the class by the LSTM, the delay by the regression; see Forecaster.predict."""
        outputs = self.outputs(series)
        return Prediction(outputs["classes"], regressed(self._machine, outputs["body"]))
