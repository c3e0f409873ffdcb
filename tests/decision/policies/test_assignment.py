"""The search over ways: fluid delays against a slow reckoning, changes against every assignment there is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from offramp.decision.policies.assignment import LOST_MS, Change, Unit, Way, delay_ms, improve, options

HORIZON_MS = 100.0


def cost(ways: list[Way], units: list[Unit], places: list[int]) -> float:
    """Mean delay with the units at these places."""
    loads = [way.load_bps for way in ways]
    for unit, place in zip(units, places, strict=True):
        loads[unit.at] -= unit.rate_bps
        loads[place] += unit.rate_bps
    whole = sum(load * delay_ms(way, load, HORIZON_MS) for way, load in zip(ways, loads, strict=True))
    return whole / sum(loads)


def instance(seed: int) -> tuple[list[Way], list[Unit]]:
    rng = np.random.default_rng(seed)
    rates = rng.uniform(0.05, 0.4, 6) * 8e6
    at = rng.integers(0, 2, 6)
    loads = [float(rates[at == way].sum() + rng.uniform(0, 2e6)) for way in (0, 1)]
    ways = [Way(8e6, 1.0, 100.0, float(rng.uniform(0, 60)), loads[0]), Way(6e6, 5.0, 100.0, 0.0, loads[1])]
    return ways, [Unit(float(rate), int(way), (0, 1)) for rate, way in zip(rates, at, strict=True)]


@pytest.mark.parametrize("share", [0.3, 0.99, 1.0, 1.01, 1.5, 30.0])
@pytest.mark.parametrize("queue_ms", [0.0, 7.0, 99.0, 130.0])
def test_the_fluid_delay_is_that_of_small_steps(queue_ms: float, share: float) -> None:
    way = Way(8e6, 2.0, 100.0, queue_ms, 0.0)
    empty = delay_ms(way._replace(queue_ms=0.0, buffer_ms=1e9), share * 8e6, 1e-9)  # what a random arrival finds
    queue, total, step = min(queue_ms, 100.0), 0.0, 0.01
    for _ in range(round(HORIZON_MS / step)):
        lost = max(0.0, 1 - 1 / share) if queue >= 100.0 and share > 1 else 0.0
        total += lost * LOST_MS + (1 - lost) * queue
        queue = min(max(queue + (share - 1) * step, 0.0), 100.0)
    assert delay_ms(way, share * 8e6, HORIZON_MS) == pytest.approx(
        empty + total * step / HORIZON_MS, rel=0.01, abs=0.02
    )


@pytest.mark.parametrize("seed", range(30))
def test_changes_together_are_worth_their_price_and_a_unit_changes_once(seed: int) -> None:
    ways, units = instance(seed)
    changes = improve(ways, units, horizon_ms=HORIZON_MS, price_ms=0.5, changes=4)
    assert len({change.unit for change in changes}) == len(changes) <= 4
    places, before = [unit.at for unit in units], cost(ways, units, [unit.at for unit in units])
    start = before
    for change in changes:
        places[change.unit] = change.to
        after = cost(ways, units, places)
        assert before - after == pytest.approx(change.saved_ms)
        before = after
    if changes:
        assert start - before > 0.5 * (1 + 0.1 * (len(changes) - 1))
        assert changes[-1].saved_ms > 0.1 * 0.5


def test_many_light_units_leave_together_where_none_is_worth_it_alone() -> None:
    home, other = Way(8e6, 1.0, 250.0, 250.0, 10e6), Way(20e6, 5.0, 100.0, 0.0, 0.0)
    units = [Unit(2e5, 0, (0, 1))] * 50
    alone = improve([home, other], units[:1], horizon_ms=HORIZON_MS, price_ms=8.0, changes=16)
    together = improve([home, other], units, horizon_ms=HORIZON_MS, price_ms=8.0, changes=16)
    assert alone == []
    assert len(together) == 16


def test_a_free_search_comes_near_the_best_of_all_assignments() -> None:
    """Greedy, so not always the best: over 30 instances it wins nine tenths of what there is to win."""
    won = most = 0.0
    for seed in range(30):
        ways, units = instance(seed)
        places = [unit.at for unit in units]
        now = cost(ways, units, places)
        for change in improve(ways, units, horizon_ms=HORIZON_MS, price_ms=0.0, changes=6):
            places[change.unit] = change.to
        best = min(cost(ways, units, list(every)) for every in product((0, 1), repeat=6))
        won, most = won + now - cost(ways, units, places), most + now - best
    assert won > 0.9 * most > 0


def test_nothing_goes_where_it_may_not_or_comes_back_where_it_does_not_fit() -> None:
    home, other = Way(8e6, 1.0, 100.0, 50.0, 10e6), Way(6e6, 5.0, 100.0, 0.0, 0.0)
    heavy = Unit(4e6, 0, (0,))
    assert improve([home, other], [heavy], horizon_ms=HORIZON_MS, price_ms=0.0, changes=4) == []
    moved = Unit(4e6, 1, (0, 1))
    full = [home._replace(load_bps=6e6, queue_ms=0.0), other._replace(load_bps=4e6)]
    assert improve(full, [moved], horizon_ms=HORIZON_MS, price_ms=0.0, changes=4) == []
    calm = [home._replace(load_bps=1e6, queue_ms=0.0), other._replace(load_bps=4e6)]
    assert [change.to for change in improve(calm, [moved], horizon_ms=HORIZON_MS, price_ms=0.5, changes=4)] == [0]


@pytest.mark.parametrize("seed", range(10))
def test_an_option_is_what_the_unit_would_save_beside_the_changes(seed: int) -> None:
    ways, units = instance(seed)
    ways.append(Way(7e6, 9.0, 100.0, 5.0, 1e6))
    units = [unit._replace(may=(0, 1, 2)) for unit in units]
    changes = improve(ways, units, horizon_ms=HORIZON_MS, price_ms=0.5, changes=2)
    places = [unit.at for unit in units]
    for change in changes:
        places[change.unit] = change.to
    now = cost(ways, units, places)
    found = options(ways, units, changes, horizon_ms=HORIZON_MS)
    assert {option.unit for option in found} == set(range(len(units))) - {change.unit for change in changes}
    for option in found:
        others = [to for to in (0, 1, 2) if to != places[option.unit]]
        saved = {to: now - cost(ways, units, [*places[: option.unit], to, *places[option.unit + 1 :]]) for to in others}
        assert option.saved_ms == pytest.approx(max(saved.values()))
        assert saved[option.to] == pytest.approx(option.saved_ms)


def test_what_may_go_nowhere_else_and_a_direction_without_load_have_no_option() -> None:
    ways = [Way(8e6, 1.0, 100.0, 0.0, 1e6), Way(8e6, 1.0, 100.0, 0.0, 0.0)]
    assert options(ways, [Unit(1e6, 0, (0,))], [], horizon_ms=HORIZON_MS) == []
    silent = [way._replace(load_bps=0.0) for way in ways]
    assert options(silent, [Unit(0.0, 0, (0, 1))], list[Change](), horizon_ms=HORIZON_MS) == []
