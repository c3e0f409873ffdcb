"""Requests with a deadline: packets up, a task on a node, an answer down.

A task needs its bits times the cycles of a bit; a node computes tasks in order, and refuses one that finds it full.
Energy is that of the paper's equations 16 and 17: sent away E = E_t + a d, computed by the device itself E = d e.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.kernels import kernel_lean
from offramp.stream.arena.senders.events import ANSWERED, COMPUTED, Events, Outbox, hand_over, push
from offramp.stream.channels import Counter, mark

NOWHERE = -1
"""A server: none, its tasks take no time."""
PAYLOAD, HEADERS = 1_400, 42
"""Bytes of an answer's full packet, and Ethernet, IPv4 and UDP before them."""
MOST_BYTES = 5_000_000
"""Of an answer, so that its packets fit among those of one step (events.MARGIN)."""
UDP = mark(Counter.UDP)

REQUEST = np.dtype(
    [
        # what it is: whose, when it was made, its bits, its packets that have not arrived
        ("user", "i8"), ("made_ns", "i8"), ("bits", "i8"), ("left", "i8"),
        # what became of it: where its last packet went, when the task was taken, packets of the answer, energy so far
        ("place", "i8"), ("done_ns", "i8"), ("refused", "i8"), ("answer", "i8"), ("energy_nj", "f8"),
    ],
    align=True,
)  # fmt: skip
"""A request; done_ns: 0 until it was answered."""

USER = np.dtype([
    ("up", "i8"), ("back", "i8"), ("answer_bytes", "i8"), ("cycles_per_bit", "f8"), ("send_nj_per_bit", "f8")
], align=True)  # fmt: skip
"""Who makes requests: rows of the flows up and back, the answer, the task, what sending costs the device."""

SERVER = np.dtype([
    ("compute", "f8"), ("queue", "i8"), ("nj_per_bit", "f8"), ("nj_per_cycle", "f8"), ("free_ns", "i8"), ("taken", "i8")
], align=True)  # fmt: skip
"""What computes: cycles a second beside its other load, tasks that may wait, energy; when it is free, tasks so far."""


class Tasks(NamedTuple):
    """Requests and what serves them.

    each, users, servers: records of REQUEST [r], USER, SERVER; server_of: int64 [users, places] which computes a task
    whose packets took a place, or NOWHERE; inside: bool [places] whether it is in the device, so that no packet is
    sent; serves: bool [places] whether it is a node; way_nj_per_bit: float64 [places] what carrying a bit there costs;
    starts_ns: int64 [servers, q] when the newest tasks begin; request_of: int64 [packets] which request a packet of the
    open loop is of, or NOWHERE; nj: float64 [1] energy of all tasks but that of bits to a node, which is with packets
    (energy.spent_nj).
    """

    each: Any
    users: Any
    servers: Any
    server_of: NDArray[np.int64]
    inside: NDArray[np.bool_]
    serves: NDArray[np.bool_]
    way_nj_per_bit: NDArray[np.float64]
    starts_ns: NDArray[np.int64]
    request_of: NDArray[np.int64]
    nj: NDArray[np.float64]


@kernel_lean
def spend(tasks: Tasks, request: int, place: int, bytes_: int, asked: bool) -> None:
    """Add what a packet of a request, or of its answer, costs on its way."""
    r = tasks.each[request]
    device = tasks.users[r.user].send_nj_per_bit if asked else 0.0
    r.energy_nj += bytes_ * 8 * (device + tasks.way_nj_per_bit[place])


@kernel_lean
def arrived(tasks: Tasks, request: int, place: int, now_ns: int, events: Events) -> None:
    """Take a packet of a request at its node: when all are there, the task is taken, or refused."""
    r = tasks.each[request]
    r.left -= 1
    if r.left > 0:
        return
    r.place = place
    which = tasks.server_of[r.user, place]
    if which == NOWHERE:
        push(events, now_ns, COMPUTED, r.user, 0, request, 0, 0, 0)
        return
    server, slots = tasks.servers[which], tasks.starts_ns[which]
    if server.queue == 0 and server.free_ns > now_ns:
        r.refused = 1
        return
    if server.queue > 0 and server.taken >= server.queue and slots[server.taken % server.queue] > now_ns:
        r.refused = 1  # so many tasks as may wait have not begun
        return
    cycles = r.bits * tasks.users[r.user].cycles_per_bit
    begin_ns = max(now_ns, server.free_ns)
    server.free_ns = begin_ns + int(cycles / server.compute * 1e9)
    if server.queue > 0:
        slots[server.taken % server.queue] = begin_ns
    server.taken += 1
    r.energy_nj += r.bits * server.nj_per_bit + cycles * server.nj_per_cycle
    tasks.nj[0] += cycles * server.nj_per_cycle
    if tasks.inside[place] or not tasks.serves[place]:
        tasks.nj[0] += r.bits * server.nj_per_bit
    push(events, server.free_ns, COMPUTED, r.user, 0, request, 0, 0, 0)


@kernel_lean
def computed(tasks: Tasks, request: int, now_ns: int, out: Outbox) -> None:
    """Send the answer; a task of the device itself, or one without an answer, is done."""
    r = tasks.each[request]
    user = tasks.users[r.user]
    if tasks.inside[r.place] or user.answer_bytes == 0:
        r.done_ns = now_ns
        return
    left = min(user.answer_bytes, MOST_BYTES)
    while left > 0:
        payload = min(left, PAYLOAD)
        left -= payload
        r.answer += 1
        hand_over(out, user.back, HEADERS + payload, UDP, 0, ANSWERED, r.user, 0, request, 0, 0, 0)


@kernel_lean
def answered(tasks: Tasks, request: int, now_ns: int) -> None:
    """Take a packet of an answer at the device."""
    r = tasks.each[request]
    r.answer -= 1
    if r.answer == 0:
        r.done_ns = now_ns
