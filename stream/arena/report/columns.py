"""The columns of an arena's tables, for a terminal and for the page: one source for both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Row = Mapping[str, Any]


class Column(NamedTuple):
    """A column: its title, its width in a terminal, and what a row shows there."""

    title: str
    width: int
    shown: Callable[[Row], str]


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share in percent; what is not there as a dash."""
    return "-" if value is None else f"{value:.{digits}%}"


def mean(row: Row) -> str:
    """Return the mean delay and its interval, ms."""
    return f"{row['mean_ms']:.2f} ({row['low_ms']:.2f}, {row['high_ms']:.2f})"


def triple(value: Sequence[float] | None, sign: str = "") -> str:
    """Return a number and its interval; what is not there as a dash."""
    return "-" if value is None else "{:{s}.2f} ({:{s}.2f}, {:{s}.2f})".format(*value, s=sign)


def settings_text(settings: Row) -> str:
    """Return a policy's settings in a line."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def sent(shown: Callable[[Row], str]) -> Callable[[Row], str]:
    """Return what is shown of packets: a dash for a class that sends none, as what a device computes for itself."""
    return lambda row: "-" if row.get("share") == 0 else shown(row)


FELT = (
    Column("mean ms (95 % interval)", 27, sent(mean)),
    Column("p95", 8, sent(lambda row: f"{row['p95_ms']:.1f}")),
    Column("p99", 8, sent(lambda row: f"{row['p99_ms']:.1f}")),
    Column("lost", 8, sent(lambda row: percent(row["lost"], 2))),
    Column("late", 8, sent(lambda row: percent(row["over"]))),
    Column("in time", 9, lambda row: percent(row["in_time"])),
    Column("Mbit/s", 8, lambda row: f"{row['throughput_bps'] / 1e6:.2f}"),
    Column("over the bound, ms", 25, sent(lambda row: triple(row["regret_ms"], "+"))),
)
TOOK = (
    Column("congested", 11, lambda row: percent(row["congested"])),
    Column("near bound", 12, lambda row: percent(row["near_bound"])),
    Column("nJ/bit", 8, lambda row: f"{row['energy_nj']:.2f}"),
    Column("moves", 8, lambda row: f"{row['moves']:.1f}"),
    Column("back", 8, lambda row: f"{row['returns']:.1f}"),
    Column("flaps", 8, lambda row: f"{row['flaps']:.1f}"),
    Column("refused", 9, lambda row: f"{row['refused']:.1f}"),
    Column("failed", 8, lambda row: f"{row['failed']:.1f}"),
    Column("broken", 8, lambda row: f"{row['broken']:.1f}"),
    Column("node full", 11, lambda row: f"{row['refused_tasks']:.1f}"),
)
TUNED = (
    Column("mean ms tuned", 24, mean),
    Column("mean ms as set", 24, lambda row: mean(row["as_set"])),
    Column("tuned : threshold", 20, lambda row: triple(row["ratio_to_threshold"])),
    Column("as set : threshold", 20, lambda row: triple(row["as_set"]["ratio_to_threshold"])),
)
