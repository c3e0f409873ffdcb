"""The network of an episode whose senders react: their events and the packets of the open loop, in order of time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.kernels import kernel_entry, kernel_lean
from offramp.stream.arena.network.flows import AFTER_NS, NEVER, Flows, carry, settle
from offramp.stream.arena.network.queues import CLASSES, NOBODY, Journeys, Queues, begin_lower, sent_at, served
from offramp.stream.arena.senders import tasks as requests
from offramp.stream.arena.senders import tcp, video
from offramp.stream.arena.senders.events import (
    ACK,
    ACK_TIMER,
    ANSWERED,
    ASKED,
    COMPUTED,
    DATA,
    FAR_NS,
    FLOW,
    FRAME,
    KIND,
    LOOK,
    MARGIN,
    MARKS,
    NOTHING,
    PACE,
    PACKET_WIDTH,
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
    """All packets of an episode in order of time, [room] each.

    int64: time_ns, size, flow, marks, opened (the number in the open loop, or NOBODY), place; float64: delay_ms. turn,
    behind: of queues.Journeys, where a queue has two classes. packets: int64 [room or 1, PACKET_WIDTH] what is to come
    of each: of all where one may wait in a lower class, else of the newest. used: int64 [1], how many.
    """

    time_ns: NDArray[np.int64]
    size: NDArray[np.int64]
    flow: NDArray[np.int64]
    marks: NDArray[np.int64]
    opened: NDArray[np.int64]
    place: NDArray[np.int64]
    delay_ms: NDArray[np.float64]
    turn: NDArray[np.float64]
    behind: NDArray[np.int64]
    packets: NDArray[np.int64]
    used: NDArray[np.int64]


class World(NamedTuple):
    """All that reacts in an episode.

    cameras: records of video.CAMERA; owner: int64 [flows] which TCP sender a flow is of, or NOBODY; answers: bool
    [places] whether a place answers itself, as nodes do, so that nothing is added for what lies beyond the site; loss:
    float64 [places] share of the packets lost at random; luck: int64 [1], the random numbers' state; line, look_ns:
    int64 [places, 2] the first packet of a lower class that has not begun, or NOBODY, and when that is looked at, or 0;
    event: int64 [EVENT_WIDTH], the one that happens; packet: int64 [PACKET_WIDTH], the one that is sent.
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
    line: NDArray[np.int64]
    look_ns: NDArray[np.int64]
    event: NDArray[np.int64]
    packet: NDArray[np.int64]


@kernel_lean
def is_lost(world: World, place: int) -> bool:
    """Return whether a packet is lost at random."""
    if world.loss[place] == 0.0:
        return False
    world.luck[0] = world.luck[0] * video.LUCK % video.MODULUS
    return bool(world.luck[0] < world.loss[place] * video.MODULUS)


@kernel_lean
def put(
    queues: Queues, flows: Flows, peak_ms: NDArray[np.float64], now_ns: int, opened: int, packet: NDArray[np.int64],
    world: World,
) -> None:  # fmt: skip
    """Send a packet, and have it arrive when it is known when; a connection that breaks tells its sender."""
    log, at, which, kind = world.log, world.log.used[0], packet[FLOW], packet[KIND]
    log.used[0] += 1
    log.time_ns[at], log.size[at], log.flow[at], log.marks[at] = now_ns, packet[SIZE], which, packet[MARKS]
    log.opened[at], log.place[at], log.delay_ms[at] = opened, NOBODY, np.nan
    slot = at % len(log.packets)
    for column in range(PACKET_WIDTH):
        log.packets[slot, column] = packet[column]
    journeys = Journeys(log.delay_ms, log.place, log.turn, log.behind)
    carry(queues, flows, journeys, log.time_ns, log.size, at, which, peak_ms)
    place, side = log.place[at], int(flows.down[which])
    if place == NOBODY:
        if world.owner[which] != NOBODY:
            tcp.broken(world.tcp, world.owner[which], now_ns, flows.connection[which, AFTER_NS], world.events)
        return
    if kind in (ASKED, ANSWERED):
        requests.spend(world.tasks, packet[A], place, packet[SIZE], kind == ASKED)
    if not np.isnan(log.delay_ms[at]):
        arrive(at, world)
    if queues.traits[place, CLASSES] > 1:
        follow_line(queues, place, side, now_ns, world)


@kernel_lean
def arrive(at: int, world: World) -> None:
    """Have a packet arrive, unless it is lost at random."""
    log = world.log
    place, packet = log.place[at], log.packets[at % len(log.packets)]
    if is_lost(world, place):
        log.delay_ms[at] = np.nan
    elif packet[KIND] != NOTHING:
        far_ns = 0 if world.answers[place] else packet[FAR_NS]
        push(
            world.events, log.time_ns[at] + int(log.delay_ms[at] * 1e6) + far_ns, packet[KIND], packet[WHO],
            packet[TURN], packet[A], place if packet[KIND] == ASKED else packet[B], packet[C], packet[D],
        )  # fmt: skip


