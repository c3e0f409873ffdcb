"""Serving in batches of a few fixed sizes, so that a runtime compiles or plans each once, at start.

Rows of a call are cut into rounds in which every series occurs once, and rounds into batches that are padded to the
next fixed size. A padded row is a fresh series of zeros, whose result is thrown away.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from offramp.inference.artifact import Artifact
from offramp.inference.forecast import Prediction
from offramp.inference.serving.predictor import Backend, Floats, Served

Outputs = tuple[Floats, Floats, Floats]
"""probabilities [n, 3], log1p of the delay in ms [n, 3], state [n, state_size]."""

SHAPES = (1, 8, 64, 512, 4096)
WINDOW = 64
"""Bins of a whole window."""


class FixedShapes(Served, ABC):
    """A backend from two functions of fixed batch sizes: one step with carried state, and a whole window."""

    def __init__(self, artifact: Artifact, shapes: Sequence[int] = SHAPES) -> None:
        super().__init__(artifact)
        self.shapes = tuple(sorted(shapes))
        self.inputs = artifact.weights["dense1_w"].shape[0]
        self.traces = 0
        self.device = "CPU"
        self.load(artifact)
        self.warm()

    @abstractmethod
    def load(self, artifact: Artifact) -> None:
        """Make the network ready."""

    @abstractmethod
    def step(self, x: Floats, frames: Floats, state: Floats) -> Outputs:
        """Return the outputs of one bin a row: x [B, inputs], frames [B, K], state [B, network_state]."""

    @abstractmethod
    def window(self, x: Floats, frames: Floats) -> tuple[Floats, Floats]:
        """Return the outputs after the last bin of B windows from fresh state: x [B, 64, inputs], frames [B, 64, K]."""

    def warm(self) -> None:
        """Run both functions once in every shape."""
        for n in self.shapes:
            x, frames = np.zeros((n, self.inputs), np.float32), np.zeros((n, self.spectrum_size), np.float32)
            self.step(x, frames, np.zeros((n, self.network_state), np.float32))

    def predict(self, x: Floats, spectrum: Floats, series: NDArray[np.int32], state: Floats) -> Prediction:
        """Predict rows; see Predictor.predict. Other cuts give the same to about 1e-6, not to the bit."""
        out = Prediction(np.empty((len(x), 3), np.float32), np.empty((len(x), 3), np.float32))
        wide, carried = self.rows(x, series, state), state[:, : self.network_state]
        for rows in rounds(series):
            for part, size in batches(len(rows), self.shapes):
                which = rows[part]
                whose = series[which]
                found = self.step(
                    padded(wide[which], size), padded(spectrum[which], size), padded(carried[whose], size)
                )
                n = len(which)
                out.probabilities[which] = found[0][:n]
                out.quantiles_ms[which] = np.expm1(found[1][:n])
                carried[whose] = found[2][:n]
        return out

    def predict_windows(self, x: Floats, spectrum: Floats) -> Prediction:
        """See Backend.predict_windows."""
        out = Prediction(np.empty((len(x), 3), np.float32), np.empty((len(x), 3), np.float32))
        wide = wide_windows(self, x)
        for part, size in batches(len(x), self.shapes):
            found = self.window(padded(wide[part], size), padded(spectrum[part], size))
            n = len(x[part])
            out.probabilities[part], out.quantiles_ms[part] = found[0][:n], np.expm1(found[1][:n])
        return out


def wide_windows(served: Served | Backend, x: Floats) -> Floats:
    """Return windows as the network sees them, [n, T, inputs]: the memory of a fresh series behind each bin."""
    n, bins = x.shape[:2]
    state, series = np.zeros((n, served.state_size), np.float32), np.repeat(np.arange(n, dtype=np.int32), bins)
    return served.rows(np.ascontiguousarray(x.reshape(n * bins, -1)), series, state).reshape(n, bins, -1)


def rounds(series: NDArray[np.int32]) -> Iterator[NDArray[np.intp]]:
    """Yield row numbers in rounds: a series' k-th row is in round k, so that each series occurs once in a round."""
    order = np.argsort(series, kind="stable")
    ordered = series[order]
    begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(series) else np.empty(0, np.intp)
    rank = np.empty(len(series), np.intp)
    rank[order] = np.arange(len(series)) - np.repeat(begins, np.diff(np.r_[begins, len(series)]))
    by_rank = np.argsort(rank, kind="stable")
    yield from np.split(by_rank, np.cumsum(np.bincount(rank))[:-1]) if len(series) else ()


def batches(n: int, shapes: Sequence[int]) -> Iterator[tuple[slice, int]]:
    """Yield parts of `n` rows, each with its fixed size; a last part that fills a quarter of one is padded to it."""
    start = 0
    while start < n:
        left = n - start
        larger = [size for size in shapes if size >= left]
        if larger and (left * 4 >= larger[0] or larger[0] == shapes[0]):
            size, taken = larger[0], left
        else:
            size = taken = max(size for size in shapes if size <= left)
        yield slice(start, start + taken), size
        start += taken


def padded(array: Floats, size: int) -> Floats:
    """Return the array with rows of zeros up to `size` rows."""
    if len(array) == size:
        return np.ascontiguousarray(array)
    out = np.zeros((size, *array.shape[1:]), np.float32)
    out[: len(array)] = array
    return out
