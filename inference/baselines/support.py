"""Support vector regression of the delay on the features of a bin: a kernel map's, or a network's last layer's."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Regression(NamedTuple):
    """A fitted machine that forecasts log1p of the delay, and the largest it has learned from."""

    machine: Any
    top: float


def support_regression(inputs: NDArray[Any], delay_ms: NDArray[np.float32], c: float, seed: int) -> Regression:
    """Return a linear support vector regression of log1p of the delay, by the squared loss, which ends surely."""
    from sklearn.svm import LinearSVR

    machine = LinearSVR(
        epsilon=0.02, C=c, loss="squared_epsilon_insensitive", dual=False, max_iter=5_000, random_state=seed
    )
    target = np.log1p(delay_ms)
    return Regression(machine.fit(inputs, target), float(target.max()))


def regressed(regression: Regression, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Return the delay it forecasts, none longer than any it has learned from: float32 [n, 1], ms."""
    delay = np.expm1(np.clip(regression.machine.predict(inputs), 0.0, regression.top))
    return np.asarray(delay, np.float32)[:, None]
