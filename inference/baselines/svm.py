"""SVM: a linear machine on a Nystroem map of the radial kernel, for the class and for the delay.

An exact kernel machine on hundreds of thousands of rows is out of reach (its time grows with the square of the rows),
so it learns from at most `Budget.kernel_rows` rows through LANDMARKS of them. Probabilities: logistic regression on the
machine's scores, fitted to the validation part.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.inference.baselines.forecaster import Series, Task
from offramp.inference.baselines.lags import TrainingRows, features, table
from offramp.inference.baselines.search import all_classes, best_of
from offramp.inference.baselines.support import regressed, support_regression
from offramp.inference.forecast import Prediction
from offramp.inference.scores import log_loss

CANDIDATES: tuple[dict[str, Any], ...] = (
    {"gamma": 0.02, "c": 0.1},
    {"gamma": 0.005, "c": 0.1},
    {"gamma": 0.02, "c": 1.0},
    {"gamma": 0.005, "c": 1.0},
)
LANDMARKS = 300


class Svm:
    """LinearSVC and LinearSVR behind one map."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.settings: dict[str, Any] = {}

    def fit(self, train: Sequence[Series], validation: Sequence[Series], task: Task) -> None:
        """Tune kernel width and cost by the class; the delay takes the same. See Forecaster.fit."""
        self._task = task
        rows, held = (table(part, task, task.budget.kernel_rows) for part in (train, validation))
        few = rows.every(2)
        chosen = best_of(CANDIDATES, lambda one: self._loss(few, held, one), task.budget.trials)
        self._classifier, self._calibration = self._classify(rows, held, chosen)
        mapped = self._map.transform(rows.features)
        self._regressor = support_regression(mapped, rows.label_ms, chosen["c"], task.seed)
        self.settings = {"rows": len(rows.label_ms), "landmarks": LANDMARKS, **chosen}

    def predict(self, series: Series) -> Prediction:
        """Forecast by both machines; see Forecaster.predict."""
        mapped = self._map.transform(features(series, self._task))
        return Prediction(self._probabilities(mapped), regressed(self._regressor, mapped))

    def _classify(self, rows: TrainingRows, held: TrainingRows, settings: dict[str, Any]) -> tuple[Any, Any]:
        from sklearn.kernel_approximation import Nystroem
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import LinearSVC

        marks = min(LANDMARKS, len(rows.classes))
        width = settings["gamma"] / rows.features.shape[1] * 10
        self._map = make_pipeline(
            StandardScaler(), Nystroem(gamma=width, n_components=marks, random_state=self._task.seed)
        )
        mapped = self._map.fit_transform(rows.features)
        machine = LinearSVC(C=settings["c"], random_state=self._task.seed, dual=False).fit(mapped, rows.classes)
        scores = machine.decision_function(self._map.transform(held.features)).reshape(len(held.classes), -1)
        return machine, LogisticRegression(max_iter=500).fit(scores, held.classes)

    def _probabilities(self, mapped: NDArray[np.float64]) -> NDArray[np.float32]:
        scores = self._classifier.decision_function(mapped).reshape(len(mapped), -1)
        return all_classes(self._calibration.predict_proba(scores), self._calibration.classes_)

    def _loss(self, rows: TrainingRows, held: TrainingRows, settings: dict[str, Any]) -> float:
        self._classifier, self._calibration = self._classify(rows, held, settings)
        return log_loss(self._probabilities(self._map.transform(held.features)), held.classes)
