"""TCP reassembly of application messages: bytes kept in an arena of chunks until the message is complete.

The rules are tshark's with its defaults: an early segment is kept only within a message of known length, bytes that
came first stay, and of two overlapping early stretches the one that starts first wins.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from offramp.capture.dissect.conversation.state import (
    CHUNK,
    FIRST,
    FREE_CHUNKS,
    GIVEN_UP,
    HAND,
    HAVE,
    LAST,
    LINE,
    MAX_STRETCHES,
    MODE,
    READ,
    READ_CHUNK,
    RESUME,
    SCANNED,
    START,
    STEPS,
    STRETCHES,
    WANT,
    Applications,
    free_chunks,
)
from offramp.capture.dissect.packet.notes import NOTE_GAP, NOTE_GIVEN_UP
from offramp.capture.dissect.packet.table import TEXT, Table, copy_bytes, copy_text, drop_text, take_text
from offramp.kernels import kernel_lean

# what a message not yet complete waits for (MODE); a protocol's answer to bytes is one of these and a number of bytes
COMPLETE = 0
BYTES = 1  # so many more bytes
SEGMENT = 2  # the next segment, whatever its length
UNTIL_FIN = 3
CHUNK_LINES = 4  # segments, until the chunk line that starts at the number says that no more is needed
SWALLOW = 5  # nothing: what follows is not looked at
ABORT = 6  # an answer only: nothing more of this packet is looked at
HEAD_LINES = 7  # segments, until the first line or the head ends, whose line that starts at the number does not yet

WORD = 0xFFFFFFFF
MAX_MESSAGE = (16 << 20) - 1  # bytes kept of one message; what is longer is given up
LAST_BYTE = 1 << 30  # of a message until FIN: beyond any stream
FARTHEST = 1 << 20  # bytes that a segment may be early: more than the 8 largest early segments of a message are


@kernel_lean
def drop(apps: Applications, which: int) -> None:
    """Forget a message; where the end of it is known (BYTES, UNTIL_FIN), skip the rest of it."""
    mode = apps.side[which, MODE]
    free_chunks(apps, which)
    if mode in (BYTES, UNTIL_FIN):
        apps.side[which, MODE] = SWALLOW


@kernel_lean
def take_chunk(apps: Applications, which: int) -> Any:
    """Return a free chunk; where none is left, give up another side's message."""
    counters = apps.counters
    sides = apps.side.shape[0]
    for _ in range(sides):
        counters[STEPS] += 1
        if counters[FREE_CHUNKS] > 0:
            break
        hand = counters[HAND] % sides
        counters[HAND] = hand + 1
        if hand != which and apps.side[hand, MODE] != COMPLETE and apps.side[hand, MODE] != SWALLOW:
            drop(apps, hand)
            counters[GIVEN_UP] += 1
    if counters[FREE_CHUNKS] == 0:
        return np.int64(-1)
    counters[FREE_CHUNKS] -= 1
    chunk = np.int64(apps.free[counters[FREE_CHUNKS]])
    apps.following[chunk] = -1
    return chunk


@kernel_lean
def chunk_at(apps: Applications, which: int, offset: int) -> Any:
    """Return the chunk that holds `offset` of the side's message, taking chunks up to it; -1 where none is left."""
    side = apps.side
    if side[which, FIRST] < 0:
        side[which, FIRST] = take_chunk(apps, which)
    chunk = side[which, FIRST]
    steps = offset // CHUNK
    if side[which, LAST] >= 0 and offset >= side[which, HAVE] > 0:
        chunk = side[which, LAST]
        steps -= (side[which, HAVE] - 1) // CHUNK
    apps.counters[STEPS] += steps
    while steps > 0 and chunk >= 0:
        if apps.following[chunk] < 0:
            apps.following[chunk] = take_chunk(apps, which)
        chunk = np.int64(apps.following[chunk])
        steps -= 1
    return chunk


@kernel_lean
def store(apps: Applications, which: int, buf: Any, pos: int, size: int, offset: int) -> bool:
    """Keep `size` bytes at `offset` of the side's message, except those it has; return False where there is no room."""
    side = apps.side
    end = offset + size
    if end > MAX_MESSAGE:
        return False
    start = max(offset, side[which, HAVE])
    for stretch in range(side[which, STRETCHES]):
        if apps.later[which, stretch, 0] <= start < apps.later[which, stretch, 1]:
            start = apps.later[which, stretch, 1]
    if start >= end:
        return True
    if start - side[which, HAVE] > FARTHEST:
        return False
    if not copy_in(apps, which, buf, pos + start - offset, start, end):
        return False
    return account(apps, which, start, end)


@kernel_lean
def copy_in(apps: Applications, which: int, buf: Any, pos: int, start: int, end: int) -> bool:
    """Copy bytes [start, end) of the side's message into its chunks."""
    chunk = chunk_at(apps, which, start)
    while chunk >= 0:
        at = start % CHUNK
        size = min(end - start, CHUNK - at)
        copy_bytes(buf[pos : pos + size], apps.arena[chunk, at : at + size])
        apps.counters[STEPS] += 1 + (size >> 3)
        pos += size
        start += size
        if start == end:
            return True
        if apps.following[chunk] < 0:
            apps.following[chunk] = take_chunk(apps, which)
        chunk = np.int64(apps.following[chunk])
    return False


