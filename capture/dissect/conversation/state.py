"""State of the application layers: conversations, DNS transactions, and messages not yet complete.

Indexed by the slots of the flow table; a side is one direction of a slot, at `slot * 2 + direction`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.capture.dissect.conversation.ports import port_protocols
from offramp.kernels import kernel_lean

# fields of `kind`, per slot
SERVER_PORT = 0  # from the SYN, 0 unknown
PROTOCOL = 1  # found by what the bytes look like, 0 not yet
MQTT_VERSION = 2
SYN_NS = 3  # time of the newest SYN, 0 none
RTT_NS = 4  # from it to the first acknowledgement, 0 unknown
HTTP_METHOD = 5  # of the last request: what decides whether its answer has a body
HTTP_SEEN = 6  # whether a request was seen
HTTP_STATUS = 7  # of the last response
HTTP_STATE = 8  # whether the conversation still speaks HTTP
HTTP_PORT = 9  # the port that the last request's URI names after its first colon, -1 none
SOCKS_STATE = 10
SOCKS_PORT = 11
KIND_FIELDS = 12

# fields of `side`, per slot and direction; 0 stands for unknown in the first four, as in tshark
NEXT = 0  # sequence number after the newest byte seen
NEXT_NS = 1  # when that byte was seen
ACKED = 2  # newest acknowledgement number sent
ACKED_NS = 3
REPEATS = 4  # how often that acknowledgement was repeated
WINDOW = 5
KEPT_ALIVE = 6  # whether the newest segment was a keep-alive
MODE = 7  # what is waited for
START = 8  # sequence number of the first byte of the message
HAVE = 9  # bytes of it received, from its start
WANT = 10  # bytes of it needed before it is looked at again
FIRST = 11  # its first and last chunk in the arena, -1 none
LAST = 12
RESUME = 13  # where its next line starts (HTTP heads and chunks)
STRETCHES = 14  # early stretches of bytes, received before those that precede them
SCANNED = 15  # how far it was searched for that line's end; a CR at the end of what came is searched again
READ = 16  # which of its chunks was read last, and its place in the arena (-1 none): reading goes on there
READ_CHUNK = 17
SIDE_FIELDS = 18
MAX_STRETCHES = 8

# fields of `counters`
FREE_CHUNKS = 0
HAND = 1  # where the search for a message to give up goes on
GIVEN_UP = 2  # messages given up to make room for others, not yet in the ledger
STEPS = 3  # of work on reassembled messages, as cursor.STEPS counts them

CHUNK = 2048  # bytes
CHUNKS = 16_384
DNS_TRANSACTIONS = 65_536
ALIASES = 4096  # of MQTT topics
ALIAS_BYTES = 512
LINE = 4096  # bytes of a chunk line, extensions included; a message with a longer one is given up
SHORT_LINE = 128  # what is looked at first


class Applications(NamedTuple):
    """State of the application layers, a plain tuple of arrays so that kernels take it as one argument.

    generation: int64 [slots], raised when a slot gets a new conversation; kind: int64 [slots, KIND_FIELDS];
    side: int64 [2 x slots, SIDE_FIELDS]; later: int64 [2 x slots, MAX_STRETCHES, 2], start and end of stretches;
    dns: int64 [DNS_TRANSACTIONS, 4] (key, frame of the query, its time in ns, frame of the answer), the oldest of four
    being overwritten; alias: int64 [ALIASES, 2] (key, bytes) and alias_text: uint8 [ALIASES, ALIAS_BYTES];
    arena: uint8 [CHUNKS, CHUNK] bytes of messages not yet complete; following, free: int32 [CHUNKS] chains of chunks
    and the stack of free ones; counters: int64 [8]; head: int64 [24] an HTTP head; line: uint8 [LINE];
    ports: uint8 [3, 65536], see port_protocols.
    """

    generation: NDArray[np.int64]
    kind: NDArray[np.int64]
    side: NDArray[np.int64]
    later: NDArray[np.int64]
    dns: NDArray[np.int64]
    alias: NDArray[np.int64]
    alias_text: NDArray[np.uint8]
    arena: NDArray[np.uint8]
    following: NDArray[np.int32]
    free: NDArray[np.int32]
    counters: NDArray[np.int64]
    head: NDArray[np.int64]
    line: NDArray[np.uint8]
    ports: NDArray[np.uint8]


def new_applications(slots: int) -> Applications:
    """Return fresh state for a flow table of `slots` conversations; large arrays cost nothing until written."""
    counters = np.zeros(8, np.int64)
    counters[FREE_CHUNKS] = CHUNKS
    return Applications(
        np.zeros(slots, np.int64),
        np.zeros((slots, KIND_FIELDS), np.int64),
        np.zeros((2 * slots, SIDE_FIELDS), np.int64),
        np.zeros((2 * slots, MAX_STRETCHES, 2), np.int64),
        np.zeros((DNS_TRANSACTIONS, 4), np.int64),
        np.zeros((ALIASES, 2), np.int64),
        np.empty((ALIASES, ALIAS_BYTES), np.uint8),
        np.empty((CHUNKS, CHUNK), np.uint8),
        np.zeros(CHUNKS, np.int32),
        np.arange(CHUNKS - 1, -1, -1, dtype=np.int32),
        counters,
        np.zeros(24, np.int64),
        np.zeros(LINE, np.uint8),
        port_protocols(),
    )


def grow_applications(apps: Applications, slots: int) -> Applications:
    """Return state for `slots` conversations that holds what `apps` holds, in the same slots."""
    old = len(apps.generation)
    if slots <= old:
        return apps
    generation = np.zeros(slots, np.int64)
    kind = np.zeros((slots, KIND_FIELDS), np.int64)
    side = np.zeros((2 * slots, SIDE_FIELDS), np.int64)
    later = np.zeros((2 * slots, MAX_STRETCHES, 2), np.int64)
    generation[:old] = apps.generation
    kind[:old] = apps.kind
    side[: 2 * old] = apps.side
    for which in np.flatnonzero(apps.side[:, STRETCHES]):
        later[which] = apps.later[which]
    return apps._replace(generation=generation, kind=kind, side=side, later=later)


@kernel_lean
def free_chunks(apps: Applications, which: int) -> None:
    """Free the chunks of the message that a side waits for, and wait no more."""
    side = apps.side
    if side[which, MODE] == 0:
        return
    chunk = side[which, FIRST]
    while chunk >= 0:
        apps.free[apps.counters[FREE_CHUNKS]] = chunk
        apps.counters[FREE_CHUNKS] += 1
        apps.counters[STEPS] += 1
        chunk = np.int64(apps.following[chunk])
    side[which, FIRST] = -1
    side[which, MODE] = 0


@kernel_lean
def application_reset(apps: Applications, slot: int) -> None:
    """Reset the state of a slot; called when another conversation begins in it."""
    apps.generation[slot] += 1
    for field in range(KIND_FIELDS):
        apps.kind[slot, field] = 0
    for which in range(2 * slot, 2 * slot + 2):
        free_chunks(apps, which)
        for field in range(SIDE_FIELDS):
            apps.side[which, field] = 0
