"""The flow table: TCP and UDP conversations in arrays, found by open addressing, bounded, evicted by idleness.

A conversation is what tshark calls one: both directions of an address and port pair. Direction 0 is that of the
higher address (or port, where the addresses are equal), and constant within the conversation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp_kernels import kernel_entry, kernel_lean

# fields of `counters`
FREE = 0  # free slots left on the stack
TCP_STREAMS = 1
UDP_STREAMS = 2
EVICTED = 3
RESERVE = 128  # new conversations that one packet can start: one a nested header

# bits of `state`
BASE_SET = 1
PENDING = 2
SENT = 4
RENEW = 8  # the next packet begins another conversation (UDP, direction 0)
RENEWED = 16


class FlowTable(NamedTuple):
    """Conversations by slot.

    buckets: int32 [2 x slots] slot or -1; key: int64 [slots, 5]; stream: int64 [slots] conversation number;
    last_ns: int64 [slots]; per direction [slots, 2]: base (initial sequence number), state (bits), sent (next
    sequence number), pending (acknowledgement waited for), pending_ns; free: int32 [slots] stack of free slots;
    counters: int64 [8].
    """

    buckets: NDArray[np.int32]
    key: NDArray[np.int64]
    stream: NDArray[np.int64]
    last_ns: NDArray[np.int64]
    base: NDArray[np.int64]
    state: NDArray[np.int64]
    sent: NDArray[np.int64]
    pending: NDArray[np.int64]
    pending_ns: NDArray[np.int64]
    free: NDArray[np.int32]
    counters: NDArray[np.int64]


def new_flow_table(slots: int) -> FlowTable:
    """Return an empty table for `slots` conversations (rounded up to a power of two)."""
    slots = 1 << (slots - 1).bit_length()
    counters = np.zeros(8, np.int64)
    counters[FREE] = slots
    pair = (slots, 2)
    return FlowTable(
        np.full(2 * slots, -1, np.int32),
        np.zeros((slots, 5), np.int64),
        np.zeros(slots, np.int64),
        np.full(slots, np.iinfo(np.int64).min, np.int64),
        np.zeros(pair, np.int64),
        np.zeros(pair, np.int64),
        np.zeros(pair, np.int64),
        np.zeros(pair, np.int64),
        np.zeros(pair, np.int64),
        np.arange(slots - 1, -1, -1, dtype=np.int32),
        counters,
    )


def grow_flow_table(flows: FlowTable) -> FlowTable:
    """Return a table of twice the slots with the same conversations in the same slots."""
    old = len(flows.stream)
    grown = new_flow_table(2 * old)
    for name in ("key", "stream", "last_ns", "base", "state", "sent", "pending", "pending_ns"):
        getattr(grown, name)[:old] = getattr(flows, name)
    used = flows.counters[FREE]
    grown.free[:old] = np.arange(2 * old - 1, old - 1, -1, dtype=np.int32)
    grown.free[old : old + used] = flows.free[:used]
    grown.counters[:] = flows.counters
    grown.counters[FREE] = old + used
    rebuild_index(grown.buckets, grown.key, _taken(grown))
    return grown


def evict_idlest(flows: FlowTable) -> int:
    """Forget the quarter of the conversations that has been idle longest; return how many."""
    taken = np.flatnonzero(_taken(flows))
    count = max(1, len(taken) // 4)
    idlest = taken[np.argpartition(flows.last_ns[taken], count - 1)[:count]].astype(np.int32)
    free = int(flows.counters[FREE])
    flows.free[free : free + count] = idlest
    flows.counters[FREE] = free + count
    flows.counters[EVICTED] += count
    flows.buckets[:] = -1
    rebuild_index(flows.buckets, flows.key, _taken(flows))
    return count


def _taken(flows: FlowTable) -> NDArray[np.bool_]:
    """Return bool [slots]: whether a slot holds a conversation."""
    taken = np.ones(len(flows.stream), np.bool_)
    taken[flows.free[: flows.counters[FREE]]] = False
    return taken


@kernel_entry
def rebuild_index(index: Any, key: Any, taken: Any) -> None:
    """Put every taken slot into an empty index."""
    mask = index.shape[0] - 1
    for slot in range(key.shape[0]):
        if taken[slot]:
            at = bucket(key[slot, 0], key[slot, 1], key[slot, 2], key[slot, 3], key[slot, 4]) & mask
            while index[at] >= 0:
                at = (at + 1) & mask
            index[at] = slot


@kernel_lean
def bucket(a: int, b: int, c: int, d: int, e: int) -> Any:
    """Return a hash of a key."""
    value = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(b)
    value = (value ^ (value >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) ^ np.uint64(c)
    value = (value ^ (value >> np.uint64(32))) * np.uint64(0x94D049BB133111EB) ^ np.uint64(d)
    value = (value ^ (value >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) ^ np.uint64(e)
    value = (value ^ (value >> np.uint64(32))) * np.uint64(0x94D049BB133111EB)
    return np.int64((value ^ (value >> np.uint64(31))) >> np.uint64(1))


@kernel_lean
def flows_room(flows: FlowTable) -> bool:
    """Tell whether any packet's conversations still fit; the row loop asks before each row."""
    return bool(flows.counters[FREE] >= RESERVE)


@kernel_lean
def find_flow(flows: FlowTable, a: int, b: int, c: int, d: int, e: int) -> Any:
    """Return the slot of a key, and True where it was taken just now."""
    mask = flows.buckets.shape[0] - 1
    at = bucket(a, b, c, d, e) & mask
    while True:
        slot = np.int64(flows.buckets[at])
        if slot < 0:
            break
        key = flows.key
        if key[slot, 4] == e and key[slot, 1] == b and key[slot, 3] == d and key[slot, 0] == a and key[slot, 2] == c:
            return slot, False
        at = (at + 1) & mask
    flows.counters[FREE] -= 1
    slot = np.int64(flows.free[flows.counters[FREE]])
    flows.buckets[at] = slot
    flows.key[slot, 0] = a
    flows.key[slot, 1] = b
    flows.key[slot, 2] = c
    flows.key[slot, 3] = d
    flows.key[slot, 4] = e
    return slot, True


@kernel_lean
def start_flow(flows: FlowTable, slot: int, counter: int, time_ns: int) -> None:
    """Begin a conversation in a slot: the next number of its kind, nothing known of either direction."""
    flows.stream[slot] = flows.counters[counter]
    flows.counters[counter] += 1
    flows.last_ns[slot] = time_ns
    for direction in range(2):
        flows.base[slot, direction] = 0
        flows.state[slot, direction] = 0
