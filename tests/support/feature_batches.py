"""Feature batches of the stream profile, cell by cell."""

from __future__ import annotations

import pyarrow as pa

from offramp.capture.schema import COLUMNS, Kind

BASE = 1_700_000_000_000_000_000
"""A time to begin at, ns."""


def arrow_type(kind: Kind, bits: int) -> pa.DataType:
    if kind in (Kind.BOOL, Kind.PRESENT):
        return pa.uint8()
    if kind in (Kind.TIME, Kind.NANOSECONDS, Kind.SECONDS):
        return pa.int64()
    if kind == Kind.TEXT:
        return pa.string()
    if kind == Kind.BYTES:
        return pa.binary()
    if kind == Kind.IPV6:
        return pa.binary(16)
    return {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}[bits]


def make_batch(rows: int, **cells: object) -> pa.RecordBatch:
    """A feature batch of the stream profile; cells by column name with dots as double underscores."""
    given = {name.replace("__", "."): values for name, values in cells.items()}
    arrays, names = [], []
    for column in COLUMNS:
        if not column.stream:
            continue
        kind = arrow_type(column.kind, column.bits)
        arrays.append(pa.array(given.get(column.name, [None] * rows), kind))
        names.append(column.name)
    return pa.RecordBatch.from_arrays(arrays, names)


def ip(text: str) -> int:
    a, b, c, d = (int(part) for part in text.split("."))
    return a << 24 | b << 16 | c << 8 | d
