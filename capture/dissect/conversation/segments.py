"""TCP sequence analysis (tshark's tcp.analysis.*): is a segment new, repeated, out of order or a keep-alive.

The rules are tshark's with its defaults; they decide which segments the application layers look at.
"""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.conversation.state import (
    ACKED,
    ACKED_NS,
    KEPT_ALIVE,
    NEXT,
    NEXT_NS,
    REPEATS,
    RTT_NS,
    SYN_NS,
    WINDOW,
    Applications,
)
from offramp.kernels import kernel_lean

NEW = 0
KEEP_ALIVE = 1
SPURIOUS = 2  # all of it was acknowledged already
FAST = 3  # sent again after repeated acknowledgements: the only repetition that applications see
OUT_OF_ORDER = 4
RETRANSMISSION = 5

FIN, SYN, RST, ACK = 1, 2, 4, 16
WORD = 0xFFFFFFFF
HALF = 0x80000000
FAST_NS = 20_000_000  # after the last of the repeated acknowledgements
ORDER_NS = 3_000_000  # out of order rather than sent again, where the round-trip time is unknown


@kernel_lean
def follow(
    apps: Applications, slot: int, direction: int, sequence: int, size: int, flags: int, acknowledged: int,
    window: int, time_ns: int,
) -> Any:  # fmt: skip
    """Update the sender's sequence state with a segment; return what the segment is."""
    side = apps.side
    which = 2 * slot + direction
    other = which ^ 1
    newest = side[which, NEXT]
    marks = 1 if flags & (SYN | FIN) else 0
    plain = flags & (SYN | FIN | RST) == 0
    probe = size == 1 and sequence == newest and side[other, WINDOW] == 0
    found = NEW
    if plain and size <= 1 and not probe and sequence == newest - 1:
        found = KEEP_ALIVE
    if size > 0 or marks:
        if found == NEW:
            found = repeated(apps, slot, which, sequence, size, marks, time_ns)
    elif plain and sequence == newest and acknowledged == side[which, ACKED] and not side[other, KEPT_ALIVE]:
        side[which, REPEATS] += window != 0 and window == side[which, WINDOW]
    if acknowledged != side[which, ACKED]:
        side[which, REPEATS] = 0
    following = (sequence + size + marks) & WORD
    if newest == 0 or (not probe and 0 < (following - newest) & WORD < HALF):
        side[which, NEXT] = following
        side[which, NEXT_NS] = time_ns
    side[which, ACKED] = acknowledged
    side[which, ACKED_NS] = time_ns
    side[which, WINDOW] = window
    side[which, KEPT_ALIVE] = found == KEEP_ALIVE
    if flags & (SYN | ACK) == SYN:
        apps.kind[slot, SYN_NS] = time_ns
    elif flags & (SYN | ACK) == ACK and apps.kind[slot, RTT_NS] == 0 and apps.kind[slot, SYN_NS] != 0:
        apps.kind[slot, RTT_NS] = time_ns - apps.kind[slot, SYN_NS]
    return found


@kernel_lean
def repeated(apps: Applications, slot: int, which: int, sequence: int, size: int, marks: int, time_ns: int) -> Any:
    """Return how a segment with payload, SYN or FIN repeats earlier ones, or NEW."""
    side = apps.side
    newest = side[which, NEXT]
    theirs = side[which ^ 1, ACKED]
    behind = newest != 0 and (sequence - newest) & WORD >= HALF and not (size > 1 and sequence == newest - 1)
    if size > 0 and theirs != 0 and (theirs - sequence - size) & WORD < HALF:
        return SPURIOUS
    if not behind:
        return NEW
    if side[which ^ 1, REPEATS] >= 2 and theirs == sequence and 0 <= time_ns - side[which ^ 1, ACKED_NS] < FAST_NS:
        return FAST
    limit = apps.kind[slot, RTT_NS]
    if limit == 0:
        limit = ORDER_NS
    if 0 <= time_ns - side[which, NEXT_NS] < limit and newest != (sequence + size + marks) & WORD:
        return OUT_OF_ORDER
    return RETRANSMISSION
