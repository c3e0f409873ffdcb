"""Gradient boosting on hand-made lags: the baseline to beat.

Two ensembles, one for the class and one for the delay, each stopped by its own loss on the validation part; the delay
is learned by absolute error, of log1p(ms) or of ms, whichever has the smaller validation MAE.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from offramp.inference.baselines.forecaster import Series, Task
from offramp.inference.baselines.lags import TrainingRows, features, table
from offramp.inference.baselines.search import all_classes, best_of
from offramp.inference.forecast import Prediction
from offramp.inference.scores import log_loss

CANDIDATES: tuple[dict[str, Any], ...] = (
    {"max_leaf_nodes": 31, "l2_regularization": 1.0, "learning_rate": 0.08, "max_features": 0.3},
    {"max_leaf_nodes": 15, "l2_regularization": 10.0, "learning_rate": 0.08, "max_features": 0.3},
    {"max_leaf_nodes": 63, "l2_regularization": 10.0, "learning_rate": 0.05, "max_features": 0.3},
    {"max_leaf_nodes": 15, "l2_regularization": 10.0, "learning_rate": 0.05, "max_features": 1.0},
)
SEARCH_SHARE = 3
"""The search sees every third row; the winner learns from all."""


class Boosting:
    """sklearn's HistGradientBoosting, classifier and regressor."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.settings: dict[str, Any] = {}

    def fit(self, train: Sequence[Series], validation: Sequence[Series], task: Task) -> None:
        """Tune and fit both ensembles; see Forecaster.fit."""
        self._task = task
        self._rounds = max(20, 24 * task.budget.epochs)
        rows, held = table(train, task, task.budget.rows), table(validation, task, task.budget.rows // 3)
        few = rows.every(SEARCH_SHARE)
        most = task.budget.trials
        of_class = best_of(CANDIDATES, lambda one: self._class_loss(few, held, one), most)
        targets = [{**one, "log": log} for one in CANDIDATES for log in (True, False)]
        of_delay = best_of(targets, lambda one: self._mae(few, held, one), most)
        self._classifier, self._regressor = self._classify(rows, held, of_class), self._regress(rows, held, of_delay)
        self.settings = {
            "rows": len(rows.label_ms), "class": {**of_class, "rounds": int(self._classifier.n_iter_)},
            "delay": {**of_delay, "rounds": int(self._regressor.n_iter_)},
        }  # fmt: skip

    def predict(self, series: Series) -> Prediction:
        """Forecast by both ensembles; see Forecaster.predict."""
        found = features(series, self._task)
        probabilities = all_classes(self._classifier.predict_proba(found), self._classifier.classes_)
        return Prediction(probabilities, self._delay(found, self._regressor, self.settings["delay"])[:, None])

    def _classify(self, rows: TrainingRows, held: TrainingRows, settings: dict[str, Any]) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier

        model = HistGradientBoostingClassifier(**self._common(), **settings)
        seen = np.isin(held.classes, rows.classes)
        return model.fit(rows.features, rows.classes, X_val=held.features[seen], y_val=held.classes[seen])

    def _regress(self, rows: TrainingRows, held: TrainingRows, settings: dict[str, Any]) -> Any:
        from sklearn.ensemble import HistGradientBoostingRegressor

        kept = {key: value for key, value in settings.items() if key != "log"}
        model = HistGradientBoostingRegressor(loss="absolute_error", **self._common(), **kept)
        turn = np.log1p if settings["log"] else np.asarray
        return model.fit(rows.features, turn(rows.label_ms), X_val=held.features, y_val=turn(held.label_ms))

    def _common(self) -> dict[str, Any]:
        return {
            "max_iter": self._rounds, "early_stopping": True, "n_iter_no_change": 15, "random_state": self._task.seed
        }  # fmt: skip

    def _delay(self, found: Any, model: Any, settings: dict[str, Any]) -> Any:
        delay = model.predict(found)
        return np.maximum(np.expm1(delay) if settings["log"] else delay, 0.0).astype(np.float32)

    def _class_loss(self, rows: TrainingRows, held: TrainingRows, settings: dict[str, Any]) -> float:
        model = self._classify(rows, held, settings)
        return log_loss(all_classes(model.predict_proba(held.features), model.classes_), held.classes)

    def _mae(self, rows: TrainingRows, held: TrainingRows, settings: dict[str, Any]) -> float:
        found = self._delay(held.features, self._regress(rows, held, settings), settings)
        return float(np.mean(np.abs(found - held.label_ms)))
