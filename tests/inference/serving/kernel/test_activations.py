"""The activations are as exact as their docstrings say, alone and in any company."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from offramp.inference.serving.kernel.activations import sigmoid, tanh
from offramp.kernels import kernel

Numbers = NDArray[np.float32]


@kernel
def sigmoids(values: Numbers) -> None:
    sigmoid(values)


@kernel
def tanhs(values: Numbers) -> None:
    tanh(values)


CASES = [
    (sigmoids, lambda x: 1 / (1 + np.exp(-x)), 86.0),
    (tanhs, np.tanh, 12.0),
]


@pytest.mark.parametrize(("compiled", "exact", "reach"), CASES)
def test_errors_are_below_three_units_in_the_last_place(
    compiled: Callable[[Numbers], None], exact: Callable[[NDArray[np.float64]], NDArray[np.float64]], reach: float
) -> None:
    points = np.linspace(-reach, reach, 200_001).astype(np.float32)
    found = points.copy()
    compiled(found)
    truth = exact(points.astype(np.float64))
    units = np.abs(found - truth) / np.spacing(np.maximum(np.abs(truth), 1e-30).astype(np.float32))
    assert units.max() < 3


@pytest.mark.parametrize(("compiled", "exact", "reach"), CASES)
def test_far_ends_saturate(compiled: Callable[[Numbers], None], exact: object, reach: float) -> None:
    ends = np.array([-1e9, -200, 200, 1e9], np.float32)
    compiled(ends)
    assert ends[2] == ends[3] == 1
    assert ends[0] == ends[1] == pytest.approx(-1 if compiled is tanhs else 0, abs=1e-30)


@pytest.mark.parametrize("compiled", [sigmoids, tanhs])
def test_a_number_has_the_same_bits_in_any_company(compiled: Callable[[Numbers], None]) -> None:
    values = np.random.default_rng(1).normal(0, 4, 300).astype(np.float32)
    whole = values.copy()
    compiled(whole)
    for start, end in ((0, 1), (1, 4), (3, 40), (17, 300)):
        part = values[start:end].copy()
        compiled(part)
        assert part.tobytes() == whole[start:end].tobytes()
