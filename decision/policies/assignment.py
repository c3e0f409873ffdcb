"""Which unit of traffic takes which way, one direction by itself: what lowers the mean delay of all of it most.

A way is a queue that fills or drains at constant rates (fluid), with what a random arrival finds there besides. The
search is greedy: the one change that helps most, again and again, while it is worth its price.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LOST_MS = 200.0
"""What a lost packet counts as: a retransmission time-out of Linux at least, as in the arena."""
NEARLY_FULL, MOST_WAITING = 1.02, 20.0
"""Of the wait of random arrivals, load / (1.02 - load) times half a packet, at most 20 of these: as an M/D/1 queue but
near a load of 1, where it never comes to its mean within a horizon; there the fluid takes over."""
PACKET_BITS = 12_000
FURTHER = 0.1
"""Share of the price that each change beside the first one has: what must leave leaves at once, not flow by flow."""


class Way(NamedTuple):
    """A place in one direction; queue_ms: when the changes would come into force; load_bps: with all units there."""

    capacity_bps: float
    base_ms: float
    buffer_ms: float
    queue_ms: float
    load_bps: float


class Unit(NamedTuple):
    """What is moved as one; at: the number of its way; may: the numbers of the ways that it may take.

    dear: the price of its moves, of the price of a move.
    """

    rate_bps: float
    at: int
    may: tuple[int, ...]
    dear: float = 1.0


class Change(NamedTuple):
    """Unit number `unit` goes `to`, which saves `saved_ms` of the mean delay of the direction."""

    unit: int
    to: int
    saved_ms: float


def delay_ms(way: Way, load_bps: float, horizon_ms: float) -> float:
    """Return the mean delay over a horizon of what comes to a way that has this load: fluid queue, buffer and loss."""
    share = load_bps / way.capacity_bps
    waiting = share / (NEARLY_FULL - share) if share < NEARLY_FULL else MOST_WAITING
    random_ms = min(waiting, MOST_WAITING) * PACKET_BITS / way.capacity_bps * 500.0
    queue, most, slope = min(way.queue_ms, way.buffer_ms), way.buffer_ms, share - 1.0
    if slope <= 0.0:
        until = queue / -slope if slope < 0.0 else horizon_ms
        length = min(until, horizon_ms)
        return way.base_ms + random_ms + length * (queue + 0.5 * slope * length) / horizon_ms
    length = min((most - queue) / slope, horizon_ms)
    filling = length * (queue + 0.5 * slope * length)
    lost = 1.0 - 1.0 / share
    full = (horizon_ms - length) * (lost * LOST_MS + (1.0 - lost) * most)
    return way.base_ms + random_ms + (filling + full) / horizon_ms


def improve(
    ways: Sequence[Way],
    units: Sequence[Unit],
    *,
    horizon_ms: float,
    price_ms: float,
    changes: int,
    price_share: float = 0.0,
) -> list[Change]:
    """Return at most so many changes, each of a unit of its own, that together save more than their price.

    price_ms: of the mean delay over the horizon, of all traffic of the direction, for the first change; price_share: of
    that delay besides. A further one costs FURTHER of price_ms: many light units leave together where none is worth it
    alone.
    """
    loads = [way.load_bps for way in ways]
    costs = [load * delay_ms(way, load, horizon_ms) for way, load in zip(ways, loads, strict=True)]
    whole, at, left = sum(loads), [unit.at for unit in units], set(range(len(units)))
    price = FURTHER * price_ms * whole
    found: list[Change] = []
    net, most, kept = price - price_ms * whole - price_share * sum(costs), 0.0, 0
    while len(found) < changes:
        best, choice = 0.0, None
        for number in left:
            unit, here = units[number], at[number]
            less = loads[here] - unit.rate_bps
            leaving = costs[here] - less * delay_ms(ways[here], less, horizon_ms) - price * unit.dear
            if leaving <= best:
                continue
            for to in unit.may:
                if to != here:
                    more = loads[to] + unit.rate_bps
                    won = leaving + costs[to] - more * delay_ms(ways[to], more, horizon_ms)
                    if won > best:
                        best, choice = won, (number, to)
        if choice is None:
            break
        number, to = choice
        here, rate = at[number], units[number].rate_bps
        left.remove(number)
        loads[here], loads[to] = loads[here] - rate, loads[to] + rate
        for which in (here, to):
            costs[which] = loads[which] * delay_ms(ways[which], loads[which], horizon_ms)
        found.append(Change(number, to, (best + price * units[number].dear) / whole))
        net += best
        if net > most:
            most, kept = net, len(found)
    return found[:kept]


def options(
    ways: Sequence[Way], units: Sequence[Unit], changes: Sequence[Change], *, horizon_ms: float
) -> list[Change]:
    """Return the best other way of each unit that is in none of the changes, and what it would save beside these.

    That is less than nothing where it would be worse there. A unit that may take no other way has none.
    """
    loads = [way.load_bps for way in ways]
    for change in changes:
        unit = units[change.unit]
        loads[unit.at], loads[change.to] = loads[unit.at] - unit.rate_bps, loads[change.to] + unit.rate_bps
    whole, done = sum(loads), {change.unit for change in changes}
    if whole <= 0.0:
        return []
    costs = [load * delay_ms(way, load, horizon_ms) for way, load in zip(ways, loads, strict=True)]
    found: list[Change] = []
    for number, unit in enumerate(units):
        less = loads[unit.at] - unit.rate_bps
        leaving = costs[unit.at] - less * delay_ms(ways[unit.at], less, horizon_ms)
        saved = {}
        for to in unit.may if number not in done else ():
            if to != unit.at:
                more = loads[to] + unit.rate_bps
                saved[to] = (leaving + costs[to] - more * delay_ms(ways[to], more, horizon_ms)) / whole
        if saved:
            best = max(saved, key=saved.__getitem__)
            found.append(Change(number, best, saved[best]))
    return found
