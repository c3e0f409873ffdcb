"""The network of an episode: a queue a place and direction, and which place each flow takes.

Place 0 is the link that is watched, the others are its paths and nodes. A queue is Lindley's recursion over bytes: work
is what was sent and what waits, service what could have been sent by now, at a fixed capacity or by the delivery
opportunities of a trace. A packet that finds the buffer full is lost; one always fits into an empty queue.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.kernels import kernel, kernel_lean
from offramp.stream.channels import BIN_NS

DIRECTIONS = 2
NEVER = -1
"""In `due_ns`: the flow stays where it is."""


class Queues(NamedTuple):
    """Queues by place and direction, [P, 2] each.

    rate: float64 bytes a ns, of a fixed capacity; limit: float64 bytes of buffer; base_ms: float64 delay without load.
    first, opportunities: int64 where those of a trace stand in `opportunity_ns`, and how many (a fixed capacity: 0).
    grant: float64, the bytes of each; work: float64 bytes; hint: int64 opportunities that were over when last looked.
    """

    rate: NDArray[np.float64]
    limit: NDArray[np.float64]
    base_ms: NDArray[np.float64]
    opportunity_ns: NDArray[np.int64]
    first: NDArray[np.int64]
    opportunities: NDArray[np.int64]
    grant: NDArray[np.float64]
    work: NDArray[np.float64]
    hint: NDArray[np.int64]


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


class Journeys(NamedTuple):
    """What became of packets, [n] each: delay_ms float64, NaN where lost; place: int64 that it took."""

    delay_ms: NDArray[np.float64]
    place: NDArray[np.int64]


@kernel_lean
def served(queues: Queues, place: int, side: int, now_ns: int) -> float:
    """Return the bytes that could have been sent by now; times do not go back."""
    count = queues.opportunities[place, side]
    if count == 0:
        return float(queues.rate[place, side] * now_ns)
    at, first = queues.hint[place, side], queues.first[place, side]
    while at < count and queues.opportunity_ns[first + at] <= now_ns:
        at += 1
    queues.hint[place, side] = at
    return float(at * queues.grant[place, side])


@kernel_lean
def sent_at(queues: Queues, place: int, side: int, work: float) -> float:
    """Return when so many bytes have been sent, ns; behind the end of a trace: at its end."""
    count = queues.opportunities[place, side]
    if count == 0:
        return float(work / queues.rate[place, side])
    at = min(max(int(np.ceil(work / queues.grant[place, side])) - 1, 0), count - 1)
    return float(queues.opportunity_ns[queues.first[place, side] + at])


@kernel_lean
def send(queues: Queues, place: int, side: int, now_ns: int, size: float) -> Any:
    """Put a packet into a queue; return its wait and transmission in ms, and whether it found room."""
    done = served(queues, place, side, now_ns)
    work = max(queues.work[place, side], done)
    fits = not (work > done and work - done + size > queues.limit[place, side])
    if fits:
        work += size
    queues.work[place, side] = work
    return max(sent_at(queues, place, side, work) - now_ns, 0.0) / 1e6, fits


@kernel_lean
def carry(queues: Queues, flows: Flows, which: int, now_ns: int, size: float, peak_ms: NDArray[np.float64]) -> Any:
    """Send a packet of a flow where the flow is by now; return the place and the packet's delay in ms, NaN if lost.

    peak_ms: float64 [P, 2], the largest queue delay of the packets sent, without the base.
    """
    if flows.due_ns[which] != NEVER and now_ns >= flows.due_ns[which]:
        flows.place[which] = flows.following[which]
        flows.due_ns[which] = NEVER
    place, side = flows.place[which], int(flows.down[which])
    waited, fits = send(queues, place, side, now_ns, size)
    peak_ms[place, side] = max(peak_ms[place, side], waited)
    flows.bytes[which] += size
    flows.last_ns[which] = now_ns
    return place, waited + queues.base_ms[place, side] if fits else np.nan


@kernel_lean
def settle(flows: Flows, smooth: float) -> None:
    """Take the bin's bytes into the running rates; smooth: the weight of this bin."""
    for which in range(len(flows.rate_bps)):
        flows.rate_bps[which] += smooth * (flows.bytes[which] * 8e9 / BIN_NS - flows.rate_bps[which])
        flows.bytes[which] = 0.0


@kernel
def serve(
    queues: Queues, flows: Flows, journeys: Journeys, time_ns: NDArray[np.int64], size: NDArray[np.int64],
    flow: NDArray[np.int64], begin: int, end_ns: int, peak_ms: NDArray[np.float64], smooth: float,
) -> Any:  # fmt: skip
    """Send the packets from `begin` on that come before `end_ns`; return the first that does not.

    Flows that are due change their place before their next packet. peak_ms, smooth: see carry and settle.
    """
    peak_ms[:] = 0.0
    at = begin
    while at < len(time_ns) and time_ns[at] < end_ns:
        place, delay_ms = carry(queues, flows, flow[at], time_ns[at], float(size[at]), peak_ms)
        journeys.place[at] = place
        journeys.delay_ms[at] = delay_ms
        at += 1
    settle(flows, smooth)
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


def new_queues(
    capacity_bps: NDArray[np.float64], limit: NDArray[np.float64], base_ms: NDArray[np.float64],
    traces: dict[tuple[int, int], tuple[NDArray[np.int64], float]] | None = None,
) -> Queues:  # fmt: skip
    """Return empty queues; traces: opportunities (ns, ascending) and bytes of each, by place and direction."""
    shape = capacity_bps.shape
    first, count, grant = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape)
    parts, used = [np.empty(0, np.int64)], 0
    for where, (opportunity_ns, each) in (traces or {}).items():
        first[where], count[where], grant[where] = used, len(opportunity_ns), each
        parts.append(opportunity_ns.astype(np.int64))
        used += len(opportunity_ns)
    return Queues(
        capacity_bps / 8e9, limit.astype(np.float64), base_ms.astype(np.float64), np.concatenate(parts), first, count,
        grant, np.zeros(shape), np.zeros(shape, np.int64),
    )  # fmt: skip


def new_flows(down: NDArray[np.bool_], place: NDArray[np.int64]) -> Flows:
    """Return flows at their places, silent so far."""
    count = len(down)
    return Flows(
        place.astype(np.int64), np.zeros(count, np.int64), np.full(count, NEVER, np.int64), np.zeros(count),
        np.zeros(count), down.astype(np.bool_), np.full(count, NEVER, np.int64),
    )  # fmt: skip


def new_journeys(count: int) -> Journeys:
    """Return room for what becomes of so many packets."""
    return Journeys(np.full(count, np.nan), np.full(count, NEVER, np.int64))
