"""What is in a data set: rows by part and kind, the balance of the classes, and what persistence would score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.inference.dataset.dataset import PARTS, Dataset, LabelledSeries
from offramp.inference.scores import classify, terciles

ALL = "all"


class Balance(NamedTuple):
    """Bins with a known target, their shares by class, the share without delay, and persistence's accuracy."""

    bins: int
    shares: tuple[float, float, float]
    still: float
    persistence: float


def by_kind(found: Dataset) -> list[tuple[str, str, list[LabelledSeries]]]:
    """Return part, kind and series, a part's kinds in alphabetical order and then all of it."""
    facts = found.manifest.get("origins", {})
    out = []
    for part in PARTS:
        groups: dict[str, list[LabelledSeries]] = {}
        for series in found.part(part):
            groups.setdefault(str(facts.get(series.origin, {}).get("kind", "")), []).append(series)
        out += [(part, kind, groups[kind]) for kind in sorted(groups)]
        out += [(part, ALL, list(found.part(part)))] if groups else []
    return out


def terciles_of(found: Dataset, horizon_ms: int) -> tuple[float, float]:
    """Return the delays where Medium and High begin by the training part."""
    at = found.horizons_ms.index(horizon_ms)
    return terciles(np.concatenate([series.delay_ms[:, at] for series in found.part("train")]))


def balance(
    found: Dataset, series: Sequence[LabelledSeries], horizon_ms: int, thresholds_ms: tuple[float, float]
) -> Balance:
    """Return the balance of series, by the delays where Medium and High begin.

    Persistence says what was: the largest delay of the bins of one horizon, the newest included.
    """
    at = found.horizons_ms.index(horizon_ms)
    count = horizon_ms // int(found.manifest["bin_ms"])
    truth = np.concatenate([each.delay_ms[:, at] for each in series])
    past = np.concatenate([largest_of_past(each.now_ms, count) for each in series])
    known = ~np.isnan(truth)
    real, same = classify(truth[known], thresholds_ms), classify(past[known], thresholds_ms)
    total = max(len(real), 1)
    normal, medium, high = (np.bincount(real, minlength=3) / total).tolist()
    return Balance(
        len(real), (normal, medium, high), float(np.sum(truth == 0)) / total, float(np.sum(real == same)) / total
    )


def largest_of_past(values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return the largest of each value and the `count` - 1 before it, of as many as there are."""
    padded = np.concatenate([np.full(count - 1, -np.inf, np.float32), values])
    out: NDArray[np.float32] = np.lib.stride_tricks.sliding_window_view(padded, count).max(axis=1)
    return out
