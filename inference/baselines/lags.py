"""Hand-made features of a bin's past, for forecasters that see a table and not a series.

Of every normalised channel: its value now and some bins ago, means and maxima of the bins before; the newest STFT
frame; and of the queueing delay (log1p of ms) what a persistence forecast would look at, in units of the horizon.
Together they span 256 bins, four windows, so that a baseline sees as much as a carried state holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from offramp.errors import InputError
from offramp.inference.baselines.forecaster import Series, Task, usable
from offramp.inference.scores import classify

LAGS = (1, 3, 8)
MEANS = (4, 16, 64, 256)
PEAKS = (16, 64)


class TrainingRows(NamedTuple):
    """Rows to learn from: features float32 [n, D], label_ms float32 [n], classes int64 [n]."""

    features: NDArray[np.float32]
    label_ms: NDArray[np.float32]
    classes: NDArray[np.int64]

    def every(self, step: int) -> TrainingRows:
        """Return every step-th row."""
        return TrainingRows(self.features[::step], self.label_ms[::step], self.classes[::step])


def lagged(x: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """Return x [T, F] as it was `bins` bins ago; before its beginning, its first row."""
    return x[np.maximum(np.arange(len(x)) - bins, 0)]


def mean_of_last(x: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """Return the mean of the last `bins` rows of x [T, F], of fewer at its beginning."""
    total = np.vstack([np.zeros((1, x.shape[1])), np.cumsum(x, axis=0, dtype=np.float64)])
    end = np.arange(1, len(x) + 1)
    start = np.maximum(end - bins, 0)
    return ((total[end] - total[start]) / (end - start)[:, None]).astype(np.float32)


def peak_of_last(x: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """Return the largest of the last `bins` rows of x [T, F], which is not negative."""
    found = maximum_filter1d(x, bins, axis=0, mode="constant", cval=0.0, origin=(bins - 1) // 2)
    return np.asarray(found, np.float32)


def features(series: Series, task: Task) -> NDArray[np.float32]:
    """Return the features of every bin: float32 [T, D]; row t is made of bins 0 to t alone."""
    x, h = series.x, task.bins
    delay = np.log1p(np.nan_to_num(series.bin_peak_ms))[:, None].astype(np.float32)
    parts = [
        x,
        *(lagged(x, n) for n in LAGS),
        *(mean_of_last(x, n) for n in MEANS),
        *(peak_of_last(x, n) for n in PEAKS),
    ]
    parts += [series.spectrum, delay, *(peak_of_last(delay, n) for n in (max(1, h // 2), h, 2 * h, 4 * h))]
    parts += [mean_of_last(delay, h), mean_of_last(delay, 4 * h)]
    return np.hstack(parts)


def table(series: Sequence[Series], task: Task, most: int) -> TrainingRows:
    """Return at most `most` rows of series, evenly spread over them. Raise InputError where there is none.

    Neighbouring bins are nearly the same, so every k-th one loses little.
    """
    places = [usable(each, task) for each in series]
    total = sum(len(place) for place in places)
    if not total:
        raise InputError("no bin has both a whole window before it and a known target; build a longer data set")
    step = -(-total // most)
    found, delays = [], []
    for each, place in zip(series, places, strict=True):
        rows = place[::step]
        if len(rows):
            found.append(features(each, task)[rows])
            delays.append(each.targets_ms[rows, task.horizon])
    delay = np.concatenate(delays)
    return TrainingRows(np.concatenate(found), delay, classify(delay, task.thresholds_ms))
