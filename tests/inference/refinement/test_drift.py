"""Drift is told where a link changes, soon, and hardly ever where it does not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from offramp.inference.refinement.drift import SCALE_FROM, DriftWatch
from offramp.stream.bins.state import LinkConfig
from offramp.stream.channels import CHANNELS
from offramp.stream.datasets.labelling import closed_rows
from offramp.stream.datasets.synthetic import NETWORK, merged, periodic_device, web_bursts

SIGNALS = ("load_up", "load_down", "delay_peak", "packets_up")
CAPACITY = 10e6


def link_rows(seed: int, seconds: float, busy: float) -> np.ndarray:
    """Bins of a link with sensors and pages, `busy` times as many of these: [n, signals]."""
    rng = np.random.default_rng([77, seed])
    flows = [flow for device in range(5) for flow in periodic_device(rng, seconds, device)]
    flows += [flow for device in range(5, 12) for flow in web_bursts(rng, seconds, device, CAPACITY * busy)]
    rows = closed_rows(merged(flows), LinkConfig(CAPACITY, CAPACITY, 1e5, (NETWORK,)))
    own: NDArray[np.float64] = rows["x"][rows["series"] == 0].astype(np.float64)
    return own[:, [CHANNELS.index(name) for name in SIGNALS]]


@pytest.fixture(scope="module")
def still() -> list[np.ndarray]:
    return [link_rows(seed, 200, 1.0) for seed in range(2)]


def test_a_link_that_stays_as_it_is_hardly_ever_drifts(still: list[np.ndarray]) -> None:
    told = [drift for rows in still for drift in DriftWatch(SIGNALS).update(rows)]
    averages = sum(len(rows) // 100 * len(SIGNALS) for rows in still)
    assert averages > 1_500
    assert len(told) <= 2


def test_a_link_that_grows_busier_drifts(still: list[np.ndarray]) -> None:
    for seed, rows in enumerate(still):
        watch = DriftWatch(SIGNALS)
        watch.update(rows[:10_000])
        told = watch.update(link_rows(50 + seed, 120, 4.0))
        assert told, f"no drift of link {seed} was seen"
        assert told[0].signal in SIGNALS
        assert told[0].after != pytest.approx(told[0].before)
        assert told[0].averages <= 100 + 120


def test_errors_that_grow_are_a_drift_and_unknown_ones_are_left_out() -> None:
    rng = np.random.default_rng(1)
    watch = DriftWatch(("error",))
    before = rng.exponential(0.1, (6_000, 1))
    before[::3] = np.nan
    assert watch.update(before) == []
    told = watch.update(rng.exponential(0.3, (4_000, 1)))
    assert [drift.signal for drift in told] == ["error"]
    assert told[0].after > 1.5 * told[0].before


def test_the_cut_into_calls_changes_nothing() -> None:
    rows = np.random.default_rng(2).normal(0, 1, (6_000, 2)) + (np.arange(6_000) > 4_000)[:, None] * 3
    whole = DriftWatch(("a", "b")).update(rows)
    watch = DriftWatch(("a", "b"))
    parts = [drift for k in range(0, 6_000, 37) for drift in watch.update(rows[k : k + 37])]
    assert whole
    assert sorted(parts) == sorted(whole)
    assert all(drift.averages > SCALE_FROM for drift in whole)
