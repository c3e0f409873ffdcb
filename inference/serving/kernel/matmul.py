"""Products of rows with weight matrices, every sum in a fixed order, so that no batch changes a bit.

Each output is bias + x[0] * w[0] + x[1] * w[1] + ..., added in this order and rounded after each step. Eight inputs and
two rows share a pass: outputs are loaded and stored an eighth as often, weights half as often.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from offramp.kernels import kernel_lean


@kernel_lean
def dense(x: Any, rows: int, w: Any, b: Any, y: Any, relu: bool) -> None:
    """y[:rows] = x[:rows] @ w + b: float32 [rows, inputs], [inputs, outputs], [outputs], [rows, outputs]."""
    for r in range(rows):
        copy(b, y[r])
    add_product(x, rows, w, y)
    if relu:
        for r in range(rows):
            out = y[r]
            for j in range(len(out)):
                out[j] = max(out[j], np.float32(0))


@kernel_lean
def add_product(x: Any, rows: int, w: Any, y: Any) -> None:
    """y[:rows] += x[:rows] @ w; the weights are read once for all rows, so these should fit the nearest cache."""
    inputs = w.shape[0]
    whole = inputs - inputs % 8
    for k in range(0, whole, 8):
        for r in range(0, rows - 1, 2):
            add_eight_to_two(x[r], x[r + 1], w, k, y[r], y[r + 1])
        if rows % 2:
            add_eight(x[rows - 1], w, k, y[rows - 1])
    for k in range(whole, inputs):
        for r in range(rows):
            add_one(x[r, k], w[k], y[r])


@kernel_lean
def add_row(x: Any, w: Any, y: Any) -> None:
    """Add x @ w to y for one row: float32 [inputs], [inputs, outputs], [outputs]."""
    inputs = w.shape[0]
    whole = inputs - inputs % 8
    for k in range(0, whole, 8):
        add_eight(x, w, k, y)
    for k in range(whole, inputs):
        add_one(x[k], w[k], y)


@kernel_lean
def add_two_rows(xa: Any, xb: Any, w: Any, ya: Any, yb: Any) -> None:
    """Add xa @ w to ya and xb @ w to yb, the weights read once."""
    inputs = w.shape[0]
    whole = inputs - inputs % 8
    for k in range(0, whole, 8):
        add_eight_to_two(xa, xb, w, k, ya, yb)
    for k in range(whole, inputs):
        add_one(xa[k], w[k], ya)
        add_one(xb[k], w[k], yb)


@kernel_lean
def add_eight_to_two(xa: Any, xb: Any, w: Any, k: int, ya: Any, yb: Any) -> None:
    """Add inputs k to k + 7 of two rows."""
    a0, a1, a2, a3, a4, a5, a6, a7 = xa[k], xa[k + 1], xa[k + 2], xa[k + 3], xa[k + 4], xa[k + 5], xa[k + 6], xa[k + 7]
    b0, b1, b2, b3, b4, b5, b6, b7 = xb[k], xb[k + 1], xb[k + 2], xb[k + 3], xb[k + 4], xb[k + 5], xb[k + 6], xb[k + 7]
    w0, w1, w2, w3, w4, w5, w6, w7 = w[k], w[k + 1], w[k + 2], w[k + 3], w[k + 4], w[k + 5], w[k + 6], w[k + 7]
    for j in range(len(ya)):
        a = (((ya[j] + a0 * w0[j]) + a1 * w1[j]) + a2 * w2[j]) + a3 * w3[j]
        b = (((yb[j] + b0 * w0[j]) + b1 * w1[j]) + b2 * w2[j]) + b3 * w3[j]
        ya[j] = (((a + a4 * w4[j]) + a5 * w5[j]) + a6 * w6[j]) + a7 * w7[j]
        yb[j] = (((b + b4 * w4[j]) + b5 * w5[j]) + b6 * w6[j]) + b7 * w7[j]


@kernel_lean
def add_eight(x: Any, w: Any, k: int, y: Any) -> None:
    """Add inputs k to k + 7 of one row."""
    v0, v1, v2, v3, v4, v5, v6, v7 = x[k], x[k + 1], x[k + 2], x[k + 3], x[k + 4], x[k + 5], x[k + 6], x[k + 7]
    w0, w1, w2, w3, w4, w5, w6, w7 = w[k], w[k + 1], w[k + 2], w[k + 3], w[k + 4], w[k + 5], w[k + 6], w[k + 7]
    for j in range(len(y)):
        a = (((y[j] + v0 * w0[j]) + v1 * w1[j]) + v2 * w2[j]) + v3 * w3[j]
        y[j] = (((a + v4 * w4[j]) + v5 * w5[j]) + v6 * w6[j]) + v7 * w7[j]


@kernel_lean
def add_one(value: Any, weight: Any, y: Any) -> None:
    """Add one input of one row."""
    for j in range(len(y)):
        y[j] += value * weight[j]


@kernel_lean
def copy(values: Any, out: Any) -> None:
    """Copy numbers; a slice's assignment would count references."""
    for j in range(len(values)):
        out[j] = values[j]
