"""Naive Bayes + random forest: the forest sees the features and what naive Bayes thinks of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.inference.baselines.forecaster import Series, Task
from offramp.inference.baselines.lags import TrainingRows, features, table
from offramp.inference.baselines.search import all_classes, best_of
from offramp.inference.forecast import Prediction
from offramp.inference.scores import log_loss

CANDIDATES: tuple[dict[str, Any], ...] = (
    {"min_samples_leaf": 20, "max_features": "sqrt"},
    {"min_samples_leaf": 60, "max_features": "sqrt"},
    {"min_samples_leaf": 20, "max_features": 0.2},
    {"min_samples_leaf": 5, "max_features": "sqrt"},
)
MAX_ROWS = 60_000
TREES = 150


class BayesForest:
    """Gaussian naive Bayes, then forests for the class and for log1p of the delay."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.settings: dict[str, Any] = {}

    def fit(self, train: Sequence[Series], validation: Sequence[Series], task: Task) -> None:
        """Fit naive Bayes, tune the forest of the class; that of the delay takes its settings. See Forecaster.fit."""
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.naive_bayes import GaussianNB

        self._task = task
        most = min(task.budget.rows, MAX_ROWS)
        rows, held = table(train, task, most), table(validation, task, most // 3)
        self._bayes = GaussianNB(var_smoothing=1e-3).fit(rows.features, rows.classes)
        rows, held = (each._replace(features=self._with_bayes(each.features)) for each in (rows, held))
        few = rows.every(3)
        chosen = best_of(CANDIDATES, lambda one: self._loss(few, held, one), task.budget.trials)
        trees = min(TREES, 20 * task.budget.epochs)
        self._classifier = self._forest(rows, chosen, trees)
        self._regressor = RandomForestRegressor(trees // 2, n_jobs=2, random_state=task.seed, **chosen)
        self._regressor.fit(rows.features, np.log1p(rows.label_ms))
        self.settings = {"rows": len(rows.label_ms), "trees": trees, **chosen}

    def predict(self, series: Series) -> Prediction:
        """Forecast by both forests; see Forecaster.predict."""
        found = self._with_bayes(features(series, self._task))
        probabilities = all_classes(self._classifier.predict_proba(found), self._classifier.classes_)
        delay = np.expm1(self._regressor.predict(found)).astype(np.float32)
        return Prediction(probabilities, np.maximum(delay, 0)[:, None])

    def _with_bayes(self, found: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.hstack([found, self._bayes.predict_proba(found).astype(np.float32)])

    def _forest(self, rows: TrainingRows, settings: dict[str, Any], trees: int) -> Any:
        from sklearn.ensemble import RandomForestClassifier

        model = RandomForestClassifier(trees, n_jobs=2, random_state=self._task.seed, **settings)
        return model.fit(rows.features, rows.classes)

    def _loss(self, rows: TrainingRows, held: TrainingRows, settings: dict[str, Any]) -> float:
        model = self._forest(rows, settings, 40)
        return log_loss(all_classes(model.predict_proba(held.features), model.classes_), held.classes)
