"""Compare two models on the same labelled rows: losses in blocks of time, and a paired test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.inference.dataset.sequence import TrainingSequence
from offramp.inference.forecast import BINS_PER_S, QUANTILES, Prediction
from offramp.inference.scores import classify
from offramp.inference.serving.predictor import Predictor

BLOCK = BINS_PER_S
"""Bins of a block: a second, twice the horizon, so that blocks depend little on their neighbours."""

MIN_BLOCKS = 8
"""Blocks below which nothing is concluded."""

MIN_PROBABILITY = 1e-7


class Scored(NamedTuple):
    """A series with the numbers of its bins, int64 [T]; rows from `first` on are scored, those before only warm up."""

    sequence: TrainingSequence
    bins: NDArray[np.int64]
    first: int = 0


class PairedResult(NamedTuple):
    """champion, challenger: mean losses; p: chance of such a gain were they equal; better: by the margin, p < alpha."""

    champion: float
    challenger: float
    p: float
    blocks: int
    better: bool

    def as_dict(self) -> dict[str, float]:
        """Return the numbers for an event."""
        return {
            "champion": round(self.champion, 6), "challenger": round(self.challenger, 6), "p": round(self.p, 6),
            "blocks": self.blocks,
        }  # fmt: skip


def row_losses(
    label_ms: NDArray[np.float32], found: Prediction, thresholds_ms: tuple[float, float]
) -> NDArray[np.float64]:
    """Return the loss of each forecast: cross-entropy of the class, and the quantile loss of log1p(delay in ms)."""
    truth = classify(label_ms, thresholds_ms)
    given = found.probabilities[np.arange(len(truth)), truth].astype(np.float64)
    error = np.log1p(label_ms)[:, None] - np.log1p(np.maximum(found.quantiles_ms, 0)).astype(np.float64)
    q = np.array(QUANTILES)
    out: NDArray[np.float64] = -np.log(np.maximum(given, MIN_PROBABILITY)) + np.maximum(
        q * error, (q - 1) * error
    ).mean(axis=1)
    return out


def block_losses(predictor: Predictor, scored: Sequence[Scored]) -> NDArray[np.float64]:
    """Return the mean loss of each block of time over the rows of all series in it, in order of time."""
    if not scored:
        return np.empty(0)
    lengths = [len(each.bins) for each in scored]
    found = predictor.predict(
        np.concatenate([each.sequence.x for each in scored]),
        np.concatenate([each.sequence.spectrum for each in scored]),
        np.repeat(np.arange(len(scored), dtype=np.int32), lengths),
        np.zeros((len(scored), predictor.state_size), np.float32),
    )
    delay = np.concatenate([each.sequence.label_ms for each in scored])
    asked = np.concatenate([np.arange(len(each.bins)) >= each.first for each in scored])
    asked &= ~np.isnan(delay)
    losses = row_losses(
        delay[asked], Prediction(found.probabilities[asked], found.quantiles_ms[asked]), predictor.thresholds_ms
    )
    _, place = np.unique(np.concatenate([each.bins for each in scored])[asked] // BLOCK, return_inverse=True)
    out: NDArray[np.float64] = np.bincount(place, weights=losses) / np.bincount(place)
    return out


def compare(
    champion: NDArray[np.float64], challenger: NDArray[np.float64], *, margin: float = 0.0, alpha: float = 0.05
) -> PairedResult:
    """Return whether the challenger's losses in the same blocks are less by `margin`, a share, with significance.

    The test is Student's of paired differences, one-sided. margin: of the champion's mean loss.
    """
    blocks = len(champion)
    if blocks < MIN_BLOCKS:
        one, other = (float(each.mean()) if blocks else 0.0 for each in (champion, challenger))
        return PairedResult(one, other, 1.0, blocks, False)
    from scipy.stats import ttest_1samp

    gain = champion - challenger
    if np.ptp(gain) < MIN_PROBABILITY * MIN_PROBABILITY:
        p = 0.0 if gain[0] > 0 else 1.0
    else:
        p = float(ttest_1samp(gain, 0.0, alternative="greater").pvalue)
    enough = bool(gain.mean() >= margin * champion.mean() and gain.mean() > 0)
    return PairedResult(float(champion.mean()), float(challenger.mean()), p, blocks, enough and p < alpha)
