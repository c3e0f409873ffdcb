"""A switch's counters: what waits, and a capacity that is measured where nobody tells it."""

from __future__ import annotations

import numpy as np
import pytest

from offramp.stream.arena.network.counters import Counters
from offramp.stream.arena.network.queues import Queues, new_queues
from offramp.stream.channels import BIN_NS

NOMINAL = 8e6


def queues(share: float) -> Queues:
    """One place whose trace gives a share of the nominal capacity, another of a fixed one."""
    each = NOMINAL / 8e9 * BIN_NS / 10  # bytes: ten opportunities a bin at the whole capacity
    times = (np.arange(1, 20_000) * (BIN_NS / 10 / share)).astype(np.int64)
    return new_queues(np.full((2, 2), NOMINAL), np.full((2, 2), 1e5), np.ones((2, 2)), {(0, 0): (times, each)})


@pytest.mark.parametrize("share", [0.2, 0.5, 1.5])
def test_a_capacity_is_measured_while_something_waits_and_forgotten_while_nothing_does(share: float) -> None:
    one = queues(share)
    counters = Counters(one)
    assert counters.varies
    one.work[:] = 1e9
    for number in range(1, 60):
        counters.read(number * BIN_NS)
    capacity, waits_ms = counters.of(0)
    assert capacity[0] == pytest.approx(share * NOMINAL, rel=0.05)
    assert capacity[1] == NOMINAL, "the other direction follows no trace"
    assert waits_ms[0] == pytest.approx((1e9 - 59 * BIN_NS * share * NOMINAL / 8e9) * 8e3 / capacity[0], rel=0.01)
    assert counters.of(1)[0] == [NOMINAL, NOMINAL]
    one.work[:] = 0.0
    for number in range(60, 700):
        counters.read(number * BIN_NS)
    assert counters.of(0)[0][0] == pytest.approx(NOMINAL, rel=0.02)
    assert counters.of(0)[1] == [0.0, 0.0]


def test_a_nominal_and_a_known_capacity_are_told_where_that_is_asked_for() -> None:
    one = queues(0.5)
    one.work[:] = 1e9
    for told, capacity in (("nominal", NOMINAL), ("known", 0.5 * NOMINAL)):
        counters = Counters(one, told)
        counters.read(50 * BIN_NS)
        assert counters.of(0)[0][0] == pytest.approx(capacity, rel=0.02)
