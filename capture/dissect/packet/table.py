"""The dissector's output table, filled by kernels: int64 cells by column, further occurrences as a list, and text.

Numbers are stored as they are, text and bytes as a span: `where << 62 | offset << 24 | length`, where 0 means the
block's bytes and 1 the text buffer of this table (names spelled out, messages reassembled).

Only this module appends to the list and the text. Every row has the same share of both, and a batch ends where no whole
share is left, so that what a row shows depends on its packet alone. What exceeds the share is left out and counted. No
dissector needs to know how much a packet may hold.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.capture.dissect.packet.notes import NOTE_COUNT, NOTE_OCCURRENCES_CUT, NOTE_TEXT_CUT
from offramp.capture.schema import COLUMNS
from offramp.kernels import kernel_lean

ABSENT = np.int64(-(2**63))
"""The value of a cell whose field is not in the packet."""

MAX_OCCURRENCES = 1 << 17
"""Further occurrences of one row. A packet of 64 kB, the most on any link, has 98,304: 2-byte messages of 3 fields."""

MAX_TEXT = 40 << 20
"""Bytes of text of one row: the largest message put together and once more what it carries, and 8 MiB of names."""

MAX_SHOWN = 16 << 20
"""Bytes of the block that one row's further occurrences may point to, in all: a packet of 256 kB, 64 tunnels deep."""

BATCH_OCCURRENCES, BATCH_TEXT, BATCH_SHOWN = 400_000, 40 << 20, 64 << 20
"""Where a batch ends, and the next row begins another: what a batch takes when it is made into Arrow."""

MAX_CELL = (1 << 24) - 1
"""Largest length of a span, in bytes."""

# fields of Table.cursor: how much is used, and how much the current row may use
EXTRAS, TEXT, SHOWN = 0, 1, 2
EXTRAS_END, TEXT_END, SHOWN_END = 3, 4, 5


class Table(NamedTuple):
    """The output of one dissection. A plain tuple of arrays, so that kernels take it as one argument.

    values: int64 [columns, rows]; extra_row, extra_column: int32, extra_value: int64, in the order found;
    text: uint8; cursor: int64 [6], see EXTRAS; notes: int64 [NOTE_COUNT] counts by reason number.
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
    extras = BATCH_OCCURRENCES + MAX_OCCURRENCES
    return Table(
        np.full((len(COLUMNS), rows), ABSENT, np.int64),
        np.empty(extras, np.int32),
        np.empty(extras, np.int32),
        np.empty(extras, np.int64),
        np.empty(BATCH_TEXT + MAX_TEXT, np.uint8),
        np.zeros(6, np.int64),
        np.zeros(NOTE_COUNT, np.int64),
    )


@kernel_lean
def begin_row(out: Table) -> bool:
    """Grant the next row its shares; return False where the table lacks that much: the batch ends before this row."""
    cursor = out.cursor
    extras, text = cursor[EXTRAS] + MAX_OCCURRENCES, cursor[TEXT] + MAX_TEXT
    if extras > out.extra_row.shape[0] or text > out.text.shape[0] or cursor[SHOWN] > BATCH_SHOWN:
        return False
    cursor[EXTRAS_END] = extras
    cursor[TEXT_END] = text
    cursor[SHOWN_END] = cursor[SHOWN] + MAX_SHOWN
    return True


@kernel_lean
def row_full(out: Table) -> bool:
    """Return whether the row has used up a share, and count that more was to come.

    Loops over messages, questions, topics or samples ask before each, and end where it is full.
    """
    if out.cursor[EXTRAS] >= out.cursor[EXTRAS_END]:
        out.notes[NOTE_OCCURRENCES_CUT] += 1
        return True
    if out.cursor[TEXT] >= out.cursor[TEXT_END]:
        out.notes[NOTE_TEXT_CUT] += 1
        return True
    return False


@kernel_lean
def append(out: Table, row: int, column: int, value: int) -> None:
    """Append a further occurrence where the row's share has room for it; else count it.

    Kept so small that it is inlined into `put`, and `put` into its callers: a call copies the whole table.
    """
    at = out.cursor[EXTRAS]
    if at < out.cursor[EXTRAS_END]:
        out.extra_row[at] = row
        out.extra_column[at] = column
        out.extra_value[at] = value
        out.cursor[EXTRAS] = at + 1
    else:
        out.notes[NOTE_OCCURRENCES_CUT] += 1


@kernel_lean
def show(out: Table, size: int) -> bool:
    """Take the `size` block bytes of a further occurrence from the row's share; else count it and return False."""
    if size <= out.cursor[SHOWN_END] - out.cursor[SHOWN]:
        out.cursor[SHOWN] += size
        return True
    out.notes[NOTE_OCCURRENCES_CUT] += 1
    return False


