"""The flow table: TCP and UDP conversations in arrays, with open addressing, bounded, idle ones evicted.

A conversation is what tshark calls one: both directions of an address and port pair. Direction 0 is from the higher
address (or port, where the addresses are equal), and constant within the conversation.

Hash places depend on a secret, so that nobody can send conversations that all collide; slots, numbers and rows are the
same with any secret.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.capture.dissect.packet.cursor import SOURCE_HIGH, SOURCE_LOW, STEPS, TARGET_HIGH, TARGET_LOW, VERSION
from offramp.kernels import kernel_entry, kernel_inline, kernel_lean

# fields of `counters`
FREE = 0  # free slots left on the stack
TCP_STREAMS = 1
UDP_STREAMS = 2
EVICTED = 3
FLOOR = 4  # free slots below which the row loop asks for room
CROWDED = 5  # a search passed more than MAX_PROBES places
SECRET = 8  # where the words of the hash's secret begin
KEY_WORDS = 10  # a key in words of 32 bits
RESERVE = 128  # new conversations that one packet can start: one a nested header
MAX_PROBES = 256
"""Places of one search: with half of them free a random hash needs some forty for the worst of 262,144 conversations;
who needs more knows the secret, and the table gets another one."""

IDLE_NS = 300_000_000_000
"""Conversations idle for longer may leave once the table is half full: five minutes, what RFC 4787 has for UDP."""

WORD = 0xFFFFFFFF

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
    counters: int64 [SECRET + 1 + KEY_WORDS].
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


def new_secret() -> NDArray[np.int64]:
    """Return a secret for the hash of a table, int64 [1 + KEY_WORDS]."""
    return np.frombuffer(os.urandom(8 * (1 + KEY_WORDS)), np.int64)


def new_flow_table(slots: int, secret: NDArray[np.int64]) -> FlowTable:
    """Return an empty table for `slots` conversations (rounded up to a power of two)."""
    slots = 1 << (slots - 1).bit_length()
    counters = np.zeros(SECRET + 1 + KEY_WORDS, np.int64)
    counters[FREE], counters[FLOOR], counters[SECRET:] = slots, RESERVE, secret
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
    grown = new_flow_table(2 * old, flows.counters[SECRET:])
    for name in ("key", "stream", "last_ns", "base", "state", "sent", "pending", "pending_ns"):
        getattr(grown, name)[:old] = getattr(flows, name)
    used = flows.counters[FREE]
    grown.free[:old] = np.arange(2 * old - 1, old - 1, -1, dtype=np.int32)
    grown.free[old : old + used] = flows.free[:used]
    grown.counters[:] = flows.counters
    grown.counters[FREE] = old + used
    rebuild_index(grown.buckets, grown.key, _taken(grown), grown.counters)
    return grown


def rekey(flows: FlowTable, secret: NDArray[np.int64]) -> None:
    """Rehash all conversations with another secret."""
    flows.counters[SECRET:], flows.counters[CROWDED] = secret, 0
    flows.buckets[:] = -1
    rebuild_index(flows.buckets, flows.key, _taken(flows), flows.counters)


def forget_idle(flows: FlowTable) -> int:
    """Forget the conversations that have been idle for IDLE_NS; return how many.

    Idle time is measured from a time that one of 64 conversations has reached, so that a few wrong packet times do not
    make all others look idle.
    """
    taken = np.flatnonzero(_taken(flows))
    last = flows.last_ns[taken]
    newest = len(taken) - 1 - len(taken) // 64
    return _forget(flows, taken[last < np.partition(last, newest)[newest] - IDLE_NS])


def evict_idlest(flows: FlowTable) -> int:
    """Forget the quarter of the conversations that has been idle longest; return how many."""
    taken = np.flatnonzero(_taken(flows))
    count = max(1, len(taken) // 4)
    flows.counters[EVICTED] += count
    return _forget(flows, taken[np.argpartition(flows.last_ns[taken], count - 1)[:count]])


def _forget(flows: FlowTable, slots: NDArray[np.int64]) -> int:
    """Free slots; return how many."""
    free, count = int(flows.counters[FREE]), len(slots)
    if count:
        flows.free[free : free + count] = slots
        flows.counters[FREE] = free + count
        flows.buckets[:] = -1
        rebuild_index(flows.buckets, flows.key, _taken(flows), flows.counters)
    return count


def _taken(flows: FlowTable) -> NDArray[np.bool_]:
    """Return bool [slots]: whether a slot holds a conversation."""
    taken = np.ones(len(flows.stream), np.bool_)
    taken[flows.free[: flows.counters[FREE]]] = False
    return taken


@kernel_entry
def rebuild_index(index: Any, key: Any, taken: Any, counters: Any) -> None:
    """Put every taken slot into an empty index."""
    mask = index.shape[0] - 1
    for slot in range(key.shape[0]):
        if taken[slot]:
            at = bucket(counters, key[slot, 0], key[slot, 1], key[slot, 2], key[slot, 3], key[slot, 4]) & mask
            while index[at] >= 0:
                at = (at + 1) & mask
            index[at] = slot


@kernel_inline
def bucket(counters: Any, a: int, b: int, c: int, d: int, e: int) -> Any:
    """Return a hash of a key: its words times a secret each (multilinear: Lemire, Kaser 2014), the sum's bits mixed.

    Keys chosen without the secret collide no more often than random ones. Hashes that are only seeded with a secret do
    not guarantee that, nor does any quicker one; and it takes no longer than a hash without a secret.
    """
    value = (
        counters[SECRET]
        + counters[SECRET + 1] * (a & WORD)
        + counters[SECRET + 2] * ((a >> 32) & WORD)
        + counters[SECRET + 3] * (b & WORD)
        + counters[SECRET + 4] * ((b >> 32) & WORD)
        + counters[SECRET + 5] * (c & WORD)
        + counters[SECRET + 6] * ((c >> 32) & WORD)
        + counters[SECRET + 7] * (d & WORD)
        + counters[SECRET + 8] * ((d >> 32) & WORD)
        + counters[SECRET + 9] * (e & WORD)
        + counters[SECRET + 10] * ((e >> 32) & WORD)
    )
    mixed = np.uint64(value)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0x94D049BB133111EB)
    return np.int64((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(1))


@kernel_lean
def flows_room(flows: FlowTable) -> bool:
    """Return whether any packet's conversations fit and are found fast enough; the row loop asks before each row."""
    return bool(flows.counters[FREE] >= flows.counters[FLOOR] and flows.counters[CROWDED] == 0)


