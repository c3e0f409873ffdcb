"""Permutation importance of channels for forecasters of series, by rotating a channel in time.

Shuffled bins would make a series that no link has. A channel rotated within its series by about half its length keeps
its own course, and loses its relation to the other channels and to the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from offramp.inference.baselines.forecaster import Forecaster, Series
from offramp.inference.evaluation.evaluation_data import TestSet, Transform
from offramp.inference.forecast import Prediction
from offramp.inference.scores import macro_f1

PEAK = "delay_peak"
"""The channel that is log1p of bin_peak_ms: both are rotated together."""
MAX_BINS = 24_000
PIECE = 2_000


def importance_of(
    forecaster: Forecaster, test_set: TestSet, transform: Transform, channels: Sequence[str], bin_ms: int
) -> dict[str, dict[str, float]]:
    """Return by channel what rotating it costs: `f1` lost (macro) and `mae_ms` gained, on a spread of test pieces."""
    pieces, chosen = _pieces(test_set, bin_ms)
    truth_delay = np.concatenate([test_set.label_ms[rows] for rows, _ in chosen])
    truth = np.concatenate([test_set.classes[rows] for rows, _ in chosen])

    def judge(series: Sequence[Series]) -> tuple[float, float]:
        found = [forecaster.predict(each) for each in series]
        rows = Prediction(
            *(np.concatenate([p[i][at] for p, (_, at) in zip(found, chosen, strict=True)]) for i in (0, 1))
        )
        error = float(np.mean(np.abs(rows.quantiles_ms[:, 0] - truth_delay)))
        return macro_f1(truth, rows.probabilities.argmax(axis=1)), error

    f1, mae = judge(pieces)
    out = {}
    for at, channel in enumerate(channels):
        worse_f1, worse_mae = judge([_turned(each, at, channel == PEAK, transform) for each in pieces])
        out[channel] = {"f1": f1 - worse_f1, "mae_ms": worse_mae - mae}
    return out


def _pieces(test_set: TestSet, bin_ms: int) -> tuple[list[Series], list[tuple[np.ndarray, np.ndarray]]]:
    """Return pieces of the test series, and for each its rows of the test set and their places within the piece."""
    begins = np.cumsum([0, *(len(rows) for rows in test_set.rows)])
    places = [(i, start) for i, s in enumerate(test_set.series) for start in range(0, len(s.x), PIECE)]
    pieces: list[Series] = []
    chosen: list[tuple[np.ndarray, np.ndarray]] = []
    for at in np.random.default_rng(len(places)).permutation(len(places)):
        if sum(len(piece.x) for piece in pieces) > MAX_BINS:
            break
        i, start = places[at]
        rows = test_set.rows[i]
        inside = np.flatnonzero((rows >= start) & (rows < start + PIECE))
        if len(inside):
            pieces.append(test_set.series[i].cut(start, start + PIECE, bin_ms))
            chosen.append((begins[i] + inside, rows[inside] - start))
    return pieces, chosen


def _turned(series: Series, channel: int, peak: bool, transform: Transform) -> Series:
    raw = np.array(series.raw)
    raw[:, channel] = np.roll(raw[:, channel], len(raw) // 2)
    x, spectrum = transform(raw)
    now = np.roll(series.bin_peak_ms, len(raw) // 2) if peak else series.bin_peak_ms
    return replace(series, raw=raw, x=x, spectrum=spectrum, bin_peak_ms=now)
