"""Linear regression + MLP: the dense network also sees what a ridge regression forecasts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offramp.inference.baselines.mlp import Mlp

RIDGE = 10.0


class LinearMlp(Mlp):
    """The MLP with one more input: the delay, log1p of ms, as a linear function of its features."""

    def learn(self, found: NDArray[np.float32], delay_ms: NDArray[np.float32]) -> None:
        """Fit the linear regression to the training rows."""
        from sklearn.linear_model import Ridge

        self._linear = Ridge(RIDGE).fit(super().inputs(found), np.log1p(delay_ms))

    def inputs(self, found: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the features on their scale, and the linear forecast beside them."""
        scaled = super().inputs(found)
        return np.hstack([scaled, self._linear.predict(scaled).astype(np.float32)[:, None]])
