from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.stream.bins.heavy_hitters import (
    COUNTERS,
    HALF_LIFE_BINS,
    KEY,
    RESCALE_BINS,
    TOP,
    HeavyHitters,
    add,
    new_heavy_hitters,
    scale_at,
    top,
)


def exact(flows: Iterable[int], sizes: Iterable[int], bins: Sequence[int]) -> dict[int, float]:
    total: dict[int, float] = {}
    for flow, size, number in zip(flows, sizes, bins, strict=True):
        total[flow] = total.get(flow, 0.0) + size * 0.5 ** ((bins[-1] - number) / HALF_LIFE_BINS)
    return total


def run(flows: Iterable[int], sizes: Iterable[int], bins: Iterable[int]) -> HeavyHitters:
    hitters = new_heavy_hitters()
    for flow, size, number in zip(flows, sizes, bins, strict=True):
        key = np.array([0, flow, 0, 1, 6, flow % 7], np.int64)
        add(hitters, key, float(size) * scale_at(hitters, number))
    return hitters


@given(st.integers(0, 1_000), st.sampled_from([50, 400, 3_000]), st.sampled_from([1, 30, 900]))
@settings(max_examples=20, deadline=None)
def test_error_bound(seed: int, flows: int, bins_apart: int) -> None:
    rng = np.random.default_rng(seed)
    chosen = (rng.pareto(1.0, 4_000) * 3).astype(np.int64) % flows
    sizes, bins = rng.integers(40, 1_500, 4_000), np.cumsum(rng.random(4_000) < 0.01) * bins_apart + 10**11
    hitters = run(chosen.tolist(), sizes.tolist(), bins.tolist())
    truth = exact(chosen.tolist(), sizes.tolist(), bins.tolist())
    scale = scale_at(hitters, int(bins[-1]))
    bound = hitters.total[0] / scale / COUNTERS
    np.testing.assert_allclose(hitters.total[0] / scale, sum(truth.values()), rtol=1e-6)
    for row in range(hitters.clock[1]):
        true = truth[int(hitters.key[row, 1])]
        counted = hitters.weight[row] / scale
        assert true * (1 - 1e-6) - 1e-6 <= counted <= true + bound * (1 + 1e-6) + 1e-6
    kept = set(hitters.key[: hitters.clock[1], 1].tolist())
    assert all(flow in kept for flow, weight in truth.items() if weight > bound * (1 + 1e-6) + 1e-6)


def test_top_are_the_heaviest_first() -> None:
    flows = [1] * 50 + [2] * 30 + [3] * 10
    hitters = run(flows, [100] * 90, [5] * 90)
    keys, weights = np.zeros((TOP, KEY), np.int64), np.zeros(TOP)
    top(hitters, scale_at(hitters, 5), keys, weights)
    assert keys[:3, 1].tolist() == [1, 2, 3]
    np.testing.assert_allclose(weights[:4], [5_000, 3_000, 1_000, 0])


def test_what_was_long_ago_is_forgotten() -> None:
    hitters = run([1, 2], [10**9, 10], [0, 2 * RESCALE_BINS])
    keys, weights = np.zeros((TOP, KEY), np.int64), np.zeros(TOP)
    top(hitters, scale_at(hitters, 2 * RESCALE_BINS), keys, weights)
    assert keys[0, 1] == 2
