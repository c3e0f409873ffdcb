"""Bounds of the numbers in site.toml and in specifications: one table of least and most, with the reason for each."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from pydantic import BeforeValidator

from offramp.toml import shown

RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kMGT]?)(?:bit/s|bps|bit)\s*", re.ASCII)
FACTOR = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
MAX_NUMBER = 40
"""Characters of a rate as text."""


class Bound(NamedTuple):
    """The least and the most that a number of some kind may be, both allowed, and its unit."""

    least: float
    most: float
    unit: str = ""
    whole: bool = False


BOUNDS = {
    # from the slowest radio of a sensor to the fastest port there is
    "rate": Bound(1e4, 1e12, "bit/s"),
    # one bin is 10 ms; nobody accepts a minute
    "budget_ms": Bound(0.1, 60_000, "ms"),
    # two satellite hops are 0.6 s; ten seconds are none
    "delay_ms": Bound(0, 10_000, "ms"),
    # from a bin on; a day
    "outage_s": Bound(0.01, 86_400, "s"),
    # a bin, as the executor learns of it at its end; nobody waits for ten minutes
    "reconnect_ms": Bound(10, 600_000, "ms"),
    # bins wait in 16 places, of which two are at work (stream.bins.state.OPEN)
    "lateness_ms": Bound(0, 140, "ms"),
    # a packet of 1,500 bytes must fit; 100 GB is a second of the fastest port
    "buffer_bytes": Bound(1_500, 1e11, "bytes", whole=True),
    # one, or one for what gives way besides: more are not told apart by a mark
    "queues": Bound(1, 2, "", whole=True),
    # what every IPv4 host takes; IP knows no longer packet
    "mtu": Bound(576, 65_535, "bytes", whole=True),
    # up to a minute at the slowest rate
    "buffer_ms": Bound(0.1, 60_000, "ms"),
    # radio takes some 1,000 nJ a bit, at worst a million
    "energy": Bound(0, 1e6, "nJ/bit"),
    # a day of bins of 10 ms
    "bins": Bound(1, 8_640_000, "", whole=True),
    "probability": Bound(0.001, 0.999),
    "share": Bound(0, 1),
    "some_share": Bound(0.01, 1),
    # a day: what a policy waits for longer is no reaction any more, and dates stay in range
    "wait_s": Bound(0, 86_400, "s"),
    # a command must reach a controller, and be renewed at half of it; a day at most, as it outlives a dead worker
    "expiry_s": Bound(1, 86_400, "s"),
    "moves": Bound(1, 10_000, "", whole=True),
    "priority": Bound(-1_000_000, 1_000_000, "", whole=True),
    # a packet may wait for a minute in the longest buffer there is
    "price_ms": Bound(0, 60_000, "ms"),
    # a bin; ten minutes are the day's load
    "rate_s": Bound(0.01, 600, "s"),
    # from a bin on; an hour is no foresight over bins of 10 ms
    "horizon_ms": Bound(10, 3_600_000, "ms", whole=True),
    # offered rate over capacity
    "load": Bound(0.01, 100),
    # series of busiest devices (stream.bins.state.SERIES)
    "devices": Bound(0, 32, "", whole=True),
    "device": Bound(0, 250, "", whole=True),
    "seed": Bound(0, 2**63 - 1, "", whole=True),
    "count": Bound(0, 100_000, "", whole=True),
    # of a file; the largest that a link of a terabit moves in a day
    "bytes": Bound(1, 1e16, "bytes", whole=True),
    # an answer goes out at once (stream.arena.senders.tasks.MOST_BYTES)
    "answer": Bound(0, 5e6, "bytes", whole=True),
    # from a microcontroller to a rack of accelerators
    "compute": Bound(1e3, 1e18, "cycles/s"),
    # a checksum takes some, a large model of pictures a million
    "cycles": Bound(0, 1e9, "cycles/bit"),
    "cycle_energy": Bound(0, 1e6, "nJ/cycle"),
    # tasks that wait
    "queue": Bound(0, 10_000, "", whole=True),
    # what is busy with all of it computes nothing
    "load_share": Bound(0, 0.99),
    # of a made-up link: a day
    "seconds": Bound(1, 86_400, "s"),
}  # fmt: skip


def number(kind: str) -> BeforeValidator:
    """Return the check that a value is a number of a kind in BOUNDS; it stands in an annotated type."""
    bound, parse = BOUNDS[kind], parse_rate if kind == "rate" else _same
    return BeforeValidator(lambda value: checked(parse(value), bound))


def checked(value: Any, bound: Bound) -> Any:
    """Return a number that lies in its bounds. Raises ValueError with what was expected and what was found."""
    kind = "a whole number" if bound.whole else "a number"
    if isinstance(value, str):
        raise ValueError(f"expected {kind} without quotes, {span(bound)}; found {shown(value)}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected {kind}, {span(bound)}; found {shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected {kind}, {span(bound)}; found {value}")
    if bound.whole and value != int(value):
        raise ValueError(f"expected {kind}, {span(bound)}; found {shown(value)}")
    if not bound.least <= value <= bound.most:
        raise ValueError(f"expected {span(bound)}; found {amount(value, bound.unit)}")
    return int(value) if bound.whole else value


def parse_rate(value: Any) -> Any:
    """Return bits per second of text such as `20 Mbit/s`; anything else as it is."""
    if isinstance(value, str):
        match = RATE.fullmatch(value) if len(value) <= MAX_NUMBER else None
        if match is None:
            raise ValueError(f"expected bits per second, such as 20000000 or '20 Mbit/s'; found {shown(value)}")
        return float(match[1]) * FACTOR[match[2]]
    return value


def span(bound: Bound) -> str:
    """Return bounds in words."""
    return f"{amount(bound.least, bound.unit)} to {amount(bound.most, bound.unit)}"


def amount(value: float, unit: str) -> str:
    """Return a number with its unit, rates in the largest that fits."""
    if isinstance(value, int) and abs(value) >= 10**20:
        return shown(value)
    if unit == "bit/s" and value >= 1e3:
        prefix = next(each for each in "TGMk" if value >= FACTOR[each])
        return f"{value / FACTOR[prefix]:.12g} {prefix}bit/s"
    text = f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:g}"
    return f"{text} {unit}".rstrip()


def _same(value: Any) -> Any:
    return value
