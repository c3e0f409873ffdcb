"""The small hyperparameter search of every baseline: some settings, scored on the validation part alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

S = TypeVar("S")


def best_of(candidates: Sequence[S], loss: Callable[[S], float], most: int) -> S:
    """Return the candidate of the first `most` with the least loss; the first one where only one may be tried."""
    tried = list(candidates[:most])
    if len(tried) < 2:
        return tried[0]
    losses = [loss(candidate) for candidate in tried]
    return tried[int(np.nanargmin(losses))]


def all_classes(probabilities: NDArray[np.float64], seen: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return float32 [n, 3] of a classifier's probabilities over the classes it has seen, those sorted."""
    out = np.zeros((len(probabilities), 3), np.float32)
    if len(seen) == 1:  # what the libraries return then differs
        out[:, seen[0]] = 1.0
        return out
    out[:, seen] = probabilities
    out /= out.sum(axis=1, keepdims=True)
    return out
