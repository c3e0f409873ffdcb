"""IP fragment reassembly (RFC 791, RFC 8200 4.5) as in tshark: the frame that completes a datagram shows its transport.

A complete datagram is written behind the block's own bytes (the scratch), so that its spans are like any other's. At
most SLOTS datagrams wait at once; the oldest is dropped and counted, and so is, while more than half of the slots are
in use, one without a fragment for a minute.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.capture.dissect.packet.cursor import (
    END,
    FRAGMENTED,
    IN_ERROR,
    IP_PROTOCOL,
    NEXT,
    NOW_NS,
    POSITION,
    SOURCE_HIGH,
    SOURCE_LOW,
    STEPS,
    TARGET_HIGH,
    TARGET_LOW,
    WHOLE,
    WIRE_END,
    stop,
)
from offramp.capture.dissect.packet.notes import NOTE_FRAGMENT, NOTE_FRAGMENT_LOST, NOTE_REASSEMBLED
from offramp.capture.dissect.packet.table import Table, copy_bytes
from offramp.kernels import kernel_lean

SLOTS = 128
MAX_DATAGRAM = 65_536
UNITS = MAX_DATAGRAM // 8
MAX_WHOLE = 4  # datagrams that one packet may end, one within the other: each is copied once more
SCRATCH_RESERVE = MAX_WHOLE * MAX_DATAGRAM
WAIT_NS = 60_000_000_000  # RFC 8200 4.5; IPv4's bounds are below
TURN_BITS, TURNS = 14, 1 << 18  # how `owner` tells the fragments of one datagram from those of the slot's earlier ones

# fields of `key`, behind the addresses
NAME = 4
SEEN_NS = 5
TURN = 6

# fields of `counters`
CLOCK = 0
WAITING = 1
SCRATCH_USED = 2
SCRATCH_END = 3  # how far the current packet may write


class Fragments(NamedTuple):
    """Datagrams that wait for fragments.

    key: int64 [SLOTS, 7] (addresses, identification with protocol and version, time of the newest fragment, turn of the
    slot); bytes: uint8 [SLOTS, MAX_DATAGRAM]; owner: uint32 [SLOTS, UNITS] start of the fragment that filled each
    8-byte unit, in units and plus one, and above TURN_BITS the turn it was filled in; total: int64 [SLOTS] length, -1
    unknown; whole: int64 [SLOTS] units there without a gap; age: int64 [SLOTS], 0 where free; counters: int64 [4].
    """

    key: NDArray[np.int64]
    bytes: NDArray[np.uint8]
    owner: NDArray[np.uint32]
    total: NDArray[np.int64]
    whole: NDArray[np.int64]
    age: NDArray[np.int64]
    counters: NDArray[np.int64]


def new_fragments() -> Fragments:
    """Return an empty store; its large buffers cost nothing until written."""
    return Fragments(
        np.zeros((SLOTS, 7), np.int64),
        np.empty((SLOTS, MAX_DATAGRAM), np.uint8),
        np.zeros((SLOTS, UNITS), np.uint32),
        np.zeros(SLOTS, np.int64),
        np.zeros(SLOTS, np.int64),
        np.zeros(SLOTS, np.int64),
        np.zeros(4, np.int64),
    )


@kernel_lean
def scratch_room(fragments: Fragments, scratch: Any) -> bool:
    """Grant the next packet its share of the scratch; return False where too little is left: the row loop makes more.

    The share is always the same, so that what a packet completes does not depend on those before it in the block; where
    no datagram waits it is 0.
    """
    counters = fragments.counters
    end = counters[SCRATCH_USED] + (SCRATCH_RESERVE if counters[WAITING] else 0)
    counters[SCRATCH_END] = end
    return bool(end <= scratch.shape[0])


@kernel_lean
def fragment(
    out: Table, fragments: Fragments, data: Any, scratch: Any, cur: Any, name: int, offset: int, more: bool, end: int
) -> None:
    """Follow the fragment at the cursor, which ends at `end`, as tshark does.

    A fragment captured whole is kept, and the one that completes its datagram goes on with that. Of fragments cut short
    only the first goes on, with what was captured of its transport.
    """
    if cur[END] == end and cur[POSITION] < end:
        if add_fragment(out, fragments, data, scratch, cur, name, offset, more):
            cur[NEXT] = IP_PROTOCOL
    elif offset == 0:
        cur[IN_ERROR] |= FRAGMENTED
    else:
        stop(out, cur, NOTE_FRAGMENT_LOST)


@kernel_lean
def add_fragment(
    out: Table, fragments: Fragments, data: Any, scratch: Any, cur: Any, name: int, offset: int, more: bool
) -> bool:
    """Keep the fragment at the cursor; True where that completes its datagram, to whose bytes the cursor then moves.

    name: identification, protocol and version in one number; offset: of the fragment in its datagram, bytes.
    """
    size = cur[END] - cur[POSITION]
    out.notes[NOTE_FRAGMENT] += 1
    if offset + size > MAX_DATAGRAM or cur[WHOLE] == MAX_WHOLE:
        stop(out, cur, NOTE_FRAGMENT_LOST)
        return False
    slot = datagram(out, fragments, cur, name)
    if not more and fragments.total[slot] < 0:
        fragments.total[slot] = offset + size
    place(fragments, slot, data, cur[POSITION], offset, size)
    cur[STEPS] += SLOTS + (size >> 2)
    cur[NEXT] = 0
    total = fragments.total[slot]
    while fragments.whole[slot] << 3 < total and owned(fragments, slot, fragments.whole[slot]):
        fragments.whole[slot] += 1
    if total < 0 or fragments.whole[slot] << 3 < total:
        return False
    start = fragments.counters[SCRATCH_USED]
    if start + total > fragments.counters[SCRATCH_END]:
        stop(out, cur, NOTE_FRAGMENT_LOST)
        return False
    copy_bytes(fragments.bytes[slot, :total], scratch[start : start + total])
    cur[STEPS] += total >> 2  # the units found to be there, and copied
    cur[WHOLE] += 1
    fragments.counters[SCRATCH_USED] = start + total
    fragments.counters[WAITING] -= 1
    fragments.age[slot] = 0
    cur[POSITION] = start
    cur[END] = start + total
    cur[WIRE_END] = start + total
    out.notes[NOTE_REASSEMBLED] += 1
    return True


@kernel_lean
def place(fragments: Fragments, slot: int, data: Any, position: int, offset: int, size: int) -> None:
    """Copy a fragment into its datagram; where fragments overlap, the one that begins first counts, as in tshark.

    A unit filled in part counts only at the datagram's end; of several fragments that claim to be the last, the first
    to come is believed.
    """
    begins = (offset >> 3) + 1
    for unit in range(offset >> 3, (offset + size + 7) >> 3):
        last = offset + size - (unit << 3)
        if 0 < owned(fragments, slot, unit) <= begins:
            continue
        if last >= 8 or offset + size == fragments.total[slot]:
            fragments.owner[slot, unit] = (fragments.key[slot, TURN] << TURN_BITS) | begins
        for byte in range(unit << 3, (unit << 3) + min(last, 8)):
            fragments.bytes[slot, byte] = data[position + byte - offset]


@kernel_lean
def owned(fragments: Fragments, slot: int, unit: int) -> Any:
    """Return the start, in units and plus one, of the fragment that filled a unit of a datagram; 0 where none did."""
    owner = np.int64(fragments.owner[slot, unit])
    return owner & ((1 << TURN_BITS) - 1) if owner >> TURN_BITS == fragments.key[slot, TURN] else 0


@kernel_lean
def datagram(out: Table, fragments: Fragments, cur: Any, name: int) -> Any:
    """Return the slot of the cursor's datagram: its own, a free one, or that of the one that waited longest."""
    chosen = 0
    key = fragments.key
    crowded = fragments.counters[WAITING] > SLOTS // 2
    for slot in range(SLOTS):
        if crowded and fragments.age[slot] and cur[NOW_NS] - key[slot, SEEN_NS] > WAIT_NS:
            fragments.age[slot] = 0
            fragments.counters[WAITING] -= 1
            out.notes[NOTE_FRAGMENT_LOST] += 1
        if (
            fragments.age[slot]
            and key[slot, NAME] == name
            and key[slot, 0] == cur[SOURCE_HIGH]
            and key[slot, 1] == cur[SOURCE_LOW]
            and key[slot, 2] == cur[TARGET_HIGH]
            and key[slot, 3] == cur[TARGET_LOW]
        ):
            key[slot, SEEN_NS] = cur[NOW_NS]
            return slot
        if fragments.age[slot] < fragments.age[chosen]:
            chosen = slot
    if fragments.age[chosen]:
        out.notes[NOTE_FRAGMENT_LOST] += 1
    else:
        fragments.counters[WAITING] += 1
    fragments.counters[CLOCK] += 1
    fragments.age[chosen] = fragments.counters[CLOCK]
    key[chosen, 0] = cur[SOURCE_HIGH]
    key[chosen, 1] = cur[SOURCE_LOW]
    key[chosen, 2] = cur[TARGET_HIGH]
    key[chosen, 3] = cur[TARGET_LOW]
    key[chosen, NAME] = name
    key[chosen, SEEN_NS] = cur[NOW_NS]
    fragments.total[chosen] = -1
    fragments.whole[chosen] = 0
    key[chosen, TURN] += 1
    if key[chosen, TURN] == TURNS:
        key[chosen, TURN] = 1
        for unit in range(UNITS):
            fragments.owner[chosen, unit] = 0
    return chosen
