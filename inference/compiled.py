"""The network as one compiled step: batched over series, every sum in a fixed order, so no batch changes a bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from offramp_kernels import kernel

BATCH = 16
"""Rows that share one reading of the weights."""


@kernel
def dense(x: Any, rows: int, w: Any, b: Any, y: Any, relu: bool) -> None:
    """y[:rows] = x[:rows] @ w + b, summed over inputs in order; float32."""
    for r in range(rows):
        for j in range(w.shape[1]):
            y[r, j] = b[j]
    accumulate(x, rows, w, y)
    if relu:
        for r in range(rows):
            for j in range(w.shape[1]):
                y[r, j] = max(y[r, j], np.float32(0))


@kernel
def accumulate(x: Any, rows: int, w: Any, y: Any) -> None:
    """y[:rows] += x[:rows] @ w, weights read once for all rows.

    Four inputs a pass, added one after the other: the sum's order stays, y is loaded and stored a quarter as often.
    """
    inputs, outputs = w.shape
    whole = inputs - inputs % 4
    for k in range(0, whole, 4):
        w0, w1, w2, w3 = w[k], w[k + 1], w[k + 2], w[k + 3]
        for r in range(rows):
            v0, v1, v2, v3 = x[r, k], x[r, k + 1], x[r, k + 2], x[r, k + 3]
            if v0 != 0 or v1 != 0 or v2 != 0 or v3 != 0:
                out = y[r]
                for j in range(outputs):
                    out[j] = (((out[j] + v0 * w0[j]) + v1 * w1[j]) + v2 * w2[j]) + v3 * w3[j]
    for k in range(whole, inputs):
        weight = w[k]
        for r in range(rows):
            value, out = x[r, k], y[r]
            for j in range(outputs):
                out[j] += value * weight[j]


@kernel
def sigmoid(value: Any) -> Any:
    """Return the logistic function of a float32."""
    return np.float32(1) / (np.float32(1) + np.float32(math.exp(-value)))


@kernel
def lstm(x: Any, rows: int, w: Any, r: Any, b: Any, h: Any, c: Any, gates: Any) -> None:
    """One step of an LSTM layer in place: h, c float32 [rows, units]; gates in Keras' order i, f, c, o."""
    units = h.shape[1]
    dense(x, rows, w, b, gates, False)
    accumulate(h, rows, r, gates)
    for i in range(rows):
        g = gates[i]
        for j in range(units):
            kept = sigmoid(g[units + j]) * c[i, j]
            c[i, j] = kept + sigmoid(g[j]) * np.float32(math.tanh(g[2 * units + j]))
            h[i, j] = sigmoid(g[3 * units + j]) * np.float32(math.tanh(c[i, j]))


@kernel
def heads(logits: Any, raw: Any, probabilities: Any, delay_ms: Any) -> None:
    """Softmax of three logits; running softplus of three numbers, back from log1p to ms."""
    top = max(logits[0], max(logits[1], logits[2]))
    total = np.float32(0)
    for j in range(3):
        probabilities[j] = np.float32(math.exp(logits[j] - top))
        total += probabilities[j]
    rising = np.float32(0)
    for j in range(3):
        probabilities[j] /= total
        value = raw[j]
        rising += np.float32(max(value, np.float32(0)) + math.log1p(math.exp(-abs(value))))
        delay_ms[j] = np.float32(math.expm1(rising))


@kernel
def predict_rows(
    weights: Any, x: Any, spectrum: Any, series: Any, state: Any, probabilities: Any, delay_ms: Any
) -> None:
    """Predict rows in order, carrying each series' state: float32 [m, 4 * units] as h1, c1, h2, c2."""
    (w1, b1, w2, b2, w3, b3, ws, bs, wl1, rl1, bl1, wl2, rl2, bl2, wf, bf, wc, bc, wd, bd) = weights
    n_dense, n_spec, units = w3.shape[1], ws.shape[1], rl1.shape[0]
    a = np.empty((BATCH, w1.shape[1]), np.float32)
    a2 = np.empty((BATCH, w2.shape[1]), np.float32)
    both = np.empty((BATCH, n_dense + n_spec), np.float32)
    fused = np.empty((BATCH, n_dense + n_spec + units), np.float32)
    a3 = np.empty((BATCH, n_dense), np.float32)
    s = np.empty((BATCH, n_spec), np.float32)
    h1, c1 = np.empty((BATCH, units), np.float32), np.empty((BATCH, units), np.float32)
    h2, c2 = np.empty((BATCH, units), np.float32), np.empty((BATCH, units), np.float32)
    gates = np.empty((BATCH, 4 * units), np.float32)
    top = np.empty((BATCH, wf.shape[1]), np.float32)
    logits, raw = np.empty((BATCH, 3), np.float32), np.empty((BATCH, 3), np.float32)
    used = np.full(state.shape[0], -1, np.int64)
    start = 0
    n = x.shape[0]
    while start < n:
        rows = 0
        while rows < BATCH and start + rows < n and used[series[start + rows]] != start:
            used[series[start + rows]] = start
            rows += 1
        dense(x[start : start + rows], rows, w1, b1, a, True)
        dense(a, rows, w2, b2, a2, True)
        dense(a2, rows, w3, b3, a3, True)
        dense(spectrum[start : start + rows], rows, ws, bs, s, True)
        for i in range(rows):
            both[i, :n_dense] = a3[i]
            both[i, n_dense:] = s[i]
            mine = state[series[start + i]]
            h1[i], c1[i] = mine[:units], mine[units : 2 * units]
            h2[i], c2[i] = mine[2 * units : 3 * units], mine[3 * units :]
        lstm(both, rows, wl1, rl1, bl1, h1, c1, gates)
        lstm(h1, rows, wl2, rl2, bl2, h2, c2, gates)
        for i in range(rows):
            fused[i, : n_dense + n_spec] = both[i]
            fused[i, n_dense + n_spec :] = h2[i]
            mine = state[series[start + i]]
            mine[:units], mine[units : 2 * units] = h1[i], c1[i]
            mine[2 * units : 3 * units], mine[3 * units :] = h2[i], c2[i]
        dense(fused, rows, wf, bf, top, True)
        dense(top, rows, wc, bc, logits, False)
        dense(top, rows, wd, bd, raw, False)
        for i in range(rows):
            heads(logits[i], raw[i], probabilities[start + i], delay_ms[start + i])
        start += rows
