"""What the model is trained on: one series of bins of one link or device, with its targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TrainingSequence:
    """One series in order of time.

    x: float32 [T, F] normalised channels; spectrum: float32 [T, K]; label_ms: float32 [T] largest delay within the
    horizon after each bin, NaN where unknown; source: what it was made from (splits keep a source whole);
    weight: of each of its bins in the loss.
    """

    x: NDArray[np.float32]
    spectrum: NDArray[np.float32]
    label_ms: NDArray[np.float32]
    source: str
    weight: float = 1.0
