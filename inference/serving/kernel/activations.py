"""exp, sigmoid and tanh of float32 without branches or tables, so that a loop over them becomes vector code.

Calls of the C library took more than half of a forecast. Every operation here is rounded once, so that a number has the
same bits whatever stands beside it. Errors (a test checks them): exp and sigmoid 2 units in the last place, tanh 2. The
coefficients are minimax fits on the ranges named beside them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from offramp.kernels import kernel_lean

ONE, TWO, HALF = np.float32(1), np.float32(2), np.float32(0.5)
MIN_EXPONENT, MAX_EXPONENT = np.float32(-87.0), np.float32(88.0)
LOG2_E = np.float32(1.4426950408889634)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
"""ln 2 in two parts, the first of few bits, so that a whole multiple of it is exact."""

ROUNDER = np.float32(12582912.0)
"""1.5 * 2^23: adding it to a float32 below 2^22 leaves the nearest whole number in the low bits."""

# (exp(r) - 1 - r) / r^2 on |r| <= ln(2) / 2
E0, E1, E2 = np.float32(0.5000000095183175), np.float32(0.1666651883886669), np.float32(0.041666205811291816)
E3, E4 = np.float32(0.008368889428137006), np.float32(0.0013950490480260334)

# (tanh(x) / x - 1) / x^2 as a polynomial of x^2 on |x| <= 0.625
SMALL = np.float32(0.625)
T0, T1, T2 = np.float32(-0.33333283924725), np.float32(0.13331491274081775), np.float32(-0.05374349712577326)
T3, T4 = np.float32(0.020650584468283373), np.float32(-0.005717042144645738)


@kernel_lean
def exp32(value: Any) -> Any:
    """Return e to the power of a float32, which is first clipped to [-87, 88]."""
    x = min(max(value, MIN_EXPONENT), MAX_EXPONENT)
    shifted = x * LOG2_E + ROUNDER
    whole = shifted - ROUNDER
    r = (x - whole * LN2_HIGH) - whole * LN2_LOW
    p = (((E4 * r + E3) * r + E2) * r + E1) * r + E0
    scale = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (p * (r * r) + r + ONE) * scale


@kernel_lean
def sigmoid(values: Any) -> None:
    """Turn each number into its logistic function, in place (one array: two that may overlap are no vector code)."""
    for j in range(len(values)):
        values[j] = ONE / (ONE + exp32(-values[j]))


@kernel_lean
def tanh(values: Any) -> None:
    """Turn each number into its hyperbolic tangent, in place."""
    for j in range(len(values)):
        x = values[j]
        z = x * x
        near = x + x * z * ((((T4 * z + T3) * z + T2) * z + T1) * z + T0)
        size = abs(x)
        far = ONE - TWO / (exp32(TWO * size) + ONE)
        far = far if x > np.float32(0) else -far
        values[j] = near if size < SMALL else far