@kernel_lean
def follow_line(queues: Queues, place: int, side: int, now_ns: int, world: World) -> None:
    """Have those arrive that left the line of a lower class, and look again when the next one may begin."""
    log, at, head = world.log, world.line[place, side], queues.head[place, side]
    while at != NOBODY and at != head:
        arrive(at, world)
        at = log.behind[at]
    world.line[place, side] = head
    if head != NOBODY and world.look_ns[place, side] == 0:
        begin = log.turn[head] - log.size[head] + queues.passed[place, side]
        world.look_ns[place, side] = max(int(np.ceil(sent_at(queues, place, side, begin))), now_ns + 1)
        push(world.events, world.look_ns[place, side], LOOK, place, 0, side, 0, 0, 0)


@kernel_lean
def look(queues: Queues, place: int, side: int, now_ns: int, world: World) -> None:
    """Let packets of a lower class begin whose turn it is."""
    log = world.log
    world.look_ns[place, side] = 0
    journeys = Journeys(log.delay_ms, log.place, log.turn, log.behind)
    begin_lower(queues, journeys, log.time_ns, log.size, place, side, served(queues, place, side, now_ns))
    follow_line(queues, place, side, now_ns, world)


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
    """Let an event of a sender, a receiver or a node happen."""
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
    queues: Queues, flows: Flows, peak_ms: NDArray[np.float64], now_ns: int, size: int, marks: int, which: int, at: int,
    world: World,
) -> None:  # fmt: skip
    """Send packet `at` of the open loop, which may be one of a request; in the device none is sent."""
    tasks, packet = world.tasks, world.packet
    request = tasks.request_of[at] if len(tasks.request_of) else NOWHERE
    packet[FLOW], packet[SIZE], packet[MARKS], packet[FAR_NS], packet[KIND] = which, size, marks, 0, NOTHING
    if request != NOWHERE:
        due = flows.due_ns[which] != NEVER and now_ns >= flows.due_ns[which]
        place = (flows.following[which] if due else flows.place[which]) % len(queues.traits)
        packet[KIND], packet[WHO], packet[A] = ASKED, tasks.each[request].user, request
        if tasks.inside[place]:
            push(world.events, now_ns, ASKED, packet[WHO], 0, request, place, 0, 0)
            return
    put(queues, flows, peak_ms, now_ns, at, packet, world)


@kernel_entry
def react(
    queues: Queues, flows: Flows, time_ns: NDArray[np.int64], size: NDArray[np.int64], marks: NDArray[np.int64],
    flow: NDArray[np.int64], begin: int, end_ns: int, peak_ms: NDArray[np.float64], world: World,
) -> Any:  # fmt: skip
    """Let all happen before `end_ns`; return the first packet of the open loop that was not sent.

    It returns early where heap or log have no room for a step; see has_room.
    """
    at, events = begin, world.events
    while has_room(events, world.log):
        next_ns = events.heap[0, TIME] if events.used[0] else LATEST_NS
        if at < len(time_ns) and time_ns[at] < end_ns and time_ns[at] <= next_ns:
            open_packet(queues, flows, peak_ms, time_ns[at], size[at], marks[at], flow[at], at, world)
            at += 1
        elif next_ns < end_ns:
            pop(events, world.event)
            if world.event[KIND] == LOOK:
                look(queues, world.event[WHO], world.event[A], next_ns, world)
            else:
                happen(world.event, world)
                for number in range(world.out.used[0]):
                    put(queues, flows, peak_ms, next_ns, NOBODY, world.out.packets[number], world)
                world.out.used[0] = 0
        else:
            break
    return at


@kernel_lean
def has_room(events: Events, log: Log) -> bool:
    """Return whether any step fits."""
    return bool(len(events.heap) - events.used[0] > MARGIN and len(log.size) - log.used[0] > MARGIN)


@kernel_entry
def schedule(events: Events, begins: NDArray[np.int64]) -> None:
    """Let senders begin; begins: int64 [n, 3] when (ns), by which event, which sender."""
    for number in range(len(begins)):
        push(events, begins[number, 0], begins[number, 1], begins[number, 2], 0, 0, 0, 0, 0)


@kernel_entry
def finish(flows: Flows, smooth: float) -> None:
    """End a bin as `serve` does."""
    settle(flows, smooth)


def new_log(room: int, *, classed: bool) -> Log:
    """Return an empty log; classed: whether a queue has two classes."""
    whole = [np.zeros(room, np.int64) for _ in range(6)]
    waiting = room if classed else 0
    return Log(
        whole[0], whole[1], whole[2], whole[3], whole[4], whole[5], np.zeros(room), np.zeros(waiting),
        np.zeros(waiting, np.int64), np.zeros((max(waiting, 1), PACKET_WIDTH), np.int64), np.zeros(1, np.int64),
    )  # fmt: skip


def longer(log: Log) -> Log:
    """Return a log of twice the room, with the same packets."""
    grown = new_log(2 * len(log.size), classed=len(log.turn) > 0)
    for old, new in zip(log, grown, strict=True):
        new[: len(old)] = old
    return grown
