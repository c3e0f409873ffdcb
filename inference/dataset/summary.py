"""What is in a data set: rows by part and kind, the balance of the classes, and what persistence would score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.errors import ConfigError
from offramp.inference.dataset.dataset import PARTS, Dataset, LabelledSeries, open_dataset
from offramp.inference.scores import classify, terciles

ALL = "all"


class Balance(NamedTuple):
    """Bins with a known target, their shares by class, the share without delay, and persistence's accuracy."""

    bins: int
    shares: tuple[float, float, float]
    still: float
    persistence: float


def run_show(folder: Path, horizon_ms: int) -> None:
    """Run `offramp dataset show`: print tables in Markdown."""
    found = open_dataset(folder)
    if horizon_ms not in found.horizons_ms:
        raise ConfigError(f"--horizon {horizon_ms}: the data set has {list(found.horizons_ms)}")
    if not found.part("train"):
        raise ConfigError(f"{folder}: has no training part, whose terciles are the classes")
    origins = {series.origin for series in found.series}
    bins = sum(len(series.x) for series in found.series)
    print(
        f"{folder}: {bins:,} bins of {found.manifest['bin_ms']} ms, {len(found.series)} series, {len(origins)} origins"
    )
    print(f"fingerprint {found.fingerprint}")
    for copy in found.manifest.get("copies", ()):
        print(f"left out: {copy['copy']}, {copy['share']:.0%} of it is in {copy['of']}")
    print(f"\n{horizon_ms} ms ahead, classes by the terciles of training")
    print("| part | kind | origins | series | bins | Normal, Medium, High | no delay | persistence |")
    print("|---|---|---|---|---|---|---|---|")
    thresholds = terciles_of(found, horizon_ms)
    for part, kind, series in by_kind(found):
        told = balance(found, series, horizon_ms, thresholds)
        inside = len({each.origin for each in series})
        print(f"| {part} | {kind} | {inside} | {len(series)} | {told.bins:,} | {_shares(told)} | {_rest(told)} |")
    print("\n| ahead | Medium from | High from | part | Normal, Medium, High | largest | no delay | persistence |")
    print("|---|---|---|---|---|---|---|---|")
    for horizon in found.horizons_ms:
        low, high = thresholds = terciles_of(found, horizon)
        for part in ("train", "test"):
            told = balance(found, found.part(part), horizon, thresholds)
            head = f"| {horizon} ms | {low:.2f} ms | {high:.2f} ms | {part} | {_shares(told)}"
            print(f"{head} | {max(told.shares):.3f} | {_rest(told)} |")


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


def _shares(told: Balance) -> str:
    return ", ".join(f"{share:.2f}" for share in told.shares)


def _rest(told: Balance) -> str:
    return f"{told.still:.2f} | {told.persistence:.3f}"