@kernel_inline
def find_flow(flows: FlowTable, cur: Any, a: int, b: int, c: int, d: int, e: int) -> Any:
    """Return the slot of a key, and True where the key is new."""
    mask = flows.buckets.shape[0] - 1
    at = bucket(flows.counters, a, b, c, d, e) & mask
    probes = 0
    while True:
        probes += 1
        slot = np.int64(flows.buckets[at])
        if slot < 0:
            break
        key = flows.key
        if key[slot, 4] == e and key[slot, 1] == b and key[slot, 3] == d and key[slot, 0] == a and key[slot, 2] == c:
            cur[STEPS] += probes
            flows.counters[CROWDED] |= probes > MAX_PROBES
            return slot, False
        at = (at + 1) & mask
    cur[STEPS] += probes
    flows.counters[CROWDED] |= probes > MAX_PROBES
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
    """Begin a conversation in a slot: give it the next number of its kind, clear the state of both directions."""
    flows.stream[slot] = flows.counters[counter]
    flows.counters[counter] += 1
    flows.last_ns[slot] = time_ns
    for direction in range(2):
        flows.base[slot, direction] = 0
        flows.state[slot, direction] = 0


@kernel_lean
def from_higher(cur: Any, source_port: int, target_port: int) -> Any:
    """Return whether the packet comes from the conversation's higher address (or port, where they are equal)."""
    if cur[SOURCE_HIGH] != cur[TARGET_HIGH]:
        return cur[SOURCE_HIGH] > cur[TARGET_HIGH]
    if cur[SOURCE_LOW] != cur[TARGET_LOW]:
        return cur[SOURCE_LOW] > cur[TARGET_LOW]
    return source_port > target_port


@kernel_inline
def conversation(flows: FlowTable, cur: Any, source_port: int, target_port: int, protocol: int) -> Any:
    """Return the slot of the packet's conversation, whether it is new, and the packet's direction (0 or 1)."""
    kind = (cur[VERSION] << 40) | (protocol << 32)
    near_high, near_low, far_high, far_low = cur[SOURCE_HIGH], cur[SOURCE_LOW], cur[TARGET_HIGH], cur[TARGET_LOW]
    ports, direction = kind | (source_port << 16) | target_port, 0
    if not from_higher(cur, source_port, target_port):
        near_high, near_low, far_high, far_low = far_high, far_low, near_high, near_low
        ports, direction = kind | (target_port << 16) | source_port, 1
    slot, new = find_flow(flows, cur, near_high, near_low, far_high, far_low, ports)
    return slot, new, direction
