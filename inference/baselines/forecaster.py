"""The forecaster interface: fitted on series of bins, it forecasts class and delay after every bin from those before.

One interface for the hybrid and all baselines (`inference/baselines/models.py` lists them); one conformance suite,
`tests/conformance/test_forecasters.py`, checks all of them against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.inference.forecast import Prediction

HISTORY_BINS = 64
"""A window; bins with a shorter history are forecast but neither learned from nor scored."""


@dataclass(frozen=True, slots=True)
class Series:
    """One unbroken series of one link or device, T bins.

    raw: float32 [T, F] channels, NaN where missing; x: float32 [T, F] normalised; spectrum: float32 [T, K] newest
    STFT frame; bin_peak_ms: float32 [T] largest delay of the bin; targets_ms: float32 [T, H] targets, NaN where
    unknown; origin: the recording it was made from; time_ns: end of its first bin.
    """

    raw: NDArray[np.float32]
    x: NDArray[np.float32]
    spectrum: NDArray[np.float32]
    bin_peak_ms: NDArray[np.float32]
    targets_ms: NDArray[np.float32]
    source: str
    origin: str
    time_ns: int

    def cut(self, start: int, end: int, bin_ms: int) -> Series:
        """Return the bins from start up to end."""
        at = slice(start, end)
        return Series(
            self.raw[at], self.x[at], self.spectrum[at], self.bin_peak_ms[at], self.targets_ms[at], self.source,
            self.origin,
            self.time_ns + start * bin_ms * 1_000_000,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a forecaster may learn from, so that an evaluation ends.

    rows: of a table of features; kernel_rows: of a kernel method; bins: of an epoch of a network; epochs: the most
    of them; trials: settings tried on the validation part.
    """

    rows: int = 150_000
    kernel_rows: int = 20_000
    bins: int = 1_000_000
    epochs: int = 15
    trials: int = 4

    def scaled(self, share: float) -> Budget:
        """Return a share of it; epochs and trials shrink more slowly than the data."""
        return Budget(
            max(2_000, round(self.rows * share)), max(1_000, round(self.kernel_rows * min(1.0, 2 * share))),
            max(4_000, round(self.bins * share)), max(2, round(self.epochs * min(1.0, (10 * share) ** 0.5))),
            max(1, round(self.trials * min(1.0, share**0.5))),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be forecast: the column of delay_ms, and where Medium and High begin.

    normaliser: state of what made x of raw, opaque here; command: what an artifact names as its origin.
    """

    horizon: int
    horizon_ms: int
    bin_ms: int
    thresholds_ms: tuple[float, float]
    channels: tuple[str, ...]
    seed: int = 1
    budget: Budget = field(default_factory=Budget)
    normaliser: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    command: str = "offramp evaluate"

    @property
    def bins(self) -> int:
        """Bins of the horizon."""
        return max(1, self.horizon_ms // self.bin_ms)


class Forecaster(Protocol):
    """A way to forecast. `name` is the word of the command line; `settings` is what was chosen, after `fit`."""

    name: str
    settings: dict[str, Any]

    def fit(self, train: Sequence[Series], validation: Sequence[Series], task: Task) -> None:
        """Learn from `train`; choose settings and when to stop on `validation` alone. Same seed, same forecaster."""
        ...

    def predict(self, series: Series) -> Prediction:
        """Forecast after every bin: probabilities float32 [T, 3], delay_ms float32 [T, 3] quantiles or [T, 1] median.

        Row t depends on bins 0 to t alone; `series.delay_ms` is not looked at.
        """
        ...


def usable(series: Series, task: Task) -> NDArray[np.int64]:
    """Return the bins with a known target and a whole window before them, in order."""
    known = ~np.isnan(series.targets_ms[:, task.horizon])
    known[: HISTORY_BINS - 1] = False
    return np.flatnonzero(known)


def portion(series: Sequence[Series], share: float, seed: int, bin_ms: int, length: int = 1_024) -> list[Series]:
    """Return about `share` of the bins, as unbroken pieces of `length` bins drawn by a seed; everything from 1 on."""
    if share >= 1:
        return list(series)
    places = [(each, start) for each in series for start in range(0, len(each.x), length)]
    places = [(each, start) for each, start in places if len(each.x) - start > 2 * HISTORY_BINS] or places
    order = np.random.default_rng(seed).permutation(len(places))[: max(1, round(share * len(places)))]
    return [places[i][0].cut(places[i][1], places[i][1] + length, bin_ms) for i in sorted(order.tolist())]
