"""The model's input of one raw series, as training, evaluation and the reference set make it and the stream does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offramp.stream.windows.normaliser import ScaleLimits, scaled
from offramp.stream.windows.stft import Spectra


def model_input(raw: NDArray[np.float32], limits: ScaleLimits) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a series [T, F] on the scale, and its spectra [T, K] from fresh state; both float32."""
    x = scaled(np.ascontiguousarray(raw), *limits)
    return x, Spectra(1).update(x, np.zeros(len(x), np.int32), np.zeros(len(x), np.uint8))
