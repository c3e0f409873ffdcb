"""The data of an evaluation: the three parts of a data set as forecasters take them, and the rows that are scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.inference.baselines.forecaster import Budget, Series, Task, usable
from offramp.inference.evaluation.bootstrap import Cells, cells_of
from offramp.inference.forecast import Prediction
from offramp.inference.scores import classify, terciles

Transform = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]


@dataclass(frozen=True, slots=True)
class EvaluationData:
    """A data set, ready.

    parts: series by train, validation, test; transform: raw [T, F] to normalised [T, F] and spectrum [T, K];
    thresholds_ms: None for the terciles of the training part, of each horizon its own; kinds: of each origin.
    """

    parts: Mapping[str, Sequence[Series]]
    transform: Transform
    normaliser: Mapping[str, NDArray[Any]]
    channels: tuple[str, ...]
    horizons_ms: tuple[int, ...]
    bin_ms: int
    fingerprint: str
    kinds: Mapping[str, str]
    thresholds_ms: tuple[float, float] | None
    seed: int
    command: str

    def task(self, horizon_ms: int, budget: Budget) -> Task:
        """Return what is to be forecast at a horizon of the data set."""
        at = self.horizons_ms.index(horizon_ms)
        limits = self.thresholds_ms or terciles(self.targets("train", at))
        return Task(
            at, horizon_ms, self.bin_ms, limits, self.channels, self.seed, budget, self.normaliser, self.command
        )

    def targets(self, part: str, horizon: int) -> NDArray[np.float32]:
        """Return the known targets of a part. Raise InputError where there is none."""
        known = [s.targets_ms[~np.isnan(s.targets_ms[:, horizon]), horizon] for s in self.parts[part]]
        if not sum(map(len, known)):
            raise InputError(
                f"the data set's {part} part has no known delay {self.horizons_ms[horizon]} ms ahead; "
                "build it of more or longer recordings"
            )
        return np.concatenate(known)


@dataclass(frozen=True, slots=True)
class TestSet:
    """The rows of the test part that every forecaster is scored on, n of them, and their truth."""

    series: tuple[Series, ...]
    rows: tuple[NDArray[np.int64], ...]
    label_ms: NDArray[np.float32]
    classes: NDArray[np.int64]
    cells: Cells

    def take(self, predictions: Sequence[Prediction]) -> Prediction:
        """Return the forecasts of the rows, of the predictions of each series."""
        pairs = list(zip(predictions, self.rows, strict=True))
        return Prediction(
            np.concatenate([found.probabilities[rows] for found, rows in pairs]),
            np.concatenate([found.quantiles_ms[rows] for found, rows in pairs]),
        )


def test_set_of(data: EvaluationData, task: Task) -> TestSet:
    """Return the rows of the test part with a known target and a whole window before them."""
    data.targets("test", task.horizon)
    picked = [(s, usable(s, task)) for s in data.parts["test"]]
    picked = [(s, rows) for s, rows in picked if len(rows)]
    if not picked:
        raise InputError("no series of the test part is longer than a window; build the data set of longer recordings")
    delay = np.concatenate([s.targets_ms[rows, task.horizon] for s, rows in picked])
    time = np.concatenate([s.time_ns + rows * (task.bin_ms * 1_000_000) for s, rows in picked])
    origins = np.repeat([s.origin for s, _ in picked], [len(rows) for _, rows in picked])
    return TestSet(
        tuple(s for s, _ in picked), tuple(rows for _, rows in picked), delay, classify(delay, task.thresholds_ms),
        cells_of(origins.tolist(), time, task.horizon_ms),
    )  # fmt: skip
