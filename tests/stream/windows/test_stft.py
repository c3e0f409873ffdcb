from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from offramp.stream.channels import CHANNELS, FRAME_BINS, SPECTRUM_CHANNELS
from offramp.stream.windows.stft import FREQUENCIES, PICKED, Spectra


def rows(n: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((n, len(CHANNELS)), np.float32)


def test_newest_frame_equals_scipy() -> None:
    x = rows(200)
    found = Spectra(1).update(x, np.zeros(200, np.int32), np.zeros(200, np.uint8))
    reference = ShortTimeFFT(hann(FRAME_BINS, sym=False), hop=1, fs=100, scale_to="magnitude")
    for c, channel in enumerate(PICKED):
        frames = np.abs(reference.stft(x[:, channel].astype(np.float64), p0=0, p1=200))
        for end in range(FRAME_BINS, 200):
            mine = found[end - 1, c * FREQUENCIES : (c + 1) * FREQUENCIES]
            np.testing.assert_allclose(mine, frames[:, end - FRAME_BINS // 2], atol=2e-7)


def test_batching_series_changes_no_bit_and_fresh_forgets() -> None:
    x, series = rows(300, 1), np.random.default_rng(2).integers(0, 4, 300).astype(np.int32)
    fresh = np.zeros(300, np.uint8)
    together = Spectra(4).update(x, series, fresh)
    for number in range(4):
        own = series == number
        alone = Spectra(1).update(x[own], np.zeros(own.sum(), np.int32), fresh[own])
        assert np.array_equal(alone, together[own])
    fresh[:] = 1
    assert np.array_equal(
        Spectra(4).update(x, series, fresh)[7], Spectra(1).update(x[7:8], series[:1] * 0, fresh[:1])[0]
    )


def test_chosen_series_are_channels() -> None:
    assert [CHANNELS[index] for index in PICKED] == list(SPECTRUM_CHANNELS)
