"""Made-up sequences to train on, and what a model of them is told."""

from __future__ import annotations

import numpy as np

from offramp.inference.dataset.sequence import TrainingSequence
from offramp.stream.channels import CHANNELS, SPECTRUM_SIZE


def rows(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((n, len(CHANNELS)), np.float32), rng.random((n, SPECTRUM_SIZE), np.float32)


def sequences(n: int = 6) -> list[TrainingSequence]:
    out = []
    for i in range(n):
        x, spectrum = rows(300, i)
        delay = (x[:, 0] * 60).astype(np.float32)
        delay[-50:] = np.nan
        out.append(TrainingSequence(x, spectrum, delay, f"source{i}"))
    return out


META = {
    "name": "tiny", "channels": list(CHANNELS), "spectrum_size": SPECTRUM_SIZE, "bin_ms": 10, "horizon_ms": 500,
    "command": "test",
}  # fmt: skip


SCALE = {"limits": np.stack([np.zeros(len(CHANNELS)), np.full(len(CHANNELS), 0.1), np.full(len(CHANNELS), 4.0)])}


def series(rows: int) -> list[TrainingSequence]:
    x, frames = np.zeros((rows, 26), np.float32), np.zeros((rows, 51), np.float32)
    return [TrainingSequence(x, frames, np.zeros(rows, np.float32), "s")]
