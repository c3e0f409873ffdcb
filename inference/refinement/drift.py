"""Drift: has a signal of the stream left the level it had? Inputs and errors alike, by a detector of river.

A signal's bins are averaged over a second, because single bins lean on their neighbours and a detector takes
its values for independent. The averages are brought to the scale of the first of them, then watched; after a drift
the scale is learned anew, so that a change of level is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.errors import ConfigError
from offramp.extras import require
from offramp.inference.forecast import BINS_PER_S

EVERY = BINS_PER_S
"""Bins of an average: a second."""

SCALE_FROM = 20
"""Averages from which a signal's scale is learned; none of them can tell of a drift."""

LEAST_DEVIATION = 1e-3


class Drift(NamedTuple):
    """A drift: the signal's name, its mean before and since, in its own unit, and the averages seen by then."""

    signal: str
    before: float
    after: float
    averages: int


class Detector(NamedTuple):
    """A detector of values in [0, 1], and how many deviations from the mean averages are drawn in to for it."""

    make: Callable[[], Any]
    reach: float


def detectors() -> dict[str, Detector]:
    """Return the detectors of river by name. Raises MissingExtraError where river is not installed.

    Sources: ADWIN (Bifet and Gavalda 2007), KSWIN (Raab et al. 2020), the Page-Hinkley test (Page 1954).
    """
    require("drift detection", "river")
    from river import drift

    return {
        "adwin": Detector(lambda: drift.ADWIN(delta=0.05, clock=1, grace_period=5, min_window_length=5), 2.0),
        "kswin": Detector(lambda: drift.KSWIN(alpha=1e-4, window_size=60, stat_size=20, seed=1), 5.0),
        "page-hinkley": Detector(lambda: drift.PageHinkley(min_instances=SCALE_FROM, delta=0.05, threshold=1.5), 5.0),
    }


class Signal:
    """One signal: its open average, its scale, its detector."""

    def __init__(self, name: str, detector: Detector) -> None:
        self.name, self._kind = name, detector
        self._sum, self._bins, self.averages = 0.0, 0, 0
        self._begin()

    def _begin(self) -> None:
        """Learn the scale anew."""
        self._detector = self._kind.make()
        self._seen: list[float] = []

    def update(self, values: NDArray[np.floating[Any]], every: int) -> list[Drift]:
        """Take values in order of time, NaN left out; return the drifts that they tell of."""
        out = []
        for value in values[~np.isnan(values)].tolist():
            self._sum += value
            self._bins += 1
            if self._bins == every:
                out += self._average(self._sum / every)
                self._sum, self._bins = 0.0, 0
        return out

    def _average(self, value: float) -> list[Drift]:
        self.averages += 1
        self._seen.append(value)
        if len(self._seen) <= SCALE_FROM:
            return []
        first = np.array(self._seen[:SCALE_FROM])
        off = (value - first.mean()) / max(float(first.std()), LEAST_DEVIATION)
        reach = self._kind.reach
        self._detector.update(float(np.clip(off, -reach, reach) / (2 * reach) + 0.5))
        if not self._detector.drift_detected:
            return []
        newest = len(self._seen) // 4
        told = Drift(
            self.name, float(np.mean(self._seen[:-newest])), float(np.mean(self._seen[-newest:])), self.averages
        )
        self._begin()
        return [told]


class DriftWatch:
    """Watches some signals, each with a detector of its own."""

    def __init__(self, signals: Sequence[str], *, detector: str = "page-hinkley", every: int = EVERY) -> None:
        """Build an empty watch; every: bins of an average. Raises ConfigError for an unknown detector."""
        known = detectors()
        if detector not in known:
            raise ConfigError(f"drift detector {detector!r}: there is none of that name; there are {', '.join(known)}")
        self.signals = tuple(Signal(name, known[detector]) for name in signals)
        self.every = every

    def update(self, values: NDArray[np.floating[Any]]) -> list[Drift]:
        """Take bins in order of time, [n, signals], NaN where unknown; return the drifts that they tell of."""
        return [told for k, signal in enumerate(self.signals) for told in signal.update(values[:, k], self.every)]
