from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from offramp.errors import ArtifactError
from offramp.stream.windows.normaliser import RATIO, STATE_KEYS, Normaliser


def rows(seed: int, n: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    x = rng.lognormal(0, 2, (n, 5)).astype(np.float32)
    x[rng.random((n, 5)) < 0.1] = np.nan
    x[:, 3] = 2.0
    x[:, 4] = np.nan
    return x


def test_the_cut_into_calls_changes_no_bit() -> None:
    x = rows(4, 500)
    one, many = Normaliser(5), Normaliser(5)
    one.update(x)
    for row in x:
        many.update(row[None])
    for key in STATE_KEYS:
        assert np.array_equal(one.state()[key], many.state()[key])


def test_scale_imputation_and_outliers() -> None:
    x = np.ones((1_000, 1), np.float32) + np.linspace(0, 1, 1_000, dtype=np.float32)[:, None]
    x[0] = 1e6
    normaliser = Normaliser(1)
    normaliser.update(x)
    high = float(normaliser.limits().high[0])
    assert high < 1e6 / 5
    out = normaliser.transform(np.array([[np.nan], [1e9], [0.0], [1.5]], np.float32))
    assert out.min() >= 0
    assert out.max() == 1
    assert out[2, 0] == 0


def test_quantiles_are_as_good_as_their_buckets() -> None:
    x = rows(9, 5_000)[:, :1]
    normaliser = Normaliser(1)
    normaliser.update(x)
    exact = np.nanquantile(x, 0.9, method="inverted_cdf")
    assert exact / RATIO <= normaliser.quantile(0.9)[0] <= exact * RATIO


def test_what_never_varied_or_never_came_is_zero() -> None:
    normaliser = Normaliser(5)
    normaliser.update(rows(1, 100))
    assert not normaliser.transform(rows(1, 100))[:, 3:].any()


def test_state_round_trip_and_refusals() -> None:
    normaliser = Normaliser(5)
    normaliser.update(rows(2, 100))
    again = Normaliser.from_state(normaliser.state())
    assert np.array_equal(again.transform(rows(3, 50)), normaliser.transform(rows(3, 50)))
    state = normaliser.state()
    del state["total"]
    with pytest.raises(ArtifactError, match="total"):
        Normaliser.from_state(state)
    with pytest.raises(ArtifactError, match="shape"):
        Normaliser.from_state(normaliser.state() | {"total": np.zeros(2)})
