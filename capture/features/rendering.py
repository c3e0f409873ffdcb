"""Cells as text: every kind of column as `tshark -n -T fields` prints it."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from socket import AF_INET6, inet_ntop
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from offramp.capture.schema import Column, Kind

_ESCAPES = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}
_NAME_ESCAPES = {code: f"\\{code:03o}" for code in (*range(32), 127)} | _ESCAPES | {7: "\\a", 11: "\\v"}


def render_column(column: Column, array: pa.Array) -> pa.Array:
    """Return a column of wire type as strings, null where the field is absent."""
    if array.null_count == len(array):
        return pa.nulls(len(array), pa.string())
    if column.kind in (Kind.UINT, Kind.BOOL, Kind.PRESENT, Kind.NANOSECONDS):
        return pc.cast(array, pa.string())
    render = _SPECIAL.get(column.name) or _RENDERERS[column.kind]
    unique = array.dictionary_encode()
    words = pa.array([render(value) for value in unique.dictionary.to_pylist()], pa.string())
    return words.take(unique.indices)


def render_time(time_ns: int) -> str:
    """Return a time as tshark's frame.time prints it in UTC: `Nov 24, 2026 02:30:30.000000000 UTC`."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    when = datetime.fromtimestamp(seconds, UTC)
    return f"{when:%b} {when.day:2d}, {when.year} {when:%H:%M:%S}.{nanoseconds:09d} UTC"


def render_seconds(time_ns: int) -> str:
    """Return a duration in seconds with nine decimals, negative ones with their sign before."""
    sign = "-" if time_ns < 0 else ""
    seconds, nanoseconds = divmod(abs(time_ns), 1_000_000_000)
    return f"{sign}{seconds}.{nanoseconds:09d}"


def render_text(value: bytes) -> str:
    """Return text as tshark prints it: up to a NUL, tabs and line ends as two characters, bad UTF-8 replaced."""
    return value.split(b"\0", 1)[0].decode("utf-8", "replace").translate(_ESCAPES)


def render_ascii(value: bytes) -> str:
    """Return text as render_text does, each byte that is not ASCII replaced."""
    return value.split(b"\0", 1)[0].decode("ascii", "replace").translate(_ESCAPES)


def render_name(value: bytes) -> str:
    """Return a DNS name as tshark prints it: what does not print as escapes, by letter, in octal or as a code point."""
    text = value.decode("utf-8", "replace").translate(_NAME_ESCAPES)
    return text if text.isprintable() else "".join(_escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    """Return a character, or its code point where it is a control, a format mark or not assigned."""
    if unicodedata.category(letter) not in ("Cc", "Cf", "Cn"):
        return letter
    code = ord(letter)
    return f"\\u{code:04X}" if code < 1 << 16 else f"\\U{code:08X}"


def _ipv4(value: int) -> str:
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


def _ports(value: int) -> str:
    return f"{value >> 16},{value & 0xFFFF}"


_RENDERERS: dict[Kind, Any] = {
    Kind.HEX2: lambda value: f"0x{value:02x}",
    Kind.HEX4: lambda value: f"0x{value:04x}",
    Kind.IPV4: _ipv4,
    Kind.IPV6: lambda value: inet_ntop(AF_INET6, value),  # as tshark; ipaddress spells mapped ones by Python's version
    Kind.PORTS: _ports,
    Kind.TIME: render_time,
    Kind.SECONDS: render_seconds,
    Kind.TEXT: render_text,
    Kind.BYTES: lambda value: value.hex() or "<MISSING>",
}


_SPECIAL: dict[str, Any] = {
    "http.file_data": render_ascii,
    "http.request.method": render_ascii,
    "http.request.uri.query": render_ascii,
    "http.request.version": render_ascii,
    "http.referer": render_ascii,
    "dns.qry.name": render_name,
}
"""Columns that are read in another way than their kind says."""


def join_occurrences(first: list[Any], occurrences: list[Any], index: int) -> list[Any]:
    """Return cells with their further occurrences appended, joined by commas in packet order."""
    joined = list(first)
    for row, extras in enumerate(occurrences):
        if extras:
            more = [extra["value"] for extra in extras if extra["column"] == index]
            if more:
                joined[row] = ",".join([joined[row] or "", *more])
    return joined
