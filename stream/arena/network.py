"""The network of an episode: which place each flow takes, and its packets through the queues there.

Places are links, paths and nodes, numbered from 0 to P - 1; place P + n is the lower class of the queues of place n.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.kernels import kernel
from offramp.stream.arena.queues import Journeys, Queues, send, send_by_class
from offramp.stream.channels import BIN_NS

NEVER = -1
"""In `due_ns`: the flow stays where it is."""


class Flows(NamedTuple):
    """Flows, [n] each.

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


@kernel
def serve(
    queues: Queues, flows: Flows, journeys: Journeys, time_ns: NDArray[np.int64], size: NDArray[np.int64],
    flow: NDArray[np.int64], begin: int, end_ns: int, peak_ms: NDArray[np.float64], smooth: float,
) -> Any:  # fmt: skip
    """Send the packets from `begin` on that come before `end_ns`; return the first that does not.

    Flows that are due change their place before their next packet. peak_ms: float64 [P, 2], the largest queue that a
    packet found, itself included, as time until all of it is sent; smooth: the weight of this bin in the running rates.
    """
    peak_ms[:] = 0.0
    at, places = begin, len(queues.classes)
    while at < len(time_ns) and time_ns[at] < end_ns:
        now, which, bytes_ = time_ns[at], flow[at], float(size[at])
        if flows.due_ns[which] != NEVER and now >= flows.due_ns[which]:
            flows.place[which] = flows.following[which]
            flows.due_ns[which] = NEVER
        place, side = flows.place[which], int(flows.down[which])
        lower = place >= places
        if lower:
            place -= places
        journeys.place[at] = place
        if queues.classes[place] > 1:
            waited = send_by_class(queues, journeys, time_ns, size, at, place, side, lower)
        else:
            waited, fits = send(queues, place, side, now, bytes_)
            journeys.delay_ms[at] = waited + queues.base_ms[place, side] if fits else np.nan
        peak_ms[place, side] = max(peak_ms[place, side], waited)
        flows.bytes[which] += bytes_
        flows.last_ns[which] = now
        at += 1
    for which in range(len(flows.rate_bps)):
        flows.rate_bps[which] += smooth * (flows.bytes[which] * 8e9 / BIN_NS - flows.rate_bps[which])
        flows.bytes[which] = 0.0
    return at


@kernel
def foresee(
    queues: Queues, flows: Flows, time_ns: NDArray[np.int64], size: NDArray[np.int64], flow: NDArray[np.int64],
    begin: int, end_ns: int, lost_ms: float, moved: int, to: int, due_ns: int,
) -> Any:  # fmt: skip
    """Return the sum of the delays, ms, of the packets from `begin` on before `end_ns`, if flow `moved` went `to`.

    moved: NEVER for none; due_ns: when it would go. queues: a copy, which is written over; flows are left as they are.
    """
    total, at = 0.0, begin
    while at < len(time_ns) and time_ns[at] < end_ns:
        now, which = time_ns[at], flow[at]
        place, side = flows.place[which], int(flows.down[which])
        if flows.due_ns[which] != NEVER and now >= flows.due_ns[which]:
            place = flows.following[which]
        if which == moved and now >= due_ns:
            place = to
        waited, fits = send(queues, place, side, now, float(size[at]))
        total += waited + queues.base_ms[place, side] if fits else lost_ms
        at += 1
    return total


def new_flows(down: NDArray[np.bool_], place: NDArray[np.int64]) -> Flows:
    """Return flows at their places, silent so far."""
    count = len(down)
    return Flows(
        place.astype(np.int64), np.zeros(count, np.int64), np.full(count, NEVER, np.int64), np.zeros(count),
        np.zeros(count), down.astype(np.bool_), np.full(count, NEVER, np.int64),
    )  # fmt: skip
