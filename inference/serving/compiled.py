"""The network as a compiled kernel: any batch, no padding, the same bits always."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.inference.artifact import Artifact
from offramp.inference.forecast import Prediction
from offramp.inference.network.preset import WEIGHT_NAMES
from offramp.inference.serving.kernel.step import predict_rows
from offramp.inference.serving.predictor import Floats, Served


class CompiledPredictor(Served):
    """Serves by `inference.serving.kernel.step`, in any batch (`shapes` is unused); a whole window is its steps."""

    device = "CPU"

    def __init__(self, artifact: Artifact, shapes: Sequence[int] = ()) -> None:
        super().__init__(artifact)
        self._weights = tuple(np.ascontiguousarray(artifact.weights[name], np.float32) for name in WEIGHT_NAMES)

    @property
    def traces(self) -> int:
        """How many signatures the kernel is compiled for."""
        signatures: Any = getattr(predict_rows, "signatures", ())  # none where kernels run interpreted
        return len(signatures)

    def predict(self, x: Floats, spectrum: Floats, series: NDArray[np.int32], state: Floats) -> Prediction:
        """Predict rows; see Predictor.predict."""
        out = Prediction(np.empty((len(x), 3), np.float32), np.empty((len(x), 3), np.float32))
        wide = self.rows(x, series, state)
        predict_rows(self._weights, wide, spectrum, series, state, out.probabilities, out.quantiles_ms)
        return out

    def predict_windows(self, x: Floats, spectrum: Floats) -> Prediction:
        """See Backend.predict_windows; bin by bin over all windows, so that two series share a reading of weights."""
        n, bins = x.shape[:2]
        state = np.zeros((n, self.state_size), np.float32)
        which = np.tile(np.arange(n, dtype=np.int32), bins)
        found = self.predict(
            np.ascontiguousarray(x.swapaxes(0, 1).reshape(n * bins, -1)),
            np.ascontiguousarray(spectrum.swapaxes(0, 1).reshape(n * bins, -1)), which, state,
        )  # fmt: skip
        return Prediction(found.probabilities[-n:], found.quantiles_ms[-n:])
