"""The exact optimum: the best of all plans where all can be tried, and what the greedy bound is held against."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bench.arena_exact import compare
from offramp.stream.arena.milp import Instance, fluid_ms, heaviest, sent_by, solve
from offramp.stream.arena.network.queues import new_queues
from offramp.stream.arena.scenario import load_scenario
from offramp.stream.arena.traffic import arrivals_of
from tests.support.places import ROOT


@pytest.mark.parametrize("seed", range(12))
def test_it_is_the_best_of_all_plans(seed: int) -> None:
    rng = np.random.default_rng(seed)
    flows, slots, places = 3, 4, 2
    arrived = rng.uniform(0, 90_000, (flows, slots)) * (rng.random((flows, slots)) < 0.8)
    arrived[0, 1] = 200_000.0  # more than a slot carries and the buffer holds: something is lost in most plans
    instance = Instance(
        arrived, rng.random(flows) < 0.3, np.zeros(flows, np.int64), rng.uniform(40_000, 110_000, (places, 2, slots)),
        np.full((places, 2), 50_000.0), np.array([[1.0, 1.0], [5.0, 5.0]]), 200.0, 3_000.0,
    )  # fmt: skip
    best = np.inf
    for drawn in itertools.product(range(places), repeat=flows * (slots - 1)):
        plan = np.zeros((flows, slots), np.int64)
        plan[:, 1:] = np.array(drawn).reshape(flows, -1)
        best = min(best, fluid_ms(instance, plan))
    found = solve(instance)
    assert found.mean_ms == pytest.approx(best, rel=2e-3)
    assert fluid_ms(instance, found.place) == pytest.approx(found.mean_ms, rel=1e-6)
    assert found.least_ms <= found.mean_ms * (1 + 1e-9)


def test_the_heaviest_flows_are_kept_whole() -> None:
    arrivals = arrivals_of(load_scenario(ROOT / "samples/arena/bulk.toml"), 1, ROOT, None)
    found = heaviest(arrivals, 4)
    bytes_ = np.sort(np.bincount(arrivals.flow, arrivals.packets.size))[::-1]
    assert np.sort(np.bincount(found.flow, found.packets.size))[::-1].tolist() == bytes_[:4].tolist()
    assert len(found.down) == len(found.key) == len(found.kind) == len(found.link) == 4


@pytest.mark.parametrize("name", ["jobs", "mixed"])
def test_the_greedy_bound_is_near_it(name: str) -> None:
    path = ROOT / f"samples/arena/{name}.toml"
    scenario = load_scenario(path).model_copy(update={"seconds": 4.0})
    none, greedy, plan, fluid, optimum, least, _ = compare(scenario, 1, 6, path.parent, None, 20.0)
    assert greedy <= 1.1 * plan
    assert greedy < none
    assert fluid >= optimum * 0.999 >= least * 0.998


def test_what_can_be_sent_is_that_of_the_queues() -> None:
    """A fixed capacity, one with outages, one of a trace: by each time as a packet that waits for nothing but it."""
    trace = np.array([3, 50, 51, 120], np.int64) * 1_000_000
    outages = {1: np.array([[20, 70], [90, 100]], np.int64) * 1_000_000}
    capacity = np.full((3, 2), 8e6)
    queues = new_queues(capacity, capacity, capacity * 0, {(2, 0): (trace, 500.0)}, outages=outages)
    times = np.array([0, 10, 30, 70, 80, 95, 130], np.int64) * 1_000_000
    assert sent_by(queues, 0, 0, times).tolist() == [0, 10_000, 30_000, 70_000, 80_000, 95_000, 130_000]
    assert sent_by(queues, 1, 0, times).tolist() == [0, 10_000, 20_000, 20_000, 30_000, 40_000, 70_000]
    assert sent_by(queues, 2, 0, times).tolist() == [0, 500, 500, 1_500, 1_500, 1_500, 2_000]
