"""IP fragments put together (RFC 791, RFC 8200 4.5), as tshark does: the last frame of a datagram shows its transport.

A whole datagram is written behind the block's own bytes (the scratch), so that its spans are like any other's. The
number of datagrams that wait at once is bounded; the oldest gives way, and is counted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from capture.emit import Table
from capture.layers import (
    END,
    IN_ERROR,
    NEXT,
    NOTE_FRAGMENT,
    NOTE_FRAGMENT_LOST,
    NOTE_REASSEMBLED,
    POSITION,
    SOURCE_HIGH,
    SOURCE_LOW,
    TARGET_HIGH,
    TARGET_LOW,
    WIRE_END,
    stop,
)
from offramp_kernels import kernel_lean

SLOTS = 128
LARGEST = 65_536
UNITS = LARGEST // 8
SCRATCH_RESERVE = 4 * LARGEST  # a packet may end several datagrams, one within the other

# fields of `counters`
CLOCK = 0
WAITING = 1
SCRATCH_USED = 2


class Fragments(NamedTuple):
    """Datagrams that wait for fragments.

    key: int64 [SLOTS, 5] (addresses, identification with protocol and version); bytes: uint8 [SLOTS, LARGEST]; there:
    uint8 [SLOTS, UNITS] which 8-byte units came; total: int64 [SLOTS] length, -1 unknown; units: int64 [SLOTS] how
    many came; age: int64 [SLOTS], 0 where free; counters: int64 [4].
    """

    key: NDArray[np.int64]
    bytes: NDArray[np.uint8]
    there: NDArray[np.uint8]
    total: NDArray[np.int64]
    units: NDArray[np.int64]
    age: NDArray[np.int64]
    counters: NDArray[np.int64]


def new_fragments() -> Fragments:
    """Return an empty store; its large buffers cost nothing until written."""
    return Fragments(
        np.zeros((SLOTS, 5), np.int64),
        np.empty((SLOTS, LARGEST), np.uint8),
        np.zeros((SLOTS, UNITS), np.uint8),
        np.zeros(SLOTS, np.int64),
        np.zeros(SLOTS, np.int64),
        np.zeros(SLOTS, np.int64),
        np.zeros(4, np.int64),
    )


@kernel_lean
def scratch_room(fragments: Fragments, scratch: Any) -> bool:
    """Tell whether a packet could write all that it completes; the row loop asks before each row."""
    if fragments.counters[WAITING] == 0:
        return True
    return bool(fragments.counters[SCRATCH_USED] + SCRATCH_RESERVE <= scratch.shape[0])


@kernel_lean
def add_fragment(
    out: Table, fragments: Fragments, data: Any, scratch: Any, cur: Any, name: int, offset: int, more: bool
) -> bool:
    """Take the fragment at the cursor; True where it completed its datagram, to whose bytes the cursor then moves.

    name: identification, protocol and version in one number; offset: of the fragment in its datagram, bytes.
    """
    size = cur[END] - cur[POSITION]
    whole = cur[WIRE_END] == cur[END]
    out.notes[NOTE_FRAGMENT] += 1
    bad = offset + size > LARGEST or (more and size & 7 != 0) or size <= 0
    if cur[IN_ERROR] or not whole or bad:
        stop(out, cur, NOTE_FRAGMENT_LOST)
        return False
    slot = datagram(out, fragments, cur, name)
    for byte in range(size):
        fragments.bytes[slot, offset + byte] = data[cur[POSITION] + byte]
    for unit in range(offset >> 3, (offset + size + 7) >> 3):
        fragments.units[slot] += 1 - np.int64(fragments.there[slot, unit])
        fragments.there[slot, unit] = 1
    if not more:
        fragments.total[slot] = offset + size
    cur[NEXT] = 0
    total = fragments.total[slot]
    if total < 0 or not whole_datagram(fragments, slot, (total + 7) >> 3):
        return False
    start = fragments.counters[SCRATCH_USED]
    if start + total > scratch.shape[0]:
        stop(out, cur, NOTE_FRAGMENT_LOST)
        return False
    for byte in range(total):
        scratch[start + byte] = fragments.bytes[slot, byte]
    fragments.counters[SCRATCH_USED] = start + total
    fragments.counters[WAITING] -= 1
    fragments.age[slot] = 0
    cur[POSITION] = start
    cur[END] = start + total
    cur[WIRE_END] = start + total
    out.notes[NOTE_REASSEMBLED] += 1
    return True


@kernel_lean
def whole_datagram(fragments: Fragments, slot: int, units: int) -> bool:
    """Tell whether the first `units` units came; those of fragments beyond the datagram's end do not count."""
    if fragments.units[slot] < units:
        return False
    for unit in range(units):  # noqa: SIM110 - kernels know no generators
        if fragments.there[slot, unit] == 0:
            return False
    return True


@kernel_lean
def datagram(out: Table, fragments: Fragments, cur: Any, name: int) -> Any:
    """Return the slot of the cursor's datagram: its own, a free one, or that of the one that waited longest."""
    chosen = 0
    for slot in range(SLOTS):
        if fragments.age[slot] and fragments.key[slot, 4] == name:
            key = fragments.key
            if (
                key[slot, 0] == cur[SOURCE_HIGH]
                and key[slot, 1] == cur[SOURCE_LOW]
                and key[slot, 2] == cur[TARGET_HIGH]
                and key[slot, 3] == cur[TARGET_LOW]
            ):
                return slot
        if fragments.age[slot] < fragments.age[chosen]:
            chosen = slot
    if fragments.age[chosen]:
        out.notes[NOTE_FRAGMENT_LOST] += 1
    else:
        fragments.counters[WAITING] += 1
    fragments.counters[CLOCK] += 1
    fragments.age[chosen] = fragments.counters[CLOCK]
    fragments.key[chosen, 0] = cur[SOURCE_HIGH]
    fragments.key[chosen, 1] = cur[SOURCE_LOW]
    fragments.key[chosen, 2] = cur[TARGET_HIGH]
    fragments.key[chosen, 3] = cur[TARGET_LOW]
    fragments.key[chosen, 4] = name
    fragments.total[chosen] = -1
    fragments.units[chosen] = 0
    for unit in range(UNITS):
        fragments.there[chosen, unit] = 0
    return chosen
