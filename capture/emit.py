"""Where kernels put what they find: one column-major table of int64, and a sparse list of further occurrences.

Numbers stand as they are. Text and bytes stand as a span: `where << 62 | offset << 24 | length`, where 0 means the
block's bytes and 1 the text buffer of this table (names spelled out, messages put together from several segments).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from capture.schema import COLUMNS
from offramp_kernels import kernel_entry, kernel_lean

ABSENT = np.int64(-(2**63))
"""The value of a cell whose field is not in the packet."""

NOTE_COUNT = 64
EXTRA_RESERVE = 400_000  # the most further occurrences that one packet can hold: a 64 kB packet of 2-byte messages
TEXT_RESERVE = 40 << 20  # the most text that one packet may add; longer messages are cut and noted


class Table(NamedTuple):
    """The output of one dissection. A plain tuple of arrays, so that kernels take it as one argument.

    values: int64 [columns, rows]; extra_row, extra_column: int32, extra_value: int64, in the order found;
    text: uint8; cursor: int64 [2] (extras used, text bytes used); notes: int64 [NOTE_COUNT] counts by reason number.
    """

    values: NDArray[np.int64]
    extra_row: NDArray[np.int32]
    extra_column: NDArray[np.int32]
    extra_value: NDArray[np.int64]
    text: NDArray[np.uint8]
    cursor: NDArray[np.int64]
    notes: NDArray[np.int64]


def new_table(rows: int) -> Table:
    """Return an empty table for `rows` packets; its large buffers cost nothing until written."""
    return Table(
        np.full((len(COLUMNS), rows), ABSENT, np.int64),
        np.empty(2 * EXTRA_RESERVE, np.int32),
        np.empty(2 * EXTRA_RESERVE, np.int32),
        np.empty(2 * EXTRA_RESERVE, np.int64),
        np.empty(2 * TEXT_RESERVE, np.uint8),
        np.zeros(2, np.int64),
        np.zeros(NOTE_COUNT, np.int64),
    )


@kernel_lean
def has_room(out: Table) -> bool:
    """Tell whether any packet's findings still fit; kernels ask before each row and end the batch if not."""
    extras, text = out.cursor[0] + EXTRA_RESERVE, out.cursor[1] + TEXT_RESERVE
    return bool(extras <= out.extra_row.shape[0] and text <= out.text.shape[0])


@kernel_lean
def put(out: Table, row: int, column: int, value: int) -> None:
    """Set a cell, or append a further occurrence where the cell is taken."""
    if out.values[column, row] == ABSENT:
        out.values[column, row] = value
    else:
        at = out.cursor[0]
        out.extra_row[at] = row
        out.extra_column[at] = column
        out.extra_value[at] = value
        out.cursor[0] = at + 1


@kernel_lean
def span(offset: int, length: int) -> int:
    """Return the value of a cell that is `length` bytes of the block's data from `offset`."""
    return (offset << 24) | length


@kernel_entry
def text_span(offset: int, length: int) -> int:
    """Return the value of a cell that is `length` bytes of the table's text from `offset`."""
    return (1 << 62) | (offset << 24) | length


@kernel_lean
def copy_bytes(source: Any, target: Any) -> None:
    """Fill `target` from `source`; slices with an index from 0 on become vector code, offsets added to it do not."""
    for at in range(len(target)):
        target[at] = source[at]


@kernel_lean
def put_bytes(out: Table, row: int, column: int, data: Any, in_block: bool, offset: int, length: int) -> None:
    """Set a cell to bytes of `data`: by reference when that is the block itself, else by copy into the text."""
    if in_block:
        put(out, row, column, span(offset, length))
        return
    start = out.cursor[1]
    copy_bytes(data[offset : offset + length], out.text[start : start + length])
    out.cursor[1] = start + length
    put(out, row, column, text_span(start, length))
