"""The newest STFT frame of each series: magnitudes of the last 32 bins of the chosen channels.

Equal to `scipy.signal.ShortTimeFFT(hann(32), hop=1, scale_to="magnitude")` at the frame that ends with the bin, to
float32 precision (a test holds it). Written as a sum in a fixed order, so that no batch shape changes a bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offramp.kernels import kernel
from offramp.stream.channels import CHANNELS, FRAME_BINS, SPECTRUM_CHANNELS, SPECTRUM_SIZE

FREQUENCIES = FRAME_BINS // 2 + 1
HALF = FRAME_BINS // 2


def transform_table() -> NDArray[np.float32]:
    """Return the windowed transform: float32 [FRAME_BINS, 2 * FREQUENCIES], cosines then sines, Hann over its sum."""
    n = np.arange(FRAME_BINS)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / FRAME_BINS)
    angle = 2 * np.pi * np.outer(n, np.arange(FREQUENCIES)) / FRAME_BINS
    weight = (hann / hann.sum())[:, None]
    return np.hstack([np.cos(angle) * weight, np.sin(angle) * weight]).astype(np.float32)


TRANSFORM = transform_table()
PICKED = np.array([CHANNELS.index(name) for name in SPECTRUM_CHANNELS], np.int64)


@kernel
def newest_frames(
    x: NDArray[np.float32],
    series: NDArray[np.int32],
    fresh: NDArray[np.uint8],
    history: NDArray[np.float32],
    picked: NDArray[np.int64],
    transform: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Append each row to its series' history and write its spectrum: float32 [n, SPECTRUM_SIZE].

    x: float32 [n, F] normalised; history: float32 [series, len(picked), FRAME_BINS], oldest first, updated in place.
    """
    sums = np.zeros(transform.shape[1], np.float32)
    for row in range(x.shape[0]):
        mine = history[series[row]]
        if fresh[row]:
            mine[:] = 0.0
        for c in range(len(picked)):
            line = mine[c]
            for j in range(FRAME_BINS - 1):
                line[j] = line[j + 1]
            line[FRAME_BINS - 1] = x[row, picked[c]]
            sums[:] = 0.0
            for j in range(FRAME_BINS):
                value = line[j]
                if value != 0.0:
                    for k in range(transform.shape[1]):
                        sums[k] += value * transform[j, k]
            for k in range(FREQUENCIES):
                out[row, c * FREQUENCIES + k] = np.sqrt(
                    sums[k] * sums[k] + sums[FREQUENCIES + k] * sums[FREQUENCIES + k]
                )


class Spectra:
    """The histories of all series and their newest frames."""

    def __init__(self, series: int) -> None:
        self.history = np.zeros((series, len(PICKED), FRAME_BINS), np.float32)

    def update(
        self, x: NDArray[np.float32], series: NDArray[np.int32], fresh: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Return the spectrum of each row: x float32 [n, F] normalised rows in order; float32 [n, SPECTRUM_SIZE]."""
        out = np.empty((len(x), SPECTRUM_SIZE), np.float32)
        newest_frames(x, series, fresh, self.history, PICKED, TRANSFORM, out)
        return out
