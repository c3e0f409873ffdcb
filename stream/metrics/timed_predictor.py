"""A predictor that measures each call: how long it takes, and how many forecasts it makes."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from offramp.inference.forecast import Prediction
from offramp.inference.serving.predictor import Floats, Predictor
from offramp.stream.metrics.table import Observe


class TimedPredictor:
    """Predicts as `predictor` does, and reports each call to `observe`; see inference.serving.predictor.Predictor."""

    def __init__(self, predictor: Predictor, observe: Observe) -> None:
        self._predictor, self._observe = predictor, observe
        self.name, self.sha = predictor.name, predictor.sha
        self.channels, self.spectrum_size, self.state_size = (
            predictor.channels, predictor.spectrum_size, predictor.state_size,
        )  # fmt: skip
        self.bin_ms, self.horizon_ms = predictor.bin_ms, predictor.horizon_ms
        self.thresholds_ms = predictor.thresholds_ms

    def predict(self, x: Floats, spectrum: Floats, series: NDArray[np.int32], state: Floats) -> Prediction:
        """Predict rows; see Predictor.predict."""
        begun_s = time.perf_counter()
        prediction = self._predictor.predict(x, spectrum, series, state)
        self._observe("offramp_model_seconds", time.perf_counter() - begun_s)
        self._observe("offramp_model_rows", len(x))
        return prediction
