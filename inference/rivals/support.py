"""Support vector regression of the delay: on a kernel map's features, or on what a network has in its last layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.rivals.forecaster import Series, Task, usable

COST = 1.0


class HasOutputs(Protocol):
    """A network that shows its last layer."""

    def outputs(self, series: Series) -> dict[str, NDArray[np.float32]]:
        """Return its outputs after every bin, `body` among them."""
        ...


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


def on_hidden(network: HasOutputs, train: Sequence[Series], task: Task) -> Regression:
    """Return the regression of the delay on a network's last layer, over at most Budget.kernel_rows rows."""
    places = [usable(series, task) for series in train]
    step = -(-sum(map(len, places)) // task.budget.kernel_rows)
    hidden, delays = [], []
    for series, place in zip(train, places, strict=True):
        rows = place[::step]
        if len(rows):
            hidden.append(network.outputs(series)["body"][rows])
            delays.append(series.delay_ms[rows, task.horizon])
    return support_regression(np.concatenate(hidden), np.concatenate(delays), COST, task.seed)
