"""The forecast: what the model says of one link or device, one horizon ahead. Loads no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.inference.bin_length import BIN_MS as BIN_MS
from offramp.inference.bin_length import BIN_NS as BIN_NS
from offramp.inference.bin_length import BINS_PER_S as BINS_PER_S

CLASSES = ("Normal", "Medium", "High")
"""The three congestion classes, in order of their index."""

QUANTILES = (0.5, 0.9, 0.99)
"""The quantiles of the delay forecast, in order."""


class Prediction(NamedTuple):
    """Forecasts of many rows.

    probabilities: float32 [n, 3] of Normal, Medium, High; quantiles_ms: float32 [n, 3] quantiles 0.5, 0.9, 0.99, or
    [n, 1].
    """

    probabilities: NDArray[np.float32]
    quantiles_ms: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one scope (`link:NAME` or `device:LINK/ADDRESS`) will meet one horizon after window_end_ns.

    probabilities: of Normal, Medium, High, summing to 1; quantiles_ms: the 0.5, 0.9 and 0.99 quantiles of the largest
    queueing delay within the horizon; bin_end_ms: the virtual queue's delay at the end of the window.
    """

    scope: str
    window_start_ns: int
    window_end_ns: int
    horizon_ms: int
    probabilities: tuple[float, float, float]
    quantiles_ms: tuple[float, float, float]
    bin_end_ms: float
    model: str
    model_sha: str
