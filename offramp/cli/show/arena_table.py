"""The tables that `offramp arena` prints: what users felt, what it took, and what tuning brought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
FEW = "*"
"""Marks an interval that rests on too few blocks."""


def _percent(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}%}"


def _interval(row: Row) -> str:
    return f"{row['mean_ms']:.2f} ({row['low_ms']:.2f}, {row['high_ms']:.2f})"


def _triple(value: Sequence[float] | None, sign: str = "") -> str:
    return "-" if value is None else "{:{s}.2f} ({:{s}.2f}, {:{s}.2f})".format(*value, s=sign)


FELT = (
    ("p95", 8, lambda row: f"{row['p95_ms']:.1f}"),
    ("p99", 8, lambda row: f"{row['p99_ms']:.1f}"),
    ("lost", 8, lambda row: _percent(row["lost"], 2)),
    ("late", 8, lambda row: _percent(row["over"])),
    ("in time", 9, lambda row: _percent(row["in_time"])),
    ("Mbit/s", 8, lambda row: f"{row['throughput_bps'] / 1e6:.2f}"),
    ("over the bound, ms", 25, lambda row: _triple(row["regret_ms"], "+")),
)  # fmt: skip
TOOK = (
    ("congested", 11, lambda row: _percent(row["congested"])),
    ("near bound", 11, lambda row: _percent(row["near_bound"])),
    ("nJ/bit", 8, lambda row: f"{row['energy_nj']:.2f}"),
    ("moves", 8, lambda row: f"{row['moves']:.1f}"),
    ("back", 8, lambda row: f"{row['returns']:.1f}"),
    ("flaps", 7, lambda row: f"{row['flaps']:.1f}"),
    ("refused", 9, lambda row: f"{row['refused']:.1f}"),
    ("failed", 8, lambda row: f"{row['failed']:.1f}"),
    ("broken", 8, lambda row: f"{row['broken']:.1f}"),
)  # fmt: skip
TUNED = (
    ("mean ms tuned", 24, _interval),
    ("mean ms as set", 24, lambda row: _interval(row["as_set"])),
    ("tuned : threshold", 20, lambda row: _triple(row["ratio_to_threshold"])),
    ("as set : threshold", 20, lambda row: _triple(row["as_set"]["ratio_to_threshold"])),
)  # fmt: skip


def head(columns: Sequence[tuple[str, int, Any]], first: str = "policy") -> str:
    """Return the line above some columns."""
    return f"{first:<14}{''.join(f'{name:>{width}}' for name, width, _ in columns)}"


def line(name: str, row: Row, columns: Sequence[tuple[str, int, Any]]) -> str:
    """Return a row of some columns."""
    return f"{name:<14}{''.join(f'{shown(row):>{width}}' for _, width, shown in columns)}"


def felt_columns(sure: bool) -> Sequence[tuple[str, int, Any]]:
    """Return the columns of what users felt; sure: whether intervals rest on enough blocks."""
    return (("mean ms (95 % interval)", 27, lambda row: _interval(row) + ("" if sure else FEW)), *FELT)
