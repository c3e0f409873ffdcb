"""The longer memory: peaks, means and projections are those of the series, whatever the cut and the company."""

from __future__ import annotations

import numpy as np

from offramp.inference.network.queue_history import (
    ANCHORS,
    FEATURES,
    FINE,
    MEANS,
    OLD_PEAKS,
    OLDER,
    PEAKS,
    PLAIN,
    SCALE,
    SEEN,
    STATE,
    TRENDS,
    Memory,
)

BINS = 50
THRESHOLDS = (5.0, 25.0)
WIDTH = np.full(len(SEEN), 5.0, np.float32)


def memory(horizon_ms: int = 500) -> Memory:
    told = {"channels": list(SEEN), "horizon_ms": horizon_ms, "bin_ms": 10}
    return Memory((np.zeros(len(SEEN), np.float32), WIDTH), told, THRESHOLDS)


def rows(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).beta(1, 4, (n, len(SEEN))).astype(np.float32)


def test_peaks_are_of_blocks_and_the_open_one() -> None:
    x = rows(900)
    found = memory().of_series(x)[:, len(SEEN) :] * SCALE
    peak = x[:, 0] * 5
    block = BINS // 10

    def highest(start: int, end: int) -> np.float32:
        return np.float32(max(peak[max(0, start) : max(0, end)], default=0) / SCALE) * SCALE

    for t in (0, 3, 4, 49, 333, 699, 899):
        opened = t // block * block
        for j, blocks in enumerate(PEAKS):
            assert found[t, 3 + j] == highest(opened - blocks * block, t + 1)
        for j in range(OLD_PEAKS):
            end = opened - (PEAKS[-1] + OLDER * j) * block
            assert found[t, 3 + len(PEAKS) + j] == highest(end - OLDER * block, end)
        for j in (0, 7, FINE - 1):
            assert found[t, PLAIN - FINE + j] == highest(opened - (j + 1) * block, opened - j * block)
        ages = [highest(opened - (j + 1) * block, opened - j * block) for j in range(FINE)]
        assert found[t, PLAIN - FINE - 1] == np.float32(int(np.argmax(ages)) / FINE) * SCALE
    assert np.array_equal(found[:, 0], np.zeros(900))


def test_means_begin_as_means_and_become_exponential() -> None:
    x = rows(700)
    at = 3 + len(PEAKS) + OLD_PEAKS
    found = np.expm1(memory().of_series(x)[:, len(SEEN) + at : len(SEEN) + at + len(MEANS)] * SCALE)
    delay = np.expm1(x[:, 0].astype(np.float64) * 5)
    for j, share in enumerate(MEANS):
        expected = 0.0
        for t, value in enumerate(delay):
            expected += (value - expected) / min(t + 1, max(share * BINS, 1))
            np.testing.assert_allclose(found[t, j], expected, rtol=2e-3)
    np.testing.assert_allclose(found[5], delay[:6].mean(), rtol=1e-3)


def test_the_backlog_is_projected_by_the_load() -> None:
    x = np.zeros((600, len(SEEN)), np.float32)
    x[:, SEEN.index("backlog_up")] = np.log1p(40.0) / 5
    x[:, SEEN.index("load_up")] = np.log1p(1.2) / 5
    found = memory().of_series(x)[-1, len(SEEN) :]
    projected = np.expm1(found[ANCHORS - 4 : ANCHORS] * SCALE)
    np.testing.assert_allclose(projected, 40 + 0.2 * 500, rtol=1e-3)
    assert found[ANCHORS] == 0  # the other direction is empty


def test_a_delay_that_grows_is_taken_to_grow_on() -> None:
    x = np.zeros((2_000, len(SEEN)), np.float32)
    x[:, 0] = np.log1p(np.arange(2_000) * 0.05) / 5  # 2.5 ms more every horizon
    found = memory().of_series(x)[-1, len(SEEN) :]
    at = 3 + len(PEAKS) + OLD_PEAKS + len(MEANS)
    np.testing.assert_allclose(np.expm1(found[at : at + TRENDS] * SCALE), 1_999 * 0.05 + 2.5, rtol=0.02)


def test_no_cut_and_no_company_changes_a_bit() -> None:
    x, which = rows(400, 3), np.random.default_rng(3).integers(0, 5, 400).astype(np.int32)
    state = np.zeros((5, STATE + 7), np.float32)
    whole = memory().update(x, which, state, 7)
    for series in range(5):
        assert np.array_equal(whole[which == series], memory().of_series(x[which == series]))
    again = np.zeros_like(state)
    cut = [memory().update(x[a:b], which[a:b], again, 7) for a, b in ((0, 1), (1, 130), (130, 400))]
    assert np.concatenate(cut).tobytes() == whole.tobytes()
    assert state.tobytes() == again.tobytes()
    assert not state[:, :7].any()


def test_every_horizon_has_one_and_nothing_is_out_of_bounds() -> None:
    x = rows(300)
    x[100:103] = 1e9
    for horizon in (10, 50, 500, 5_000):
        found = memory(horizon).of_series(x)
        assert found.shape == (300, len(SEEN) + FEATURES)
        assert np.isfinite(found[:, len(SEEN) :]).all()
