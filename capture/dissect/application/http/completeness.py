"""HTTP/1 message framing: what a message still needs before it is dissected.

A message ends by its Content-Length, its last chunk, or the end of the connection. The rules are tshark's for
desegmenting HTTP heads and bodies, with its defaults.
"""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.application.http.head import begins, begins_exactly, find_line, line_steps, skip_space
from offramp.capture.dissect.application.http.octets import CR, LF, SPACE, TAB
from offramp.capture.dissect.conversation.reassembly import (
    ABORT,
    BYTES,
    CHUNK_LINES,
    COMPLETE,
    HEAD_LINES,
    UNTIL_FIN,
    peek,
)
from offramp.capture.dissect.conversation.state import HAVE, LINE, RESUME, SCANNED, SHORT_LINE, Applications
from offramp.capture.dissect.packet.notes import NOTE_STEPS
from offramp.kernels import kernel_lean

W_LENGTH = b"content-length:"
W_TYPE = b"content-type:"
W_TRANSFER = b"transfer-encoding:"
W_CHUNKED = b"chunked"
W_RPC = b"application/rpc"
W_RPC_IN, W_RPC_OUT = b"RPC_IN_DATA", b"RPC_OUT_DATA"
MAX_LENGTH = 0x7FFFFFFF
RPC_LENGTH = 128 * 1024  # from here on the length of MS-RPCH means nothing
MAX_CHUNK = 1 << 31
MAX_HEAD = 1 << 17

# whether a message that waits for lines has them
WAITS = 0
READY = 1
TOO_LONG = 2  # a line is longer than LINE bytes


@kernel_lean
def strict_number(buf: Any, pos: int, stop: int) -> Any:
    """Return a decimal number of 31 bits that stands alone between white space, or -1."""
    while pos < stop and (buf[pos] == SPACE or TAB <= buf[pos] <= CR):
        pos += 1
    end = pos
    while end < stop and buf[end] != 0:
        end += 1
    while end > pos and (buf[end - 1] == SPACE or TAB <= buf[end - 1] <= CR):
        end -= 1
    if end == pos:
        return -1
    value = 0
    for at in range(pos, end):
        if buf[at] < 48 or buf[at] > 57:
            return -1
        value = value * 10 + int(buf[at]) - 48
        if value > MAX_LENGTH:
            return -1
    return value


@kernel_lean
def hexadecimal(buf: Any, pos: int, stop: int) -> Any:
    """Return the hexadecimal number that a chunk line starts with, as 32 bits, and whether there is one."""
    while pos < stop and (buf[pos] == SPACE or TAB <= buf[pos] <= CR):
        pos += 1
    negative = pos < stop and buf[pos] == 45
    if negative or (pos < stop and buf[pos] == 43):
        pos += 1
    if pos + 2 < stop and buf[pos] == 48 and buf[pos + 1] | 32 == 120 and digit(int(buf[pos + 2])) >= 0:
        pos += 2
    value = 0
    first = pos
    while pos < stop and buf[pos] == 48:
        pos += 1
    significant = pos
    while pos < stop and digit(int(buf[pos])) >= 0:
        value = (value << 4 | digit(int(buf[pos]))) & 0xFFFFFFFF
        pos += 1
    if pos - significant > 16:
        value = 0xFFFFFFFF
    elif negative:
        value = -value & 0xFFFFFFFF
    return value, pos > first


@kernel_lean
def digit(byte: int) -> Any:
    """Return the value of a hexadecimal digit, or -1."""
    if 48 <= byte <= 57:
        return byte - 48
    byte |= 32
    return byte - 87 if 97 <= byte <= 102 else -1


@kernel_lean
def next_chunk(notes: Any, buf: Any, pos: int, end: int, left: int) -> Any:
    """Look at the chunk line at `pos`, `left` bytes being there from it on; return whether to wait, and bytes to skip.

    0 bytes to skip: no chunk follows; -1: a line does not end within the bytes; -2: the bytes end with the CR of the
    last line, which tshark takes for malformed.
    """
    if left < 1:
        return True, 0
    stop, following = find_line(buf, pos, end, True)
    notes[NOTE_STEPS] += line_steps(following - pos)
    if stop < 0:
        return True, -1
    notes[NOTE_STEPS] += stop - pos
    size, known = hexadecimal(buf, pos, stop)
    if not known or size > MAX_CHUNK:
        return False, 0
    if size == 0:
        stop, last = find_line(buf, following, end, True)
        notes[NOTE_STEPS] += line_steps(last - following)
        if stop >= 0:
            return False, 0
        return True, -2 if end > following and buf[end - 1] == CR else -1
    if left <= size:
        return True, 0
    return False, following - pos + size + 2


