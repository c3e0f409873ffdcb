"""The network of an episode: which place each flow takes, and its packets through the queues there.

Places are links, paths and nodes, numbered from 0 to P - 1; place P + n is the lower class of the queues of place n.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.kernels import kernel_entry, kernel_inline, kernel_lean
from offramp.stream.arena.network.queues import ADDRESS, CLASSES, FRAME, Journeys, Queues, send, send_by_class, told_ms
from offramp.stream.bins.packets import TCP, UDP
from offramp.stream.channels import BIN_NS

NEVER = -1
"""In `due_ns`: the flow stays where it is; in a connection: not yet, or none."""


START, BEGAN, ANEW_NS, AFTER_NS, TURN, PARTNER, HEADER = range(7)
"""Of a flow's connection: the place where it begins, and begins anew; the address that it began at, or NEVER, BROKEN or
ANY; when its sender begins anew where it is broken, and how long after it broke; how often that was; the flow of the
other direction, or NEVER; bytes of header, from Ethernet on, that each further piece of a packet needs."""
BROKEN, ANY = -2, -3
"""In BEGAN: cut off from its other end until it begins anew; of no connection, at home at every address."""
FRAGMENT, SEGMENT = 34, 54
"""Headers of a fragment and of a TCP segment: Ethernet, IPv4, TCP without options."""


class Flows(NamedTuple):
    """Flows, [n] each; connection: int64 [n, 7], see START and what follows it.

    place: int64 where they are; following, due_ns: int64 where they go, and when, or NEVER; bytes: float64 of the bin;
    rate_bps: float64 running rate; down: bool; last_ns: int64 the last packet, or NEVER.
    """

    place: NDArray[np.int64]
    following: NDArray[np.int64]
    due_ns: NDArray[np.int64]
    bytes: NDArray[np.float64]
    rate_bps: NDArray[np.float64]
    down: NDArray[np.bool_]
    last_ns: NDArray[np.int64]
    connection: NDArray[np.int64]


@kernel_lean
def carried(size: float, frame: int, header: int) -> float:
    """Return the bytes of a packet in pieces that a place carries: fragments of whole 8 bytes, or smaller segments."""
    each = frame - header
    if header == FRAGMENT:
        each -= each % 8
    return float(size + (math.ceil((size - header) / each) - 1) * header)


@kernel_lean
def gets_through(flows: Flows, which: int, address: int, now_ns: int) -> bool:
    """Return whether a packet reaches its other end from an address that its flow is not known to have begun at.

    The first packet of a flow does, and the flow has begun there. Any other breaks its connection: both directions are
    lost until the sender begins anew, as a flow that begins where new ones do.
    """
    began = flows.connection[which, BEGAN]
    if began == ANY:
        return True
    if began == NEVER or (began == BROKEN and now_ns >= flows.connection[which, ANEW_NS]):
        flows.connection[which, BEGAN] = address
        return True
    if began != BROKEN:
        break_off(flows, which, now_ns)
        if flows.connection[which, PARTNER] != NEVER:
            break_off(flows, flows.connection[which, PARTNER], now_ns)
    return False


@kernel_lean
def break_off(flows: Flows, which: int, now_ns: int) -> None:
    """Cut a flow off from its other end."""
    flows.connection[which, BEGAN] = BROKEN
    flows.connection[which, ANEW_NS] = now_ns + flows.connection[which, AFTER_NS]
    flows.connection[which, TURN] += 1
    flows.place[which], flows.due_ns[which] = flows.connection[which, START], NEVER
    flows.bytes[which] = flows.rate_bps[which] = 0.0


@kernel_inline
def carry(
    queues: Queues, flows: Flows, journeys: Journeys, time_ns: NDArray[np.int64], size: NDArray[np.int64], at: int,
    which: int, peak_ms: NDArray[np.float64],
) -> None:  # fmt: skip
    """Send packet `at`, of flow `which`, where that is by now, and write down what is known of its journey.

    A flow that is due changes its place before, and breaks where that has another address. peak_ms: float64 [P, 2], the
    largest queue that a packet found, itself included, as time until all of it is sent.
    """
    now, bytes_, places = time_ns[at], float(size[at]), len(queues.traits)
    if flows.due_ns[which] != NEVER and now >= flows.due_ns[which]:
        flows.place[which] = flows.following[which]
        flows.due_ns[which] = NEVER
    place, side = flows.place[which], int(flows.down[which])
    lower = place >= places
    if lower:
        place -= places
    address = queues.traits[place, ADDRESS]
    if address != flows.connection[which, BEGAN] and not gets_through(flows, which, address, now):
        return
    journeys.place[at] = place
    if bytes_ > queues.traits[place, FRAME]:
        bytes_ = carried(bytes_, queues.traits[place, FRAME], flows.connection[which, HEADER])
    if queues.traits[place, CLASSES] > 1:
        waited = send_by_class(queues, journeys, time_ns, size, at, place, side, lower)
    else:
        waited, fits = send(queues, place, side, now, bytes_)
        journeys.delay_ms[at] = waited + queues.base_ms[place, side] if fits else np.nan
    peak_ms[place, side] = max(peak_ms[place, side], told_ms(queues, place, side, now, waited))
    flows.bytes[which] += bytes_
    flows.last_ns[which] = now


@kernel_lean
def settle(flows: Flows, smooth: float) -> None:
    """Take a bin's bytes into the running rates; smooth: the weight of this bin."""
    for which in range(len(flows.rate_bps)):
        flows.rate_bps[which] += smooth * (flows.bytes[which] * 8e9 / BIN_NS - flows.rate_bps[which])
        flows.bytes[which] = 0.0


