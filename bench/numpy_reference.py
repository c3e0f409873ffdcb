"""The network in plain NumPy and double precision, slow and obvious: the reference for every serving backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.inference.network.preset import OUTPUTS
from offramp.inference.network.queue_history import ANCHORS, FEATURES, SCALE

Doubles = NDArray[np.float64]


def reference_forecasts(
    weights: Mapping[str, NDArray[np.float32]], x: NDArray[np.float32], frames: NDArray[np.float32]
) -> tuple[Doubles, Doubles]:
    """Return probabilities and log1p of the delay of every bin, both [n, T, 3], of n series from fresh state.

    x: [n, T, inputs] as the network sees it, the memory behind the channels; frames: [n, T, K].
    Source: the paper's eq. 4-15, as inference.network.keras_model builds them.
    """
    w = {name: array.astype(np.float64) for name, array in weights.items()}
    features = x.astype(np.float64)
    for name in ("dense1", "dense2", "dense3"):
        features = dense(w, name, features)
    skipped = dense(w, "spectrum", frames.astype(np.float64))
    both = np.concatenate([features, skipped], axis=-1)
    memory = lstm(w, "lstm2", lstm(w, "lstm1", both))
    fused = dense(w, "fusion", np.concatenate([both, memory], axis=-1))
    logits = fused @ w["classes_w"] + w["classes_b"]
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    rising = delays(fused @ w["delay_w"] + w["delay_b"], x.astype(np.float64))
    return powers / powers.sum(axis=-1, keepdims=True), rising


def delays(raw: Doubles, x: Doubles) -> Doubles:
    """Return log1p of the delay's quantiles: running softplus, or means of a row's anchors where the head has many."""
    if raw.shape[-1] == OUTPUTS:
        return np.asarray(np.cumsum(np.logaddexp(0.0, raw), axis=-1))
    first = x.shape[-1] - FEATURES
    anchors = x[..., first : first + ANCHORS] * float(SCALE)
    out: list[Doubles] = []
    for j in range(OUTPUTS):
        powers = np.exp(raw[..., j * ANCHORS : (j + 1) * ANCHORS])
        value = (powers * anchors).sum(axis=-1) / powers.sum(axis=-1) + raw[..., OUTPUTS * ANCHORS + j]
        out.append(np.maximum(value, out[-1] if out else 0.0))
    return np.stack(out, axis=-1)


def dense(w: Mapping[str, Doubles], name: str, inputs: Doubles) -> Doubles:
    """Return a dense layer's output with ReLU."""
    out: Doubles = np.maximum(inputs @ w[f"{name}_w"] + w[f"{name}_b"], 0.0)
    return out


def lstm(w: Mapping[str, Doubles], name: str, inputs: Doubles) -> Doubles:
    """Return an LSTM layer's h after every step: [n, T, units]; gates in Keras' order i, f, c, o."""
    units = len(w[f"{name}_r"])
    h, c = np.zeros((len(inputs), units)), np.zeros((len(inputs), units))
    out = np.empty((*inputs.shape[:2], units))
    given: Any = inputs @ w[f"{name}_w"] + w[f"{name}_b"]
    for t in range(inputs.shape[1]):
        i, f, g, o = np.split(given[:, t] + h @ w[f"{name}_r"], 4, axis=-1)
        c = logistic(f) * c + logistic(i) * np.tanh(g)
        h = logistic(o) * np.tanh(c)
        out[:, t] = h
    return out


def logistic(values: Doubles) -> Doubles:
    """Return the logistic function."""
    out: Doubles = 0.5 * (1.0 + np.tanh(0.5 * values))
    return out