@kernel_lean
def account(apps: Applications, which: int, start: int, end: int) -> bool:
    """Record bytes [start, end) of a message, in order or as an early stretch; False with too many stretches."""
    side, later = apps.side, apps.later
    if start > side[which, HAVE]:
        count = side[which, STRETCHES]
        if count == MAX_STRETCHES:
            return False
        later[which, count, 0] = start
        later[which, count, 1] = end
        side[which, STRETCHES] = count + 1
        return True
    have = max(side[which, HAVE], end)
    again = True
    while again:
        again = False
        stretch = 0
        while stretch < side[which, STRETCHES]:
            if later[which, stretch, 0] > have:
                stretch += 1
                continue
            again = again or later[which, stretch, 1] > have
            have = max(have, later[which, stretch, 1])
            last = side[which, STRETCHES] - 1
            later[which, stretch, 0] = later[which, last, 0]
            later[which, stretch, 1] = later[which, last, 1]
            side[which, STRETCHES] = last
    side[which, LAST] = chunk_at(apps, which, have - 1)
    side[which, HAVE] = have
    return True


@kernel_lean
def begin(
    out: Table, apps: Applications, which: int, buf: Any, pos: int, end: int, sequence: int, mode: int, need: int
) -> None:
    """Start a message at `sequence` with its first bytes, buf[pos:end]."""
    side = apps.side
    if side[which, MODE] != COMPLETE and side[which, MODE] != SWALLOW:
        give_up(out, apps, which, NOTE_GAP)
    side[which, MODE] = mode
    side[which, START] = sequence & WORD
    side[which, HAVE] = 0
    side[which, STRETCHES] = 0
    side[which, FIRST] = -1
    side[which, LAST] = -1
    side[which, READ] = 0
    side[which, READ_CHUNK] = -1
    side[which, WANT] = end - pos + 1
    if mode == BYTES:
        side[which, WANT] = end - pos + need
    elif mode == UNTIL_FIN:
        side[which, WANT] = LAST_BYTE
    elif mode in (CHUNK_LINES, HEAD_LINES):
        side[which, RESUME] = need
        side[which, SCANNED] = max(need, end - pos - (1 if buf[end - 1] == 13 else 0))
    too_long = mode == BYTES and side[which, WANT] > MAX_MESSAGE
    if too_long or not store(apps, which, buf, pos, end - pos, 0):
        give_up(out, apps, which, NOTE_GIVEN_UP)


@kernel_lean
def give_up(out: Table, apps: Applications, which: int, reason: int) -> None:
    """Drop a message that cannot be completed, and count why."""
    drop(apps, which)
    out.notes[reason] += 1


@kernel_lean
def assemble(out: Table, apps: Applications, which: int) -> Any:
    """Copy the side's message into the table's text; return where it starts there. Its chunks are freed.

    Return -1 where the row lacks room for all of it, as after another message of the largest size: it is not shown.
    """
    side = apps.side
    start = at = out.cursor[TEXT]
    left = side[which, HAVE]
    apps.counters[STEPS] += left >> 3
    chunk = side[which, FIRST]
    while left > 0:
        size = min(left, CHUNK)
        copy_text(out, at, apps.arena[chunk], 0, size)
        at += size
        left -= size
        chunk = np.int64(apps.following[chunk])
    free_chunks(apps, which)
    if take_text(out, at - start) < at - start:
        drop_text(out, start)
        return -1
    return start


@kernel_lean
def chunk_of(apps: Applications, which: int, offset: int) -> Any:
    """Return the chunk that holds a byte of the side's message; offsets must not go back by a chunk between calls."""
    side = apps.side
    if side[which, READ_CHUNK] < 0:
        side[which, READ_CHUNK] = side[which, FIRST]
    while side[which, READ] < offset // CHUNK:
        side[which, READ_CHUNK] = apps.following[side[which, READ_CHUNK]]
        side[which, READ] += 1
        apps.counters[STEPS] += 1
    return side[which, READ_CHUNK]


@kernel_lean
def peek(apps: Applications, which: int, offset: int, most: int) -> Any:
    """Copy at most `most` bytes of the side's message from `offset` on to apps.line; return how many."""
    size = min(most, LINE, apps.side[which, HAVE] - offset)
    if size <= 0:
        return 0
    chunk, at, done = chunk_of(apps, which, offset), offset % CHUNK, 0
    while done < size:
        part = min(size - done, CHUNK - at)
        copy_bytes(apps.arena[chunk, at : at + part], apps.line[done : done + part])
        chunk, at, done = np.int64(apps.following[chunk]), 0, done + part
    apps.counters[STEPS] += 1 + (size >> 3)
    return size