@kernel_entry
def serve(
    queues: Queues, flows: Flows, journeys: Journeys, time_ns: NDArray[np.int64], size: NDArray[np.int64],
    flow: NDArray[np.int64], begin: int, end_ns: int, peak_ms: NDArray[np.float64], smooth: float,
) -> Any:  # fmt: skip
    """Send the packets from `begin` on that come before `end_ns`; return the first that does not.

    peak_ms, smooth: see carry and settle.
    """
    peak_ms[:] = 0.0
    at = begin
    while at < len(time_ns) and time_ns[at] < end_ns:
        carry(queues, flows, journeys, time_ns, size, at, flow[at], peak_ms)
        at += 1
    settle(flows, smooth)
    return at


FOR_GOOD = 1 << 62
"""When a flow comes back that stays where it went."""


@kernel_entry
def foresee(
    queues: Queues, flows: Flows, time_ns: NDArray[np.int64], size: NDArray[np.int64], flow: NDArray[np.int64],
    begin: int, end_ns: int, lost_ms: float, moved: int, to: int, due_ns: int, back_ns: int = FOR_GOOD,
) -> Any:  # fmt: skip
    """Return the sum of the delays, ms, of the packets from `begin` on before `end_ns`, if flow `moved` went `to`.

    moved: NEVER for none; due_ns: when it would go, to no place of another address; back_ns: when it would come back.
    queues: a copy, which is written over; flows are left as they are.
    """
    total, at = 0.0, begin
    while at < len(time_ns) and time_ns[at] < end_ns:
        now, which = time_ns[at], flow[at]
        place, side = flows.place[which], int(flows.down[which])
        if flows.due_ns[which] != NEVER and now >= flows.due_ns[which]:
            place = flows.following[which]
        if which == moved and due_ns <= now < back_ns:
            place = to
        bytes_ = float(size[at])
        if bytes_ > queues.traits[place, FRAME]:
            bytes_ = carried(bytes_, queues.traits[place, FRAME], flows.connection[which, HEADER])
        waited, fits = send(queues, place, side, now, bytes_)
        total += waited + queues.base_ms[place, side] if fits else lost_ms
        at += 1
    return total


def new_flows(
    down: NDArray[np.bool_], place: NDArray[np.int64], partner: NDArray[np.int64] | None = None,
    protocol: NDArray[np.int64] | None = None, after_ns: int = 0,
) -> Flows:  # fmt: skip
    """Return flows at their places, silent so far.

    partner: int64 [n] the flow of the other direction, or NEVER; protocol: int64 [n] of IP, none: of no connections;
    after_ns: from a break until a sender begins anew.
    """
    count = len(down)
    connection = np.zeros((count, HEADER + 1), np.int64)
    connection[:, START], connection[:, AFTER_NS] = place, after_ns
    connection[:, PARTNER] = NEVER if partner is None else partner
    connection[:, BEGAN], connection[:, HEADER] = ANY, FRAGMENT
    if protocol is not None:
        connection[np.isin(protocol, (TCP, UDP)), BEGAN] = NEVER
        connection[protocol == TCP, HEADER] = SEGMENT
    return Flows(
        place.astype(np.int64), np.zeros(count, np.int64), np.full(count, NEVER, np.int64), np.zeros(count),
        np.zeros(count), down.astype(np.bool_), np.full(count, NEVER, np.int64), connection,
    )  # fmt: skip
