"""Tables to Arrow: one record batch a table, with wire types and validity, built by compiled loops."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from offramp.capture.dissect.content_coding import decode_bodies
from offramp.capture.dissect.packet.notes import NOTE_BODY_CUT
from offramp.capture.dissect.packet.table import ABSENT, Table, copy_bytes
from offramp.capture.features.arrow_schema import OCCURRENCE_TYPE, OCCURRENCES, wire_type
from offramp.capture.features.rendering import render_column
from offramp.capture.schema import COLUMNS, Column, Kind
from offramp.kernels import kernel_entry, kernel_lean

_SPANS = (Kind.TEXT, Kind.BYTES, Kind.IPV6)
_MASK = (1 << 24) - 1
_MAX_OFFSET = (1 << 31) - 1  # bytes that the offsets of an Arrow column can tell


@cache
def _cell_type(column: Column) -> Any:
    """Return the NumPy type of a number's cells (Arrow's own way loads pandas, a third of a second)."""
    return np.dtype(str(wire_type(column)))


def table_to_batch(out: Table, rows: int, data: NDArray[np.uint8], schema: pa.Schema) -> pa.RecordBatch:
    """Return the first `rows` rows of a table as a record batch; `data` is the block that spans point into."""
    names = set(schema.names)
    if OCCURRENCES in names:
        out.notes[NOTE_BODY_CUT] += decode_bodies(out, rows, data)
    arrays: list[pa.Array] = [
        _column_array(column, out.values[index, :rows], data, out.text)
        for index, column in enumerate(COLUMNS)
        if column.name in names
    ]
    if OCCURRENCES in names:
        arrays.append(_occurrences(out, rows, data))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _column_array(column: Column, values: NDArray[np.int64], data: NDArray[np.uint8], text: NDArray[np.uint8]) -> Any:
    """Return one column as an Arrow array of its wire type."""
    kind = wire_type(column)
    rows = len(values)
    bitmap = np.empty((rows + 7) // 8, np.uint8)
    if column.kind not in _SPANS:
        cells = np.empty(rows, _cell_type(column))
        absent = pack_numbers(values, cells, bitmap)
        if absent == rows:
            return pa.nulls(rows, kind)
        return pa.Array.from_buffers(kind, rows, [_validity(bitmap, absent), pa.py_buffer(cells)], absent)
    starts = np.empty(rows + 1, np.int32)
    absent = pack_lengths(values, starts, bitmap)
    if absent == rows:
        return pa.nulls(rows, kind)
    if column.kind is Kind.IPV6:
        body = np.zeros(rows * 16, np.uint8)
        pack_addresses(values, body, data)
        return pa.Array.from_buffers(kind, rows, [_validity(bitmap, absent), pa.py_buffer(body)], absent)
    body = np.empty(int(starts[rows]), np.uint8)
    pack_bytes(values, starts, body, data, text)
    return pa.Array.from_buffers(
        kind, rows, [_validity(bitmap, absent), pa.py_buffer(starts), pa.py_buffer(body)], absent
    )


def _validity(bitmap: NDArray[np.uint8], absent: int) -> Any:
    """Return the validity buffer, or None where every cell is there."""
    return pa.py_buffer(bitmap) if absent else None


def _occurrences(out: Table, rows: int, data: NDArray[np.uint8]) -> pa.Array:
    """Return the further occurrences of each row, rendered as tshark prints them."""
    used = int(out.cursor[0])
    if used == 0:
        return pa.nulls(rows, OCCURRENCE_TYPE)
    row, column = out.extra_row[:used], out.extra_column[:used]
    rendered = np.empty(used, object)
    for index in np.unique(column):
        where = np.flatnonzero(column == index)
        array = _column_array(COLUMNS[index], np.ascontiguousarray(out.extra_value[where]), data, out.text)
        rendered[where] = np.array(render_column(COLUMNS[index], array).to_pylist(), object)
    counts = np.bincount(row, minlength=rows)
    starts = np.zeros(rows + 1, np.int32)
    np.cumsum(counts, out=starts[1:])
    items = pa.StructArray.from_arrays(
        [pa.array(column.astype(np.uint8)), pa.array(rendered, pa.string())], fields=list(OCCURRENCE_TYPE.value_type)
    )
    bitmap = np.packbits(counts > 0, bitorder="little")
    absent = int((counts == 0).sum())
    return pa.Array.from_buffers(
        OCCURRENCE_TYPE, rows, [_validity(bitmap, absent), pa.py_buffer(starts)], absent, children=[items]
    )


@kernel_entry
def pack_numbers(values: Any, cells: Any, bitmap: Any) -> int:
    """Narrow int64 [n] to `cells` [n] with a validity bitmap; return how many cells are absent.

    The bitmap is written only where some cells are absent and some are not. The loop has no branch: it becomes vector
    code.
    """
    absent = 0
    for row in range(values.shape[0]):
        value = values[row]
        missing = value == ABSENT
        absent += missing
        cells[row] = 0 if missing else value
    if 0 < absent < values.shape[0]:
        pack_presence(values, bitmap)
    return absent


@kernel_lean
def pack_presence(values: Any, bitmap: Any) -> None:
    """Write bit i of the bitmap as whether value i is there; the bits behind the last are 0."""
    rows = values.shape[0]
    for group in range(rows >> 3):
        at = group << 3
        low = (
            np.int64(values[at] != ABSENT)
            | np.int64(values[at + 1] != ABSENT) << 1
            | np.int64(values[at + 2] != ABSENT) << 2
            | np.int64(values[at + 3] != ABSENT) << 3
        )
        high = (
            np.int64(values[at + 4] != ABSENT)
            | np.int64(values[at + 5] != ABSENT) << 1
            | np.int64(values[at + 6] != ABSENT) << 2
            | np.int64(values[at + 7] != ABSENT) << 3
        )
        bitmap[group] = low | high << 4
    if rows & 7:
        byte = np.int64(0)
        for row in range(rows & ~7, rows):
            byte |= np.int64(values[row] != ABSENT) << (row & 7)
        bitmap[rows >> 3] = byte


@kernel_entry
def pack_lengths(values: Any, starts: Any, bitmap: Any) -> int:
    """Turn spans int64 [n] into Arrow offsets int32 [n + 1]; return how many are absent, with a bitmap as above.

    The offsets never pass what int32 holds; the shares of rows and batches (see packet.table) keep them far below.
    """
    absent = 0
    total = 0
    starts[0] = 0
    for row in range(values.shape[0]):
        value = values[row]
        missing = value == ABSENT
        absent += missing
        total = min(total + (0 if missing else value & _MASK), _MAX_OFFSET)
        starts[row + 1] = total
    if 0 < absent < values.shape[0]:
        pack_presence(values, bitmap)
    return absent


@kernel_entry
def pack_bytes(values: Any, starts: Any, body: Any, data: Any, text: Any) -> None:
    """Copy the bytes of spans int64 [n] to `body`."""
    for row in range(values.shape[0]):
        value = values[row]
        if value != ABSENT:
            offset = (value >> 24) & 0x3FFFFFFFFF
            at = np.int64(starts[row])
            size = np.int64(starts[row + 1]) - at
            if value >> 62 & 1:
                copy_bytes(text[offset : offset + size], body[at : at + size])
            else:
                copy_bytes(data[offset : offset + size], body[at : at + size])


@kernel_entry
def pack_addresses(values: Any, body: Any, data: Any) -> None:
    """Copy the 16 bytes of each IPv6 address to `body`."""
    for row in range(values.shape[0]):
        value = values[row]
        if value != ABSENT:
            offset = (value >> 24) & 0x3FFFFFFFFF
            for byte in range(16):
                body[16 * row + byte] = data[offset + byte]