@kernel_lean
def chunks_wait(notes: Any, apps: Applications, which: int, buf: Any, pos: int, end: int) -> Any:
    """Return whether a waiting chunked message needs more, resuming at the first chunk line not yet looked at.

    buf[pos:end] is what came since the last call: if no line ends in it, an open line is still open.
    """
    side = apps.side
    if side[which, SCANNED] == side[which, HAVE] - (end - pos):
        stop, following = find_line(buf, pos, end, False)
        notes[NOTE_STEPS] += line_steps(following - pos)
        if stop == end:
            side[which, SCANNED] = side[which, HAVE]
            return TOO_LONG if side[which, HAVE] - side[which, RESUME] > LINE else WAITS
    while True:
        left = side[which, HAVE] - side[which, RESUME]
        size = peek(apps, which, side[which, RESUME], SHORT_LINE)
        more, skip = next_chunk(notes, apps.line, 0, size, left)
        if skip < 0 and size < left:
            size = peek(apps, which, side[which, RESUME], LINE)
            more, skip = next_chunk(notes, apps.line, 0, size, left)
        if skip < 0 and size < left:
            return TOO_LONG
        if skip == -1 and apps.line[max(size, 1) - 1] != CR:
            side[which, SCANNED] = side[which, HAVE]
        if more:
            return READY if skip == -2 else WAITS
        if skip == 0:
            return READY
        side[which, RESUME] += skip


@kernel_lean
def head_waits(notes: Any, apps: Applications, which: int, buf: Any, pos: int, end: int) -> Any:
    """Return whether a waiting head needs more: no longer once its first or a blank line has ended, or it is too long.

    Only buf[pos:end], the bytes since the last call, is searched.
    """
    side = apps.side
    if side[which, HAVE] >= MAX_HEAD:
        return READY
    notes[NOTE_STEPS] += 1 + end - pos
    line, at = side[which, RESUME], side[which, HAVE] - (end - pos)
    half = side[which, SCANNED] < at  # the byte before is a CR, with which a line ends
    for step in range(pos, end):
        byte = buf[step]
        if half or byte == LF:
            if line == 0 or line == (at - 1 if half else at):
                return READY
            line = at + 1 if byte == LF else at
        half = byte == CR
        at += 1
    side[which, RESUME] = line
    side[which, SCANNED] = at - 1 if half else at
    return WAITS


@kernel_lean
def head_needs(notes: Any, buf: Any, pos: int, end: int, body: bool, until_fin: bool) -> Any:
    """Return what the message that starts at `pos` waits for, and how much; `body`: whether to wait for its body."""
    length = -1
    rpc = False
    chunked = False
    at = pos
    while True:
        if at >= end:
            return HEAD_LINES, at - pos
        stop, following = find_line(buf, at, end, True)
        notes[NOTE_STEPS] += line_steps(following - at)
        if stop < 0:
            return HEAD_LINES, at - pos
        notes[NOTE_STEPS] += 8
        if stop == at:
            at = following
            break
        first = int(buf[at]) | 32
        if body and first == 99:
            if begins(buf, at, stop, W_LENGTH):
                value = strict_number(buf, at + len(W_LENGTH), stop)
                if value >= 0:
                    length = value
            elif begins(buf, at, stop, W_TYPE):
                value = at + len(W_TYPE)
                while value < stop and buf[value] == SPACE:
                    value += 1
                rpc = begins_exactly(buf, value, stop, W_RPC)
        elif body and first == 116 and begins(buf, at, stop, W_TRANSFER):
            chunked = chunked or begins(buf, skip_space(buf, at + len(W_TRANSFER), stop), stop, W_CHUNKED)
        at = following
    if not body:
        return COMPLETE, 0
    if chunked:
        return chunks_need(notes, buf, pos, at, end)
    if length >= 0:
        named = begins_exactly(buf, pos, end, W_RPC_IN) or begins_exactly(buf, pos, end, W_RPC_OUT)
        if length >= RPC_LENGTH and (rpc or named):
            return COMPLETE, 0
        if at + length > end:
            return BYTES, at + length - end
        return COMPLETE, 0
    return UNTIL_FIN if until_fin else COMPLETE, 0


@kernel_lean
def chunks_need(notes: Any, buf: Any, start: int, pos: int, end: int) -> Any:
    """Return whether a chunked body from `pos` on needs more, and where in the message its next chunk line starts."""
    while True:
        more, skip = next_chunk(notes, buf, pos, end, end - pos)
        if more:
            return ABORT if skip == -2 else CHUNK_LINES, pos - start
        if skip == 0:
            return COMPLETE, 0
        pos += skip
