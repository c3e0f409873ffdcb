"""What is to happen in an episode, in order of time: a heap; and the packets that a sender hands to the network."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.kernels import kernel_lean

TIME, ORDER, KIND, WHO, TURN, A, B, C, D = range(9)
"""Columns of an event: when (ns), its number (of two at a time the older comes first), what, whose, of which of its
connections, and four numbers that the kind gives a meaning."""
EVENT_WIDTH = 9
FLOW, SIZE, MARKS, FAR_NS = 9, 10, 11, 12
"""More columns of a packet: the row of its flow, bytes, marks, and how far beyond the site its end is (ns). The event
is its arrival, in the columns of events."""
PACKET_WIDTH = 13

START, TIMER, ACK_TIMER, SYN, SYN_ACK, REQUEST, DATA, ACK = range(8)
"""Of TCP: a connection begins, a timer is looked after, a packet has arrived."""
FRAME, PACE, VIDEO, REPORT_TIMER, REPORT = range(8, 13)
"""Of video."""
ASKED, COMPUTED, ANSWERED = range(13, 16)
"""Of requests with a deadline: a packet has arrived, its task is done, a packet of the answer has arrived."""
LOOK = 16
"""A packet of a lower class may begin to be sent: WHO the place, A the direction."""
NOTHING = -1
"""In the place of KIND: nothing comes of the packet's arrival."""

BURST = 4_096
"""Most segments that a TCP sender has under way: a receive window of 6 MB, the largest that Linux takes by default."""
MARGIN = 2 * BURST
"""Free places that a step needs at most in the heap and among the packets: all segments of a window, and some more."""


class Events(NamedTuple):
    """heap: int64 [room, EVENT_WIDTH]; used: int64 [2], the events in it, and all that there were."""

    heap: NDArray[np.int64]
    used: NDArray[np.int64]


class Outbox(NamedTuple):
    """packets: int64 [MARGIN, PACKET_WIDTH] that wait for the network; used: int64 [1], how many."""

    packets: NDArray[np.int64]
    used: NDArray[np.int64]


@kernel_lean
def push(events: Events, time_ns: int, kind: int, who: int, turn: int, a: int, b: int, c: int, d: int) -> None:
    """Add an event."""
    heap, at = events.heap, events.used[0]
    events.used[0] += 1
    events.used[1] += 1
    while at > 0:
        above = (at - 1) >> 1
        if heap[above, TIME] <= time_ns:
            break
        for column in range(EVENT_WIDTH):
            heap[at, column] = heap[above, column]
        at = above
    heap[at, TIME], heap[at, ORDER], heap[at, KIND], heap[at, WHO] = time_ns, events.used[1], kind, who
    heap[at, TURN], heap[at, A], heap[at, B], heap[at, C], heap[at, D] = turn, a, b, c, d


@kernel_lean
def pop(events: Events, out: NDArray[np.int64]) -> None:
    """Take the next event into `out`, int64 [EVENT_WIDTH]; there must be one."""
    heap = events.heap
    for column in range(EVENT_WIDTH):
        out[column] = heap[0, column]
    events.used[0] -= 1
    count, at = events.used[0], 0
    while True:
        below = 2 * at + 1
        if below >= count:
            break
        if below + 1 < count and before(heap, below + 1, below):
            below += 1
        if not before(heap, below, count):
            break
        for column in range(EVENT_WIDTH):
            heap[at, column] = heap[below, column]
        at = below
    for column in range(EVENT_WIDTH):
        heap[at, column] = heap[count, column]


@kernel_lean
def before(heap: NDArray[np.int64], one: int, other: int) -> bool:
    """Return whether an event comes before another."""
    if heap[one, TIME] != heap[other, TIME]:
        return bool(heap[one, TIME] < heap[other, TIME])
    return bool(heap[one, ORDER] < heap[other, ORDER])


@kernel_lean
def hand_over(
    out: Outbox, flow: int, size: int, marks: int, far_ns: int, kind: int, who: int, turn: int, a: int, b: int, c: int,
    d: int,
) -> None:  # fmt: skip
    """Hand a packet to the network; the rest is the event of its arrival."""
    packets, at = out.packets, out.used[0]
    out.used[0] += 1
    packets[at, FLOW], packets[at, SIZE], packets[at, MARKS], packets[at, FAR_NS] = flow, size, marks, far_ns
    packets[at, KIND], packets[at, WHO], packets[at, TURN] = kind, who, turn
    packets[at, A], packets[at, B], packets[at, C], packets[at, D] = a, b, c, d


def new_events(room: int = 2 * MARGIN) -> Events:
    """Return an empty heap."""
    return Events(np.zeros((room, EVENT_WIDTH), np.int64), np.zeros(2, np.int64))


def roomier(events: Events) -> Events:
    """Return a heap of twice the room, with the same events."""
    return events._replace(heap=np.concatenate([events.heap, np.zeros_like(events.heap)]))


def new_outbox() -> Outbox:
    """Return an empty one."""
    return Outbox(np.zeros((MARGIN, PACKET_WIDTH), np.int64), np.zeros(1, np.int64))
