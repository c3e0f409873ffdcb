"""The compiled kernel as a backend: any batch, no padding, the same bits always."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from offramp.inference.artifact import Artifact
from offramp.inference.forecast import Prediction
from offramp.inference.serving.fixed_shapes import SHAPES, Floats
from offramp.inference.serving.kernel.step import predict_rows
from offramp.inference.serving.predictor import CompiledPredictor


class CompiledBackend(CompiledPredictor):
    """Serves by `inference.serving.kernel.step`; a whole window is its steps."""

    device = "CPU"

    def __init__(self, artifact: Artifact, shapes: Sequence[int] = SHAPES) -> None:
        super().__init__(artifact)
        one = np.zeros((1, self.state_size), np.float32)
        self.predict(
            np.zeros((1, len(self.channels)), np.float32), np.zeros((1, self.spectrum_size), np.float32),
            np.zeros(1, np.int32), one,
        )  # fmt: skip

    @property
    def traces(self) -> int:
        """How many signatures the kernel is compiled for."""
        signatures: Any = getattr(predict_rows, "signatures", ())  # none where kernels run interpreted
        return len(signatures)

    def predict_windows(self, x: Floats, spectrum: Floats) -> Prediction:
        """See Backend.predict_windows; bin by bin over all windows, so that two series share a reading of weights."""
        n, bins = x.shape[:2]
        state = np.zeros((n, self.state_size), np.float32)
        which = np.tile(np.arange(n, dtype=np.int32), bins)
        found = self.predict(
            np.ascontiguousarray(x.swapaxes(0, 1).reshape(n * bins, -1)),
            np.ascontiguousarray(spectrum.swapaxes(0, 1).reshape(n * bins, -1)), which, state,
        )  # fmt: skip
        return Prediction(found.probabilities[-n:], found.delay_ms[-n:])
