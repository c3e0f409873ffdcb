"""Bodies of HTTP/1 messages: chunks put together, and the mark of a body whose content is coded."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.application.http.completeness import hexadecimal
from offramp.capture.dissect.application.http.head import find_line, line_steps
from offramp.capture.dissect.packet.notes import NOTE_STEPS
from offramp.capture.dissect.packet.table import TEXT, Table, copy_text, put_span, put_text
from offramp.capture.schema import INDEX
from offramp.kernels import kernel_lean

FILE_DATA = INDEX["http.file_data"]
CODING_SHIFT = 60
"""Where a cell's value says how its bytes are coded (one of http_head's codings), until content_coding decodes it."""

TOO_SHORT = -1


@kernel_lean
def put_body(out: Table, row: int, buf: Any, in_block: bool, pos: int, size: int, coding: int) -> None:
    """Put a body that stands as it is in the bytes."""
    if in_block:
        put_span(out, row, FILE_DATA, pos, size, coding << CODING_SHIFT)
    else:
        copy_text(out, out.cursor[TEXT], buf, pos, size)
        put_text(out, row, FILE_DATA, size, coding << CODING_SHIFT)


@kernel_lean
def join_chunks(out: Table, buf: Any, pos: int, end: int) -> Any:
    """Write a chunked body into the text, without moving its cursor; return where it ends, or TOO_SHORT, and its size.

    As in tshark, a chunk that the bytes end within makes the message malformed, and a size that is no number ends it.
    """
    start = at = out.cursor[TEXT]
    while pos < end:
        stop, following = find_line(buf, pos, end, True)
        out.notes[NOTE_STEPS] += line_steps(following - pos)
        if stop <= pos:
            break
        size, _ = hexadecimal(buf, pos, stop)
        size = min(size, end - pos)
        if size == 0:
            pos = trailer_end(out.notes, buf, following, end)
            break
        if following + size + 2 > end:
            return TOO_SHORT, 0
        copy_text(out, at, buf, following, size)
        out.notes[NOTE_STEPS] += (stop - pos) + (size >> 3)
        at += size
        pos = following + size + 2
    return pos, at - start


@kernel_lean
def trailer_end(notes: Any, buf: Any, pos: int, end: int) -> Any:
    """Return where the trailer of a chunked body ends, its blank line included, or TOO_SHORT without room for one."""
    if end - pos < 2:
        return TOO_SHORT
    while True:
        stop, following = find_line(buf, pos, end, True)
        notes[NOTE_STEPS] += line_steps(following - pos)
        if stop < 0:
            return pos
        if stop == pos:
            return following
        pos = following
