"""HTTP/1 message bodies: join chunked ones (RFC 9112 7.1), and mark cells whose content is still compressed."""

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
"""Where a cell's value holds the coding of its bytes (one of `head`'s), until content_coding decodes them."""

TOO_SHORT = -1


@kernel_lean
def put_body(out: Table, row: int, buf: Any, in_block: bool, pos: int, size: int, coding: int) -> None:
    """Put a body that is not chunked, as a cell."""
    if in_block:
        put_span(out, row, FILE_DATA, pos, size, coding << CODING_SHIFT)
    else:
        copy_text(out, out.cursor[TEXT], buf, pos, size)
        put_text(out, row, FILE_DATA, size, coding << CODING_SHIFT)


@kernel_lean
def join_chunks(out: Table, buf: Any, pos: int, end: int) -> Any:
    """Write a chunked body into the text, without moving its cursor; return where it ends, or TOO_SHORT, and its size.

    As in tshark, a chunk cut by the end of the bytes makes the message malformed, and a size that is no number ends the
    body.
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
    """Return where a chunked body's trailer ends, its blank line included; TOO_SHORT with fewer than two bytes left."""
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
