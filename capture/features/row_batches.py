"""Rows of Python values to feature batches, for the dissectors that make an object per packet."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from offramp.capture.features.arrow_schema import OCCURRENCE_TYPE, OCCURRENCES, wire_type
from offramp.capture.features.rendering import render_column
from offramp.capture.schema import COLUMNS, INDEX

Value = int | bytes
Row = dict[int, list[Value]]
"""A packet: column number to its values of wire type, in packet order. Numbers are int; text, bytes, IPv6 are bytes."""


def put(row: Row, name: str, value: Value) -> None:
    """Add a value to a row's column; further ones become occurrences."""
    row.setdefault(INDEX[name], []).append(value)


def rows_to_batches(rows: Sequence[Row], schema: pa.Schema, batch_rows: int) -> list[pa.RecordBatch]:
    """Return rows as batches of at most `batch_rows` rows, with the schema (and metadata) of a profile."""
    return [_batch(rows[start : start + batch_rows], schema) for start in range(0, len(rows), batch_rows)]


def _batch(rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
    """Return one batch."""
    arrays: list[pa.Array] = []
    for index, column in enumerate(COLUMNS):
        if column.name in schema.names:
            cells = [row[index][0] if index in row else None for row in rows]
            arrays.append(pa.array(cells, wire_type(column)))
    if OCCURRENCES in schema.names:
        arrays.append(pa.array([_occurrences(row) for row in rows], OCCURRENCE_TYPE))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _occurrences(row: Row) -> list[dict[str, object]] | None:
    """Return the further occurrences of a row, rendered as tshark prints them; None where there are none."""
    found: list[dict[str, object]] = []
    for index, values in row.items():
        if len(values) > 1:
            column = COLUMNS[index]
            words = render_column(column, pa.array(values[1:], wire_type(column))).to_pylist()
            found += [{"column": index, "value": word} for word in words]
    return found or None
