"""Calibrate a model: make its probabilities and quantiles true on the validation part.

A temperature (Guo et al. 2017) divides the logits of the class; a conformal shift (Romano et al. 2019) moves a quantile
in log1p(ms). Both are learned on the validation part and folded into the weights of the heads, so serving knows
neither.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from offramp.inference.forecast import QUANTILES
from offramp.inference.network.preset import OUTPUTS
from offramp.inference.network.queue_history import ANCHORS
from offramp.inference.scores import FEW, log_loss

TEMPERATURES = np.geomspace(0.5, 3.0, 91)


def tempered(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Return the probabilities as logits divided by the temperature would give them."""
    log = np.log(np.maximum(probabilities.astype(np.float64), FEW)) / temperature
    powers = np.exp(log - log.max(axis=1, keepdims=True))
    out: NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return out


def best_temperature(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Return the temperature with the least log loss."""
    losses = [log_loss(tempered(probabilities, float(each)), truth) for each in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def pinball_log(delay_ms: NDArray[np.float32], quantile_ms: NDArray[np.float32], q: float) -> float:
    """Return the quantile loss in log1p(ms)."""
    error = np.log1p(delay_ms) - np.log1p(quantile_ms)
    return float(np.maximum(q * error, (q - 1) * error).mean())


def conformal_shifts(delay_ms: NDArray[np.float32], quantiles_ms: NDArray[np.float32]) -> tuple[float, ...]:
    """Return for each quantile the shift in log1p(ms) after which its share of delays is at or below it.

    Nothing for a quantile whose loss would not fall, as where most delays are one number: an empty or a full queue.
    """
    out = []
    for j, q in enumerate(QUANTILES):
        short = np.log1p(delay_ms) - np.log1p(quantiles_ms[:, j])
        shift = float(np.quantile(short, q, method="higher"))
        moved = np.expm1(np.maximum(np.log1p(quantiles_ms[:, j]) + shift, 0)).astype(np.float32)
        better = pinball_log(delay_ms, moved, q) < pinball_log(delay_ms, quantiles_ms[:, j], q)
        out.append(shift if better else 0.0)
    return tuple(out)


def folded(
    weights: Mapping[str, NDArray[np.float32]], temperature: float, shifts: tuple[float, ...]
) -> dict[str, NDArray[np.float32]]:
    """Return weights whose forecasts are calibrated. Only a head with anchors has a place for the shifts."""
    out = dict(weights)
    for name in ("classes_w", "classes_b"):
        out[name] = (weights[name] / np.float32(temperature)).astype(np.float32)
    bias = weights["delay_b"].copy()
    if len(bias) > OUTPUTS:
        bias[OUTPUTS * ANCHORS :] += np.array(shifts, np.float32)
    out["delay_b"] = bias
    return out
