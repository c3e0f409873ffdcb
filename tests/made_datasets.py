"""Small data sets of made-up links, in the format of `offramp dataset build`, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from inference.dataset import Dataset, LabelledSeries, save_dataset
from stream.channels import BIN_MS, CHANNELS
from stream.dataset import synthetic_sequences

HORIZONS_MS = (100, 500, 1000)
PEAK = CHANNELS.index("delay_peak")


def made_dataset(
    folder: Path, *, links: int = 10, seconds: float = 12.0, seed: int = 5, horizons_ms: tuple[int, ...] = HORIZONS_MS
) -> Dataset:
    """Write a data set of `links` made-up links: six tenths to train, two to validate, two to test."""
    seen = [synthetic_sequences(seed, links, seconds=seconds, horizon_ms=h, devices=1) for h in horizons_ms]
    series = []
    for found in zip(*seen, strict=True):
        number = int(found[0].source.split(":")[2].split("#")[0])
        part = ("train", "train", "train", "validation", "test")[number % 5]
        delay = np.stack([one.delay_ms for one in found], axis=1)
        now = np.expm1(found[0].x[:, PEAK])
        origin = found[0].source.split("#")[0]
        series.append(LabelledSeries(found[0].x, delay, now, found[0].source, origin, part, 1_000_000_000 * number))
    return save_dataset(folder, series, channels=CHANNELS, horizons_ms=horizons_ms, bin_ms=BIN_MS)
