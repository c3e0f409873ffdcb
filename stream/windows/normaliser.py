"""The online normaliser: mean imputation, outlier test, winsorising, min-max (the paper's equations 1 to 3).

It learns from every row it is shown, in memory that does not grow. Quantiles come from a histogram of logarithmic
buckets: exact to RATIO - 1 of the value.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.errors import ArtifactError
from offramp.kernels import kernel

BUCKETS = 400
MIN_WIDTH = 1e-4
RATIO = 1.05
LOG_RATIO = float(np.log(RATIO))
OUTLIER_Z = 4.0
"""A value this many standard deviations from the mean is an outlier and is clipped to the running quantile."""

LOW_QUANTILE, HIGH_QUANTILE = 0.001, 0.999
STATE_KEYS = ("count", "missing", "total", "squares", "least", "greatest", "histogram")


class ScaleLimits(NamedTuple):
    """What a transform needs, float64 [F] each: the mean for missing values, and the ends of the min-max scale."""

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@kernel
def learn(
    x: NDArray[np.float32],
    count: NDArray[np.int64],
    missing: NDArray[np.int64],
    total: NDArray[np.float64],
    squares: NDArray[np.float64],
    least: NDArray[np.float64],
    greatest: NDArray[np.float64],
    histogram: NDArray[np.int64],
) -> None:
    """Learn from rows, one after the other, so that the cut into calls changes no bit."""
    for row in range(x.shape[0]):
        for f in range(x.shape[1]):
            value = np.float64(x[row, f])
            if np.isnan(value):
                missing[f] += 1
                continue
            count[f] += 1
            total[f] += value
            squares[f] += value * value
            least[f] = min(least[f], value)
            greatest[f] = max(greatest[f], value)
            bucket = 0
            if value > MIN_WIDTH:
                bucket = 1 + int(min(np.log(value / MIN_WIDTH) / LOG_RATIO, BUCKETS - 2.0))
            histogram[f, bucket] += 1


class Normaliser:
    """Learns the scale of non-negative channels and brings rows to [0, 1]."""

    def __init__(self, channels: int) -> None:
        self.count = np.zeros(channels, np.int64)
        self.missing = np.zeros(channels, np.int64)
        self.total = np.zeros(channels)
        self.squares = np.zeros(channels)
        self.least = np.full(channels, np.inf)
        self.greatest = np.full(channels, -np.inf)
        self.histogram = np.zeros((channels, BUCKETS), np.int64)
        self.chosen: ScaleLimits | None = None

    def update(self, x: NDArray[np.float32]) -> None:
        """Learn from rows: float32 [n, F], NaN where missing. A chosen scale is dropped."""
        self.chosen = None
        learn(
            x, self.count, self.missing, self.total, self.squares, self.least, self.greatest, self.histogram
        )  # fmt: skip

    def quantile(self, q: float) -> NDArray[np.float64]:
        """Return the running quantile of each channel: float64 [F], the upper edge of its bucket."""
        cumulative = np.cumsum(self.histogram, axis=1)
        rank = np.ceil(q * cumulative[:, -1:])
        bucket = np.argmax(cumulative >= np.maximum(rank, 1), axis=1)
        edge = np.where(bucket == 0, 0.0, MIN_WIDTH * RATIO**bucket)
        return np.minimum(edge, np.where(self.count > 0, self.greatest, 0.0))

    def limits(self) -> ScaleLimits:
        """Return the scale as chosen; else what is outside mean ± OUTLIER_Z deviations is clipped to the quantiles."""
        if self.chosen is not None:
            return self.chosen
        n = np.maximum(self.count, 1)
        mean = self.total / n
        deviation = np.sqrt(np.maximum(self.squares / n - mean * mean, 0.0))
        least = np.where(self.count > 0, self.least, 0.0)
        greatest = np.where(self.count > 0, self.greatest, 0.0)
        low = np.minimum(self.quantile(LOW_QUANTILE), np.maximum(least, mean - OUTLIER_Z * deviation))
        high = np.maximum(self.quantile(HIGH_QUANTILE), np.minimum(greatest, mean + OUTLIER_Z * deviation))
        return ScaleLimits(mean, low, high)

    def transform(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return rows on the scale: float32 [n, F] in [0, 1]; a channel that never varied is 0."""
        mean, low, high = self.limits()
        return scaled(x, mean, low, high)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what was learned as arrays, and the scale from it: `limits` float64 [3, F], mean, low and high."""
        return {key: np.array(getattr(self, key)) for key in STATE_KEYS} | {"limits": np.stack(self.limits())}

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]]) -> Normaliser:
        """Restore from `state()`; the scale stays as it was until more is learned.

        Raises ArtifactError where arrays are missing, of another shape, or no numbers.
        """
        missing = [key for key in STATE_KEYS if key not in state]
        if missing:
            raise ArtifactError(f"normaliser: {', '.join(missing)} missing; train the model again with this version")
        out = cls(state["count"].shape[0] if state["count"].ndim else 0)
        for key in STATE_KEYS:
            mine = getattr(out, key)
            if state[key].shape != mine.shape:
                raise ArtifactError(
                    f"normaliser: {key} has shape {state[key].shape}, expected {mine.shape}; train the model again"
                )
            if state[key].dtype.kind not in ("i" if mine.dtype.kind == "i" else "iuf"):
                raise ArtifactError(f"normaliser: {key} is {state[key].dtype}, expected {mine.dtype}; train again")
            mine[...] = state[key]
        if "limits" in state:
            if state["limits"].shape != (3, len(out.count)):
                raise ArtifactError(
                    f"normaliser: limits have shape {state['limits'].shape}, expected (3, {len(out.count)}); train the "
                    "model again"
                )
            out.chosen = ScaleLimits(*state["limits"].astype(np.float64))
        if not all(np.isfinite(each).all() for each in out.limits()):
            raise ArtifactError("normaliser: the scale is no number; train the model again")
        return out


@kernel
def scaled(
    x: NDArray[np.float32], mean: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Impute, clip and scale rows to [0, 1]."""
    out = np.zeros(x.shape, np.float32)
    for f in range(x.shape[1]):
        width = high[f] - low[f]
        if width <= 0.0:
            continue
        for row in range(x.shape[0]):
            value = np.float64(x[row, f])
            if np.isnan(value):
                value = mean[f]
            out[row, f] = (min(max(value, low[f]), high[f]) - low[f]) / width
    return out
