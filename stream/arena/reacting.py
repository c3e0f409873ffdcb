"""The network of an episode whose senders react: their events and the packets of the open loop, in order of time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.kernels import kernel, kernel_lean
from offramp.stream.arena.network import Flows, Journeys, Queues, carry, settle
from offramp.stream.arena.senders import tasks as requests
from offramp.stream.arena.senders import tcp, video
from offramp.stream.arena.senders.events import (
    ACK,
    ACK_TIMER,
    ANSWERED,
    ASKED,
    COMPUTED,
    CUT,
    DATA,
    FAR_NS,
    FLOW,
    FRAME,
    KIND,
    MARGIN,
    MARKS,
    PACE,
    REPORT,
    REPORT_TIMER,
    REQUEST,
    SIZE,
    START,
    SYN,
    SYN_ACK,
    TIME,
    TIMER,
    TURN,
    VIDEO,
    WHO,
    A,
    B,
    C,
    D,
    Events,
    Outbox,
    hand_over,
    pop,
    push,
)
from offramp.stream.arena.senders.tasks import NOWHERE, Tasks
from offramp.stream.arena.senders.tcp_state import ASKING, SENDING, Tcp

LATEST_NS = 1 << 62
"""Later than all that happens."""


class Log(NamedTuple):
    """Packets that senders sent, [room] each: int64 time_ns, size, flow, marks, place; float64 delay_ms, NaN if lost.

    used: int64 [1], how many.
    """

    time_ns: NDArray[np.int64]
    size: NDArray[np.int64]
    flow: NDArray[np.int64]
    marks: NDArray[np.int64]
    place: NDArray[np.int64]
    delay_ms: NDArray[np.float64]
    used: NDArray[np.int64]


class World(NamedTuple):
    """All that reacts in an episode.

    cameras: records of video.CAMERA; owner: int64 [flows] which TCP sender a flow is of, or -1; answers: bool [places]
    whether a place answers itself, as nodes do, so that nothing is added for what lies beyond the site; loss: float64
    [places] share of the packets lost at random; luck: int64 [1], the random numbers' state; event: int64
    [EVENT_WIDTH], the one that is looked at.
    """

    events: Events
    out: Outbox
    log: Log
    tcp: Tcp
    cameras: Any
    tasks: Tasks
    owner: NDArray[np.int64]
    answers: NDArray[np.bool_]
    loss: NDArray[np.float64]
    luck: NDArray[np.int64]
    event: NDArray[np.int64]


@kernel_lean
def is_lost(world: World, place: int) -> bool:
    """Return whether a packet is lost at random."""
    if world.loss[place] == 0.0:
        return False
    world.luck[0] = world.luck[0] * video.LUCK % video.MODULUS
    return bool(world.luck[0] < world.loss[place] * video.MODULUS)


@kernel_lean
def flush(queues: Queues, flows: Flows, peak_ms: NDArray[np.float64], now_ns: int, world: World) -> None:
    """Send the packets that were handed over, and have those arrive that are not lost."""
    log = world.log
    for number in range(world.out.used[0]):
        packet, at = world.out.packets[number], log.used[0]
        place, delay_ms = carry(queues, flows, packet[FLOW], now_ns, float(packet[SIZE]), peak_ms)
        if is_lost(world, place):
            delay_ms = np.nan
        log.time_ns[at], log.size[at], log.flow[at] = now_ns, packet[SIZE], packet[FLOW]
        log.marks[at], log.place[at], log.delay_ms[at] = packet[MARKS], place, delay_ms
        log.used[0] += 1
        if packet[KIND] == ANSWERED:
            world.tasks.each[packet[A]].energy_nj += packet[SIZE] * 8 * world.tasks.way_nj_per_bit[place]
        if not np.isnan(delay_ms):
            arrival_ns = now_ns + int(delay_ms * 1e6) + (0 if world.answers[place] else packet[FAR_NS])
            push(
                world.events, arrival_ns, packet[KIND], packet[WHO], packet[TURN], packet[A], packet[B], packet[C],
                packet[D],
            )  # fmt: skip
    world.out.used[0] = 0


@kernel_lean
def happen_tcp(kind: int, who: int, event: NDArray[np.int64], now_ns: int, world: World) -> None:
    """Let an event of a TCP connection happen; those of an earlier connection are nothing any more."""
    s, events, out = world.tcp.each[who], world.events, world.out
    if kind == TIMER:
        tcp.timer(world.tcp, who, now_ns, events, out)
    elif kind == ACK_TIMER:
        tcp.ack_timer(s, who, now_ns, events, out)
    elif event[TURN] != s.turn:
        return
    elif kind == START:
        tcp.start(world.tcp, who, event[A], now_ns, events, out)
    elif kind == CUT:
        tcp.broken(world.tcp, who, now_ns, events)
    elif kind == SYN:
        hand_over(out, s.to, tcp.SYN_BYTES, 0, 0, SYN_ACK, who, s.turn, 0, event[B], 0, 0)
    elif kind == SYN_ACK:
        tcp.opened(world.tcp, who, event[B], now_ns, events, out)
    elif kind == REQUEST and s.state == ASKING:
        tcp.send_all(world.tcp, who, now_ns, events, out)
    elif kind == DATA and s.state == SENDING:
        tcp.received(world.tcp, who, event[A], event[B], now_ns, events, out)
    elif kind == ACK and s.state == SENDING:
        tcp.acknowledged(world.tcp, who, event[A], event[B], event[C], event[D], now_ns, events, out)


@kernel_lean
def happen(event: NDArray[np.int64], world: World) -> None:
    """Let an event happen."""
    kind, who, now_ns, events = event[KIND], event[WHO], event[TIME], world.events
    if kind <= ACK:
        happen_tcp(kind, who, event, now_ns, world)
    elif kind == FRAME:
        video.frame(world.cameras[who], who, now_ns, events)
    elif kind == PACE:
        video.pace(world.cameras[who], who, now_ns, events, world.out)
    elif kind == VIDEO:
        video.seen(world.cameras[who], who, event[A], event[B], now_ns, events)
    elif kind == REPORT_TIMER:
        video.report(world.cameras[who], who, now_ns, events, world.out)
    elif kind == REPORT:
        video.reported(world.cameras[who], event[A], event[B], event[C], now_ns)
    elif kind == ASKED:
        requests.arrived(world.tasks, event[A], event[B], now_ns, events)
    elif kind == COMPUTED:
        requests.computed(world.tasks, event[A], now_ns, world.out)
    else:
        requests.answered(world.tasks, event[A], now_ns)


@kernel_lean
def open_packet(
    queues: Queues, flows: Flows, journeys: Journeys, which: int, at: int, now_ns: int, size: int,
    peak_ms: NDArray[np.float64], world: World,
) -> None:  # fmt: skip
    """Send a packet of the open loop, which may be one of a request."""
    request = world.tasks.request_of[at] if len(world.tasks.request_of) else NOWHERE
    if flows.due_ns[which] >= 0 and now_ns >= flows.due_ns[which]:
        flows.place[which], flows.due_ns[which] = flows.following[which], -1
    if request != NOWHERE and world.tasks.inside[flows.place[which]]:
        requests.sent(world.tasks, request, flows.place[which], size, now_ns, world.events)
        return
    place, delay_ms = carry(queues, flows, which, now_ns, float(size), peak_ms)
    if is_lost(world, place):
        delay_ms = np.nan
    journeys.place[at] = place
    journeys.delay_ms[at] = delay_ms
    if request != NOWHERE and not np.isnan(delay_ms):
        requests.sent(world.tasks, request, place, size, now_ns + int(delay_ms * 1e6), world.events)


@kernel
def react(
    queues: Queues, flows: Flows, journeys: Journeys, time_ns: NDArray[np.int64], size: NDArray[np.int64],
    flow: NDArray[np.int64], begin: int, end_ns: int, peak_ms: NDArray[np.float64], world: World,
) -> Any:  # fmt: skip
    """Let all happen before `end_ns`; return the first packet of the open loop that was not sent.

    It returns early where heap or log have no room for a step; see has_room.
    """
    at = begin
    while has_room(world.events, world.log):
        next_ns = world.events.heap[0, TIME] if world.events.used[0] else LATEST_NS
        if at < len(time_ns) and time_ns[at] < end_ns and time_ns[at] <= next_ns:
            open_packet(queues, flows, journeys, flow[at], at, time_ns[at], size[at], peak_ms, world)
            at += 1
        elif next_ns < end_ns:
            pop(world.events, world.event)
            happen(world.event, world)
            flush(queues, flows, peak_ms, next_ns, world)
        else:
            break
    return at


@kernel_lean
def has_room(events: Events, log: Log) -> bool:
    """Return whether any step fits."""
    return bool(len(events.heap) - events.used[0] > MARGIN and len(log.size) - log.used[0] > MARGIN)


@kernel
def schedule(events: Events, begins: NDArray[np.int64]) -> None:
    """Let senders begin; begins: int64 [n, 3] when (ns), by which event, which sender."""
    for number in range(len(begins)):
        push(events, begins[number, 0], begins[number, 1], begins[number, 2], 0, 0, 0, 0, 0)


@kernel
def finish(flows: Flows, smooth: float) -> None:
    """End a bin as `serve` does."""
    settle(flows, smooth)


@kernel
def reset(world: World, flow: int, at_ns: int) -> None:
    """Cut off the connection that a flow is of, either way, at a time: its sender begins anew after a time-out."""
    which = world.owner[flow]
    if which >= 0 and world.tcp.each[which].turn > 0:
        s = world.tcp.each[which]
        if flow == s.up or flow == s.to:
            push(world.events, at_ns, CUT, which, s.turn, 0, 0, 0, 0)


def new_log(room: int = 2 * MARGIN) -> Log:
    """Return an empty log."""
    whole = [np.zeros(room, np.int64) for _ in range(5)]
    return Log(whole[0], whole[1], whole[2], whole[3], whole[4], np.zeros(room), np.zeros(1, np.int64))
