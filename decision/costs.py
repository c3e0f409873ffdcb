"""What a path or a node costs: delay and energy of moving a rate of traffic there; what moves goes to the cheapest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

ENERGY_WEIGHT = 0.1
"""Milliseconds of delay that one millijoule per second of extra energy is worth."""
UNIT_BITS = 12_000
"""The delay is that of one packet of 1,500 bytes."""


class Target(Protocol):
    """What can take traffic: a path or a node."""

    @property
    def name(self) -> str:
        """Name that commands carry."""

    @property
    def delay_ms(self) -> float:
        """One-way delay without load."""

    @property
    def capacity(self) -> float:
        """Bits per second."""

    @property
    def energy_nj_per_bit(self) -> float:
        """Energy per bit in nanojoules."""


class Rated(Protocol):
    """What can be moved: a flow or a device."""

    @property
    def rate_bps(self) -> float:
        """Bits per second."""


P = TypeVar("P", bound=Target)
R = TypeVar("R", bound=Rated)


def cost(target: Target, rate_bps: float) -> float:
    """Return the cost in ms of sending `rate_bps` over `target`: delay (paper eq. 16) plus weighted energy (eq. 17).

    Delay is propagation plus the transmission of a packet on what the rate leaves free; no room costs infinity.
    """
    free = target.capacity - rate_bps
    if free <= 0:
        return math.inf
    energy_mj = rate_bps * target.energy_nj_per_bit / 1e6
    return target.delay_ms + UNIT_BITS / free * 1e3 + ENERGY_WEIGHT * energy_mj


def cheapest(places: Sequence[P], rate_bps: float, used_bps: Mapping[str, float]) -> P | None:
    """Return the place of the least cost for `rate_bps`, or None where none has room; ties go to the first.

    used_bps: what earlier moves already put on each place, by name.
    """
    costs = [cost(target, rate_bps + used_bps.get(target.name, 0.0)) for target in places]
    least = min(costs, default=math.inf)
    return places[costs.index(least)] if least < math.inf else None


def spread(
    wanted: Iterable[R], places: Sequence[P], used_bps: Mapping[str, float], capacity_bps: float, most: int,
    excess_bps: float,
) -> Iterator[tuple[R, P, float]]:  # fmt: skip
    """Yield what goes, the cheapest place with room for it, and its rate there: at most the capacity of its link.

    It ends with `most`, or when what went makes up `excess_bps`; what no place has room for stays. used_bps: what
    earlier moves put on each place, by name.
    """
    used = dict(used_bps)
    for each in wanted:
        if most <= 0 or excess_bps <= 0:
            return
        rate_bps = min(each.rate_bps, capacity_bps)
        target = cheapest(places, rate_bps, used)
        if target is not None:
            yield each, target, rate_bps
            used[target.name] = used.get(target.name, 0.0) + rate_bps
            most, excess_bps = most - 1, excess_bps - each.rate_bps
