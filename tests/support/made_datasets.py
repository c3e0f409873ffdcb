"""Small data sets of made-up links, in the format of `offramp dataset build`, for tests."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np

from offramp.inference.dataset.dataset import Dataset, LabelledSeries, save_dataset
from offramp.stream.bins.bins import Bins
from offramp.stream.channels import BIN_MS, CHANNELS
from offramp.stream.datasets.synthetic import synthetic_packets

HORIZONS_MS = (100, 500, 1000)
PARTS = ("train", "train", "train", "validation", "test")


def made_dataset(
    folder: Path, *, links: int = 10, seconds: float = 12.0, seed: int = 5, horizons_ms: tuple[int, ...] = HORIZONS_MS
) -> Dataset:
    """Write a data set of `links` made-up links: three of five to train, one to validate, one to test."""
    series = [one for number in range(links) for one in made_series(number, seconds, seed, horizons_ms)]
    return save_dataset(folder, series, channels=CHANNELS, horizons_ms=horizons_ms, bin_ms=BIN_MS)


def made_series(number: int, seconds: float, seed: int, horizons_ms: tuple[int, ...]) -> list[LabelledSeries]:
    """Return the unbroken series of one made-up link, without its devices."""
    packets, config = synthetic_packets(np.random.default_rng([seed, number]), seconds)
    bins = Bins(config)
    chunks = []
    for closed in chain(bins.update(packets), bins.close()):  # what comes next overwrites what came before
        link = closed.series == 0
        chunks.append((closed.fresh[link], closed.x[link], closed.queue_ms[link, 1]))
    fresh, x, now = (np.concatenate(column) for column in zip(*chunks, strict=True))
    now = now.astype(np.float32)
    begins = np.flatnonzero(fresh)
    return [
        LabelledSeries(
            x=x[begin:end], delay_ms=np.stack([ahead(now[begin:end], h // BIN_MS) for h in horizons_ms], axis=1),
            now_ms=now[begin:end], source=f"made/{number}@link", origin=f"made/{number}", part=PARTS[number % 5],
            time_ns=1_000_000_000 * number,
        )
        for begin, end in zip(begins, [*begins[1:], len(x)], strict=True)
    ]  # fmt: skip


def ahead(now: np.ndarray, bins: int) -> np.ndarray:
    """Return the largest of the next `bins` values after each, NaN where fewer are known."""
    out = np.full(len(now), np.nan, np.float32)
    if len(now) > bins:
        out[:-bins] = np.lib.stride_tricks.sliding_window_view(now[1:], bins).max(axis=1)
    return out
