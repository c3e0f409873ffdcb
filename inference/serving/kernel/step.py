"""The network as one compiled step: batched over rows, every sum in a fixed order, so no batch changes a bit.

Only the recurrent products need a series' rows one after the other. All else is done for BATCH rows at once, layer
by layer, also where the rows are steps of one series.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from offramp.inference.network.queue_history import ANCHORS, FEATURES, SCALE
from offramp.inference.serving.kernel.activations import exp32, sigmoid, tanh
from offramp.inference.serving.kernel.matmul import add_row, add_two_rows, copy, dense
from offramp.kernels import kernel, kernel_lean

BATCH = 16
"""Rows that share one reading of the weights; with their sums they stay in the nearest cache."""

FINITE = np.float32(80)
"""No forecast is above e to this power in ms, which is a float32 still, whatever the weights say."""


@kernel_lean
def lstm(x: Any, rows: int, w: Any, r: Any, b: Any, series: Any, state: Any, place: int, gates: Any, out: Any) -> None:
    """Step one LSTM layer through `rows` rows in order, two at a time where they are of two series.

    x: float32 [rows, inputs]; state: float32 [m, 4 * units], h from `place` on, c behind it, updated in place;
    gates: room for [rows, 4 * units], in Keras' order i, f, c, o; out: float32 [rows, units], h after each row.
    """
    dense(x, rows, w, b, gates, False)
    units = r.shape[0]
    middle, end = place + units, place + 2 * units
    i = 0
    while i < rows:
        mine = state[series[i]]
        if i + 1 < rows and series[i + 1] != series[i]:
            other = state[series[i + 1]]
            add_two_rows(mine[place:middle], other[place:middle], r, gates[i], gates[i + 1])
            cell(gates[i + 1], other[place:middle], other[middle:end], out[i + 1])
            cell(gates[i], mine[place:middle], mine[middle:end], out[i])
            i += 2
        else:
            add_row(mine[place:middle], r, gates[i])
            cell(gates[i], mine[place:middle], mine[middle:end], out[i])
            i += 1


@kernel_lean
def cell(gates: Any, h: Any, c: Any, out: Any) -> None:
    """Update h and c float32 [units] of one series from its gates [4 * units], which are overwritten; out gets h."""
    units = len(h)
    sigmoid(gates[: 2 * units])
    tanh(gates[2 * units : 3 * units])
    sigmoid(gates[3 * units :])
    gi, gf = gates[:units], gates[units : 2 * units]
    gc, go = gates[2 * units : 3 * units], gates[3 * units :]
    for j in range(units):
        c[j] = gf[j] * c[j] + gi[j] * gc[j]
        out[j] = c[j]
    tanh(out)
    for j in range(units):
        out[j] *= go[j]
    copy(out, h)


@kernel_lean
def class_head(logits: Any, probabilities: Any) -> None:
    """Softmax of three logits."""
    top = max(logits[0], max(logits[1], logits[2]))
    total = np.float32(0)
    for j in range(3):
        probabilities[j] = exp32(logits[j] - top)
        total += probabilities[j]
    for j in range(3):
        probabilities[j] /= total


@kernel_lean
def rising_head(raw: Any, delay_ms: Any) -> None:
    """Sum up the softplus of three numbers, back from log1p to ms; a finite delay, whatever they are."""
    rising = np.float32(0)
    for j in range(3):
        value = raw[j]
        rising += np.float32(max(value, np.float32(0)) + math.log1p(exp32(-abs(value))))
        delay_ms[j] = np.float32(math.expm1(min(rising, FINITE)))


@kernel_lean
def anchored_head(anchors: Any, raw: Any, delay_ms: Any) -> None:
    """Make each quantile a weighted mean of anchors (log1p of ms over SCALE), shifted, not below the one before."""
    highest = np.float32(0)
    for j in range(3):
        first = j * ANCHORS
        top = raw[first]
        for k in range(1, ANCHORS):
            top = max(top, raw[first + k])
        total, value = np.float32(0), np.float32(0)
        for k in range(ANCHORS):
            weight = exp32(raw[first + k] - top)
            total += weight
            value += weight * anchors[k]
        highest = max(highest, value / total * SCALE + raw[3 * ANCHORS + j])
        delay_ms[j] = np.float32(math.expm1(min(highest, FINITE)))


@kernel
def predict_rows(
    weights: Any, x: Any, spectrum: Any, series: Any, state: Any, probabilities: Any, delay_ms: Any
) -> None:
    """Predict rows in order, carrying each series' state: float32 [m, 4 * units or more], h1, c1, h2, c2 first.

    x: the channels, with the memory behind them where the weights of the delay's head are many.
    """
    (w1, b1, w2, b2, w3, b3, ws, bs, wl1, rl1, bl1, wl2, rl2, bl2, wf, bf, wc, bc, wd, bd) = weights
    n_dense, n_spec, units = w3.shape[1], ws.shape[1], rl1.shape[0]
    a = np.empty((BATCH, w1.shape[1]), np.float32)
    a2 = np.empty((BATCH, w2.shape[1]), np.float32)
    a3 = np.empty((BATCH, n_dense), np.float32)
    s = np.empty((BATCH, n_spec), np.float32)
    both = np.empty((BATCH, n_dense + n_spec), np.float32)
    fused = np.empty((BATCH, n_dense + n_spec + units), np.float32)
    h = np.empty((BATCH, units), np.float32)
    gates = np.empty((BATCH, 4 * units), np.float32)
    top = np.empty((BATCH, wf.shape[1]), np.float32)
    logits, raw = np.empty((BATCH, 3), np.float32), np.empty((BATCH, wd.shape[1]), np.float32)
    anchored, first = wd.shape[1] > 3, x.shape[1] - FEATURES
    n = x.shape[0]
    for start in range(0, n, BATCH):
        rows = min(BATCH, n - start)
        which = series[start : start + rows]
        dense(x[start : start + rows], rows, w1, b1, a, True)
        dense(a, rows, w2, b2, a2, True)
        dense(a2, rows, w3, b3, a3, True)
        dense(spectrum[start : start + rows], rows, ws, bs, s, True)
        for i in range(rows):
            copy(a3[i], both[i, :n_dense])
            copy(s[i], both[i, n_dense:])
        lstm(both, rows, wl1, rl1, bl1, which, state, 0, gates, h)
        lstm(h, rows, wl2, rl2, bl2, which, state, 2 * units, gates, h)
        for i in range(rows):
            copy(both[i], fused[i, : n_dense + n_spec])
            copy(h[i], fused[i, n_dense + n_spec :])
        dense(fused, rows, wf, bf, top, True)
        dense(top, rows, wc, bc, logits, False)
        dense(top, rows, wd, bd, raw, False)
        for i in range(rows):
            class_head(logits[i], probabilities[start + i])
            if anchored:
                anchored_head(x[start + i, first : first + ANCHORS], raw[i], delay_ms[start + i])
            else:
                rising_head(raw[i], delay_ms[start + i])
