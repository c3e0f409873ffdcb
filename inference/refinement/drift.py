"""Drift detection: whether a signal, an input or the error, has left its level, by river's Page-Hinkley test.

A signal's bins are averaged over a second, because neighbouring bins are correlated and the test assumes independent
values. The averages are scaled by the first of them, then tested; after a drift the scale is learned anew, so that a
change of level is reported once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.extras import require
from offramp.inference.forecast import BINS_PER_S

EVERY = BINS_PER_S
"""Bins of an average: a second."""

SCALE_FROM = 20
"""Averages from which a signal's scale is learned; no drift is found in them."""

MIN_DEVIATION = 1e-3

REACH = 5.0
"""Deviations from the mean to which an average is clipped for the test."""


class Drift(NamedTuple):
    """A drift: the signal's name, its mean before and since, in its own unit, and the averages seen by then."""

    signal: str
    before: float
    after: float
    averages: int


def page_hinkley() -> Any:
    """Return the Page-Hinkley test (Page 1954) for averages in [0, 1]. Raises MissingExtraError without river."""
    require("drift detection", "river")
    from river.drift import PageHinkley

    return PageHinkley(min_instances=SCALE_FROM, delta=0.05, threshold=1.5)


class Signal:
    """One signal: its open average, its scale, its detector."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._sum, self._bins, self.averages = 0.0, 0, 0
        self._begin()

    def _begin(self) -> None:
        """Start to learn the scale anew."""
        self._detector = page_hinkley()
        self._seen: list[float] = []

    def update(self, values: NDArray[np.floating[Any]]) -> list[Drift]:
        """Take values in order of time, NaN left out; return the drifts found."""
        out = []
        for value in values[~np.isnan(values)].tolist():
            self._sum += value
            self._bins += 1
            if self._bins == EVERY:
                out += self._average(self._sum / EVERY)
                self._sum, self._bins = 0.0, 0
        return out

    def _average(self, value: float) -> list[Drift]:
        self.averages += 1
        self._seen.append(value)
        if len(self._seen) <= SCALE_FROM:
            return []
        first = np.array(self._seen[:SCALE_FROM])
        off = (value - first.mean()) / max(float(first.std()), MIN_DEVIATION)
        self._detector.update(float(np.clip(off, -REACH, REACH) / (2 * REACH) + 0.5))
        if not self._detector.drift_detected:
            return []
        newest = len(self._seen) // 4
        drift = Drift(
            self.name, float(np.mean(self._seen[:-newest])), float(np.mean(self._seen[-newest:])), self.averages
        )
        self._begin()
        return [drift]


class DriftWatch:
    """Watches some signals, each by a test of its own."""

    def __init__(self, signals: Sequence[str]) -> None:
        self.signals = tuple(Signal(name) for name in signals)

    def update(self, values: NDArray[np.floating[Any]]) -> list[Drift]:
        """Take bins in order of time, [n, signals], NaN where unknown; return the drifts found."""
        return [drift for k, signal in enumerate(self.signals) for drift in signal.update(values[:, k])]
