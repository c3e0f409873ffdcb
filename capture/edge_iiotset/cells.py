"""Cells of Edge-IIoTset's CSV files to values: zeros for what is missing, floats for integers, decimal or hex flags."""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime

from offramp.capture.features.row_batches import Value
from offramp.capture.schema import Column, Kind

MISSING_CELLS = frozenset({"", "0", "0.0"})
"""What stands in a file where the packet has no such field; also where the field is zero."""

DAY_NS = 86_400_000_000_000
_TIME = re.compile(r"\s*(?:([A-Z][a-z]{2})\s+(\d{1,2}),)?\s*(\d{4}) (\d\d):(\d\d):(\d\d)\.(\d{1,9})(?:\s+[A-Z]\S*)?\s*")
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
_HEX = re.compile(r"0x[0-9a-f]{1,8}")
_BYTES = re.compile(r"[0-9a-f]{2}(:?[0-9a-f]{2})*")
_METHOD = re.compile(r"[A-Z][A-Z_-]*")
_PROTOCOL = re.compile(r"MQTT|MQIsdp")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WORDS = {"http.request.method": _METHOD, "mqtt.protoname": _PROTOCOL}
_FREE = frozenset({"http.file_data", "http.request.uri.query"})
"""Texts that may look like a number."""

_LISTED = frozenset({"dns.qry.name", "http.request.method", "mqtt.msg_decoded_as", "mqtt.protoname", "mqtt.topic"})
"""Texts in which a comma stands between two values; in the others it is part of the text."""


def is_missing(cell: str) -> bool:
    """Return whether a cell says nothing, or zero."""
    return cell in MISSING_CELLS


def parse_cell(column: Column, cell: str) -> list[Value] | None:
    """Return the values of a cell that is not missing, or None where it cannot stand in the column.

    A cell in quotes may hold several values, joined by commas. frame.time gives one number: nanoseconds since the
    epoch, or, where month and day are lost, the time of day in ns minus two days (see `time_of_day`).
    """
    if column.kind is Kind.TIME:
        time_ns = _time(cell)
        return None if time_ns is None else [time_ns]
    if column.kind is Kind.TEXT:
        if not _is_text(column, cell):
            return None
        return [part.encode() for part in (cell.split(",") if column.name in _LISTED else [cell])]
    parts = cell.split(",")
    if column.kind is Kind.PORTS:
        ports = [parse_port(part) for part in parts]
        if len(parts) % 2 or None in ports:
            return None
        return [(ports[at] or 0) << 16 | (ports[at + 1] or 0) for at in range(0, len(ports), 2)]
    values = [_one(column, part) for part in parts]
    return None if any(value is None for value in values) else [value for value in values if value is not None]


def parse_port(cell: str) -> int | None:
    """Return one of the two ports in a cell of its own."""
    value = _integer(cell)
    return value if value is not None and value < 1 << 16 else None


def time_of_day(time_ns: int) -> tuple[int | None, int]:
    """Return what a parsed frame.time says: nanoseconds since the epoch, if it has a date, and time of day in ns."""
    return (None, time_ns + 2 * DAY_NS) if time_ns < 0 else (time_ns, time_ns % DAY_NS)


def _one(column: Column, cell: str) -> Value | None:
    """Return one value of a column that is neither time, text nor ports."""
    kind = column.kind
    if kind is Kind.IPV4:
        return _address(cell)
    if kind is Kind.BYTES:
        if cell == "<MISSING>":
            return b""
        return bytes.fromhex(cell.replace(":", "")) if _BYTES.fullmatch(cell) else None
    if kind is Kind.SECONDS:
        return round(float(cell) * 1e9) if _NUMBER.fullmatch(cell) else None
    value = int(cell, 16) if kind in (Kind.HEX2, Kind.HEX4) and _HEX.fullmatch(cell) else _integer(cell)
    most = 1 if kind in (Kind.BOOL, Kind.PRESENT) else (1 << column.bits) - 1
    return value if value is not None and value <= most else None


def _integer(cell: str) -> int | None:
    """Return a whole number that pandas may have written as a float."""
    if cell.isdecimal() and cell.isascii():
        return int(cell)
    if not _NUMBER.fullmatch(cell):
        return None
    value = float(cell)
    return int(value) if value >= 0 and value.is_integer() else None


def _address(cell: str) -> int | None:
    """Return an IPv4 address as an unsigned integer."""
    try:
        return int(ipaddress.IPv4Address(cell))
    except ValueError:
        return None


def _is_text(column: Column, cell: str) -> bool:
    """Return whether a cell is a text of its column: a number stands there only by a shift."""
    pattern = _WORDS.get(column.name)
    if pattern is not None:
        return all(pattern.fullmatch(part) for part in cell.split(","))
    return column.name in _FREE or not (_NUMBER.fullmatch(cell) or _HEX.fullmatch(cell) or _address(cell) is not None)


def _time(cell: str) -> int | None:
    """Return a time as `parse_cell` does."""
    found = _TIME.fullmatch(cell)
    if found is None:
        return None
    month, day, year, hour, minute, second, fraction = found.groups()
    clock = (int(hour) * 3600 + int(minute) * 60 + int(second)) * 1_000_000_000 + int(fraction.ljust(9, "0"))
    if month is None:
        return clock - 2 * DAY_NS
    if month not in _MONTHS:
        return None
    try:
        date = datetime(int(year), _MONTHS.index(month) + 1, int(day), tzinfo=UTC)
    except ValueError:
        return None
    return int(date.timestamp()) * 1_000_000_000 + clock
