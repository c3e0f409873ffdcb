"""Messages over several TCP segments: which bytes are new, which wait in the arena, when a message is complete.

The rules are tshark's with its defaults: what was seen before is not looked at again, a segment that comes early is
kept only within a message whose length is known.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from capture.application_state import (
    ACKED,
    CHUNK,
    FIRST,
    FREE_CHUNKS,
    HAND,
    HAVE,
    KNOWN,
    LAST,
    LATER_END,
    LATER_START,
    MODE,
    NEXT,
    START,
    WANT,
    Applications,
    free_chunks,
)
from capture.emit import Table
from offramp_kernels import kernel_lean

# what a message not yet complete waits for (MODE); a protocol's answer to bytes is one of these and a number of bytes
COMPLETE = 0
BYTES = 1  # so many more bytes
SEGMENT = 2  # the next segment, whatever its length
UNTIL_FIN = 3

FIN, SYN, RST, ACK = 1, 2, 4, 16
WORD = 0xFFFFFFFF
MAX_MESSAGE = 16 << 20  # bytes kept of one message; what is longer is given up

NOTE_GIVEN_UP = 32
NOTE_GAP = 33


@kernel_lean
def is_new(apps: Applications, which: int, sequence: int, size: int, flags: int, acknowledged: int) -> bool:
    """Follow a side's sequence numbers; tell whether the segment's bytes are to be looked at.

    Not so: keep-alives, and what begins before the newest byte seen, unless it fills a gap of a waiting message or
    had been acknowledged already (which tshark takes for a spurious retransmission and looks at).
    """
    side = apps.side
    if flags & ACK:
        side[which, ACKED] = acknowledged
    following = (sequence + size + ((flags & SYN) >> 1) + (flags & FIN)) & WORD
    if not side[which, KNOWN]:
        side[which, KNOWN] = 1
        side[which, NEXT] = following
        return size > 0
    ahead = (sequence - side[which, NEXT]) & WORD
    if ahead < 0x80000000:
        side[which, NEXT] = following
        return size > 0
    if (following - side[which, NEXT]) & WORD < 0x80000000:
        if size > 1 and ahead == WORD:
            side[which, NEXT] = following
            return True
        side[which, NEXT] = following
        return False
    if size <= 0 or (size == 1 and ahead == WORD and flags & (SYN | FIN | RST) == 0):
        return False
    if side[which, MODE] == BYTES:
        offset = (sequence - side[which, START]) & WORD
        return bool(side[which, HAVE] <= offset < side[which, WANT])
    other = side[which ^ 1, ACKED]
    return bool(other >= 0 and (other - sequence - size) & WORD < 0x80000000 and side[which, MODE] == 0)


@kernel_lean
def take_chunk(apps: Applications, which: int) -> Any:
    """Return a free chunk, giving up another side's message where none is left."""
    counters = apps.counters
    sides = apps.side.shape[0]
    for _ in range(sides):
        if counters[FREE_CHUNKS] > 0:
            break
        hand = counters[HAND] % sides
        counters[HAND] = hand + 1
        if hand != which:
            free_chunks(apps, hand)
    if counters[FREE_CHUNKS] == 0:
        return np.int64(-1)
    counters[FREE_CHUNKS] -= 1
    chunk = np.int64(apps.free[counters[FREE_CHUNKS]])
    apps.following[chunk] = -1
    return chunk


@kernel_lean
def store(apps: Applications, which: int, buf: Any, pos: int, size: int, offset: int) -> bool:
    """Keep `size` bytes at `offset` of the side's message; False where there is no room for them."""
    side = apps.side
    if offset + size > MAX_MESSAGE:
        return False
    if side[which, FIRST] < 0:
        side[which, FIRST] = take_chunk(apps, which)
        if side[which, FIRST] < 0:
            return False
    if offset == side[which, HAVE] and side[which, LATER_END] == 0 and side[which, LAST] >= 0:
        chunk = side[which, LAST]
        if offset % CHUNK == 0 and offset > 0:
            if apps.following[chunk] < 0:
                apps.following[chunk] = take_chunk(apps, which)
            chunk = np.int64(apps.following[chunk])
    else:
        chunk = side[which, FIRST]
        for _ in range(offset // CHUNK):
            if apps.following[chunk] < 0:
                apps.following[chunk] = take_chunk(apps, which)
            chunk = np.int64(apps.following[chunk])
            if chunk < 0:
                return False
    if chunk < 0:
        return False
    at = offset % CHUNK
    for step in range(size):
        if at == CHUNK:
            if apps.following[chunk] < 0:
                apps.following[chunk] = take_chunk(apps, which)
            chunk = np.int64(apps.following[chunk])
            if chunk < 0:
                return False
            at = 0
        apps.arena[chunk, at] = buf[pos + step]
        at += 1
    side[which, LAST] = chunk
    account(side, which, offset, offset + size)
    return True


@kernel_lean
def account(side: Any, which: int, start: int, end: int) -> None:
    """Enter bytes [start, end) of a message: those in order, and one stretch that came early."""
    if start <= side[which, HAVE]:
        side[which, HAVE] = max(side[which, HAVE], end)
    elif side[which, LATER_END] == 0:
        side[which, LATER_START] = start
        side[which, LATER_END] = end
    elif start <= side[which, LATER_END] and end >= side[which, LATER_START]:
        side[which, LATER_START] = min(side[which, LATER_START], start)
        side[which, LATER_END] = max(side[which, LATER_END], end)
    if side[which, LATER_END] and side[which, HAVE] >= side[which, LATER_START]:
        side[which, HAVE] = max(side[which, HAVE], side[which, LATER_END])
        side[which, LATER_END] = 0


@kernel_lean
def begin(
    out: Table, apps: Applications, which: int, buf: Any, pos: int, end: int, sequence: int, mode: int, need: int
) -> None:
    """Keep the beginning of a message, buf[pos:end], that starts at `sequence`."""
    free_chunks(apps, which)
    side = apps.side
    side[which, MODE] = mode
    side[which, START] = sequence & WORD
    side[which, HAVE] = 0
    side[which, LATER_END] = 0
    side[which, FIRST] = -1
    side[which, LAST] = -1
    side[which, WANT] = end - pos + (need if mode == BYTES else 1)
    if not store(apps, which, buf, pos, end - pos, 0) or side[which, WANT] > MAX_MESSAGE:
        give_up(out, apps, which, NOTE_GIVEN_UP)


@kernel_lean
def give_up(out: Table, apps: Applications, which: int, reason: int) -> None:
    """Forget a message that cannot be completed, and count why."""
    free_chunks(apps, which)
    out.notes[reason] += 1


@kernel_lean
def assemble(out: Table, apps: Applications, which: int) -> Any:
    """Copy the side's message into the table's text; return where it starts there. Its chunks are freed."""
    side = apps.side
    start = out.cursor[1]
    left = side[which, HAVE]
    chunk = side[which, FIRST]
    at = start
    while left > 0:
        size = min(left, CHUNK)
        for step in range(size):
            out.text[at + step] = apps.arena[chunk, step]
        at += size
        left -= size
        chunk = np.int64(apps.following[chunk])
    out.cursor[1] = at
    free_chunks(apps, which)
    return start