@kernel_lean
def put(out: Table, row: int, column: int, value: int) -> None:
    """Set a cell to a number, or append a further occurrence where the cell is taken."""
    if out.values[column, row] == ABSENT:
        out.values[column, row] = value
    else:
        append(out, row, column, value)


@kernel_lean
def span(offset: int, length: int) -> int:
    """Return the value of a cell that is `length` bytes of the block's data from `offset`."""
    return (offset << 24) | min(length, MAX_CELL)


@kernel_lean
def put_span(out: Table, row: int, column: int, offset: int, length: int, mark: int) -> None:
    """Set a cell to `length` bytes of the block from `offset`, or append them; mark: further bits of the value."""
    value = span(offset, length) | mark
    if out.values[column, row] == ABSENT:
        out.values[column, row] = value
    elif show(out, length):
        append(out, row, column, value)


@kernel_lean
def put_text(out: Table, row: int, column: int, size: int, mark: int) -> None:
    """Set a cell to the next `size` bytes of the text, which `set_text` or `copy_text` wrote, or append them.

    Where the row has no room for a further occurrence, its text is not kept either. mark: further bits of the value.
    """
    if out.values[column, row] != ABSENT and out.cursor[EXTRAS] >= out.cursor[EXTRAS_END]:
        out.notes[NOTE_OCCURRENCES_CUT] += 1
        return
    start = out.cursor[TEXT]
    put(out, row, column, (1 << 62) | (start << 24) | take_text(out, size) | mark)


@kernel_lean
def take_text(out: Table, size: int) -> Any:
    """Keep the next `size` bytes of the text; return how many the row has room for, counting where that is less."""
    kept = min(size, MAX_CELL, out.cursor[TEXT_END] - out.cursor[TEXT])
    if kept < size:
        out.notes[NOTE_TEXT_CUT] += 1
    out.cursor[TEXT] += kept
    return kept


@kernel_lean
def drop_text(out: Table, start: int) -> None:
    """Forget the text from `start` on, written by the current row."""
    out.cursor[TEXT] = min(start, out.cursor[TEXT])


@kernel_lean
def set_text(out: Table, at: int, byte: int) -> None:
    """Write a byte behind the text that is kept; beyond the row's share nothing is written."""
    if out.cursor[TEXT] <= at < out.cursor[TEXT_END]:
        out.text[at] = byte


@kernel_lean
def copy_text(out: Table, at: int, data: Any, offset: int, size: int) -> None:
    """Write `size` bytes of `data` behind the text that is kept, from `at` on, as far as the row's share goes."""
    if at >= out.cursor[TEXT]:
        copy_bytes(data[offset : offset + size], out.text[at : out.cursor[TEXT_END]])


@kernel_lean
def copy_bytes(source: Any, target: Any) -> None:
    """Fill `target` from `source`, as far as both go.

    Slices with an index from 0 on become vector code, offsets added to it do not; and no slice goes beyond its array.
    """
    for at in range(min(len(source), len(target))):
        target[at] = source[at]


@kernel_lean
def put_bytes(out: Table, row: int, column: int, data: Any, in_block: bool, offset: int, length: int) -> None:
    """Set a cell to bytes of `data`: by reference when that is the block itself, else by copy into the text."""
    if in_block:
        put_span(out, row, column, offset, length, 0)
    else:
        copy_text(out, out.cursor[TEXT], data, offset, length)
        put_text(out, row, column, length, 0)
