"""A predictor that stands beside the real ones: no model, the same promises."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offramp.inference.forecast import Prediction
from offramp.stream.channels import BIN_MS, CHANNELS, SPECTRUM_SIZE


class FakePredictor:
    """Deterministic and batch-invariant: says High where the smoothed delay peak is high."""

    name, sha, horizon_ms, bin_ms, state_size = "fake", "0" * 64, 500, BIN_MS, 2
    channels, spectrum_size, thresholds_ms = CHANNELS, SPECTRUM_SIZE, (1.0, 10.0)

    def predict(
        self,
        x: NDArray[np.float32],
        spectrum: NDArray[np.float32],
        series: NDArray[np.int32],
        state: NDArray[np.float32],
    ) -> Prediction:
        assert x.dtype == spectrum.dtype == state.dtype == np.float32
        probabilities = np.zeros((len(x), 3), np.float32)
        peak = CHANNELS.index("delay_peak")
        for row in range(len(x)):
            own = state[series[row]]
            own[0] = np.float32(0.8) * own[0] + np.float32(0.2) * x[row, peak]
            own[1] += np.float32(1)
            probabilities[row, 2] = min(own[0] * 2, 1)
        probabilities[:, 0] = 1 - probabilities[:, 2]
        delay = probabilities[:, 2:3] * np.array([10, 20, 30], np.float32)
        return Prediction(probabilities, delay)
