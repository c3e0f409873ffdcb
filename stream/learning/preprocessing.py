"""The paper's preprocessing choices (eq. 1-3), to compare: how channels are brought to [0, 1] before training.

Outliers are found by z-score in a channel, or by an Isolation Forest in a row. They are clipped (winsorising), in
training and in service, or cut off (trimming): in training such rows weigh nothing, in service they are clipped all the
same, as a forecast is due. Every choice amounts to a stand-in for missing values and two limits per channel; the
artifact's normaliser holds these, so that serving does not know the choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from offramp.stream.learning.preprocessing_options import Imputation, Outliers, Preprocessing, Treatment
from offramp.stream.windows.normaliser import OUTLIER_Z, Normaliser, ScaleLimits

FOREST_ROWS = 50_000
FOREST_SHARE = 0.01
"""Share of the rows that an Isolation Forest calls outliers."""


def fit_scale(
    rows: Sequence[NDArray[np.float32]], choice: Preprocessing, *, seed: int = 1
) -> tuple[Normaliser, list[NDArray[np.bool_]]]:
    """Return the scale learned from series of rows float32 [T, F], and which rows of each to learn from."""
    normaliser = learned(rows)
    if choice == Preprocessing():
        return normaliser, [np.ones(len(part), np.bool_) for part in rows]
    inside = inliers(rows, normaliser, choice.outliers, seed)
    trims = choice.treatment is Treatment.TRIM
    if trims or choice.outliers is Outliers.ISOLATION_FOREST:
        kept = learned([part[mask] for part, mask in zip(rows, inside, strict=True)])
        low, high = extremes(kept)
    elif choice.outliers is Outliers.NONE:
        kept = normaliser
        low, high = extremes(kept)
    else:
        kept = normaliser
        _, low, high = kept.limits()
    kept.chosen = ScaleLimits(stand_in(kept, choice.imputation), low, high)
    return kept, inside if trims else [np.ones(len(part), np.bool_) for part in rows]


def learned(rows: Sequence[NDArray[np.float32]]) -> Normaliser:
    """Return a normaliser that has seen the rows."""
    out = Normaliser(rows[0].shape[1])
    for part in rows:
        out.update(np.ascontiguousarray(part))
    return out


def inliers(
    rows: Sequence[NDArray[np.float32]], normaliser: Normaliser, outliers: Outliers, seed: int
) -> list[NDArray[np.bool_]]:
    """Return which rows are no outliers."""
    if outliers is Outliers.NONE:
        return [np.ones(len(part), np.bool_) for part in rows]
    n = np.maximum(normaliser.count, 1)
    mean = normaliser.total / n
    if outliers is Outliers.Z_SCORE:
        reach = OUTLIER_Z * np.sqrt(np.maximum(normaliser.squares / n - mean * mean, 0.0))
        return [np.asarray(~(np.abs(part - mean) > reach).any(axis=1)) for part in rows]
    from sklearn.ensemble import IsolationForest

    whole = [np.where(np.isnan(part), mean.astype(np.float32), part) for part in rows]
    step = -(-sum(len(part) for part in whole) // FOREST_ROWS)
    forest = IsolationForest(contamination=FOREST_SHARE, random_state=seed)
    forest.fit(np.concatenate(whole)[::step])
    return [forest.predict(part) == 1 for part in whole]


def extremes(normaliser: Normaliser) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the greatest of each channel, 0 where none was seen."""
    seen = normaliser.count > 0
    return np.where(seen, normaliser.least, 0.0), np.where(seen, normaliser.greatest, 0.0)


def stand_in(normaliser: Normaliser, imputation: Imputation) -> NDArray[np.float64]:
    """Return the stand-in for a missing value of each channel."""
    if imputation is Imputation.MEAN:
        return normaliser.total / np.maximum(normaliser.count, 1)
    return normaliser.quantile(0.5) if imputation is Imputation.MEDIAN else np.zeros(len(normaliser.count))
