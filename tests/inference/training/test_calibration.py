"""Calibration: what is measured is true of made-up forecasts, what is folded into the weights does what it says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from offramp.inference.forecast import QUANTILES
from offramp.inference.network.queue_history import ANCHORS
from offramp.inference.scores import expected_calibration_error, log_loss
from offramp.inference.training.calibration import (
    best_temperature,
    conformal_shifts,
    folded,
    tempered,
)


def made(sharpness: float, n: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Return forecasts that are true at sharpness 1 and too sure above it, and what came true."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (n, 3))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (rng.random((n, 1)) > np.cumsum(true, axis=1)).sum(axis=1)
    powers = np.exp(logits * sharpness)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32), np.minimum(truth, 2)


def test_the_error_is_small_for_true_forecasts_and_grows_with_being_too_sure() -> None:
    true, sure = (expected_calibration_error(*made(sharpness)) for sharpness in (1.0, 2.0))
    assert true < 0.01
    assert sure > 0.05
    right = np.eye(3, dtype=np.float32)[[0, 1]]
    assert expected_calibration_error(right, np.array([0, 1])) == 0
    assert expected_calibration_error(right, np.array([1, 0])) == 1
    assert np.isnan(expected_calibration_error(np.full((2, 3), np.nan, np.float32), np.array([0, 1])))


def test_the_temperature_undoes_being_too_sure() -> None:
    found, truth = made(2.0)
    temperature = best_temperature(found, truth)
    assert temperature == pytest.approx(2.0, rel=0.05)
    assert expected_calibration_error(tempered(found, temperature), truth) < 0.01
    assert log_loss(tempered(found, temperature), truth) < log_loss(found, truth)


def test_shifts_bring_quantiles_to_their_share_and_leave_good_ones() -> None:
    delay = np.random.default_rng(2).lognormal(3, 1, 20_000).astype(np.float32)
    exact = np.quantile(delay, QUANTILES)
    low = np.tile((exact / 2).astype(np.float32), (len(delay), 1))
    moved = np.expm1(np.log1p(low) + np.array(conformal_shifts(delay, low)))
    for j, q in enumerate(QUANTILES):
        assert np.mean(delay <= moved[:, j]) == pytest.approx(q, abs=0.01)
    full = np.full((100, 3), 200.0, np.float32)
    assert conformal_shifts(full[:, 0], full) == (0.0, 0.0, 0.0)


def test_what_is_folded_into_the_heads_is_what_was_learned() -> None:
    rng = np.random.default_rng(3)
    weights = {
        "classes_w": rng.normal(size=(8, 3)).astype(np.float32), "classes_b": rng.normal(size=3).astype(np.float32),
        "delay_b": np.zeros(3 * (ANCHORS + 1), np.float32), "delay_w": np.zeros((8, 3 * (ANCHORS + 1)), np.float32),
    }  # fmt: skip
    out = folded(weights, 2.0, (0.0, 0.1, 0.2))
    x = rng.normal(size=(5, 8)).astype(np.float32)

    def softmax(w: dict[str, np.ndarray]) -> np.ndarray:
        powers: NDArray[np.float64] = np.exp(x @ w["classes_w"] + w["classes_b"])
        shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
        return shares

    np.testing.assert_allclose(softmax(out), tempered(softmax(weights), 2.0), atol=1e-6)
    np.testing.assert_allclose(out["delay_b"][-3:], [0.0, 0.1, 0.2])
    assert not out["delay_b"][:-3].any()
    rising = folded({**weights, "delay_b": np.ones(3, np.float32)}, 1.0, (1.0, 1.0, 1.0))
    assert np.array_equal(rising["delay_b"], np.ones(3))
