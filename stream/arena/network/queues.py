"""The queues of the arena: one a place and direction, of one class or of two.

A queue is Lindley's recursion over bytes: work is what was sent and what waits, service what could have been sent by
now, at a fixed capacity or by the delivery opportunities of a trace; in an outage nothing is sent. A packet that finds
the buffer full is lost; one always fits into an empty queue.

Of two classes the lower is sent only when nothing of the upper waits, but a packet that has begun is sent to its end.
When a packet of the lower class will have left depends on what of the upper class is still to come: its place in line,
counted in bytes, moves on by every byte of the upper class that comes before it begins; only then its delay is known.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.kernels import kernel_entry, kernel_inline, kernel_lean

DIRECTIONS = 2
NOBODY = -1
"""In `head`, `tail` and `behind`: no packet waits."""
ROUNDING = 1e-4
"""Bytes that sums of bytes may be off by: a packet whose turn is less than that away begins now."""


CLASSES, FRAME, ADDRESS = range(3)
"""Traits of a place: 1 or 2 classes, bytes of the largest frame that it carries whole, which address flows have there.

Places of one address are behind the same NAT, or none; the links' own is 0. Few arrays, as each costs time a call.
"""
Traces = dict[tuple[int, int], tuple[NDArray[np.int64], float]]
"""Of a place and direction: delivery opportunities (int64 ns, ascending), and the bytes of each."""
Outages = dict[int, NDArray[np.int64]]
"""Of a place: int64 [k, 2] begin and end of each outage, ns, apart from each other and in order of time."""
AFTER_ALL = 1 << 62
"""When no episode lasts any more, ns."""
WHOLE = 1 << 40
"""Of a place that carries every frame whole."""


class Queues(NamedTuple):
    """Queues by place and direction, [P, 2] each; traits: int64 [P, 3] of the places, see CLASSES and what follows it.

    rate: float64 bytes a ns, of a fixed capacity; limit: float64 bytes of buffer; base_ms: float64 delay without load.
    first, entries: int64 where those of a place stand in `schedule_ns`, and how many (a fixed capacity: 0): of a trace
    its delivery opportunities, and grant: float64 the bytes of each; with a grant of 0 outages, of each how long the
    place had worked when it began, and how long it had been out in all when it ended. work: float64 bytes; hint: int64
    entries that were over when last looked.
    Of two classes: upper: float64 work of the upper alone, passed: its bytes so far, begun: the work at the end of the
    packet of the lower that began last; head, tail: int64 packets of the lower that wait, or NOBODY.
    """

    rate: NDArray[np.float64]
    limit: NDArray[np.float64]
    base_ms: NDArray[np.float64]
    schedule_ns: NDArray[np.int64]
    first: NDArray[np.int64]
    entries: NDArray[np.int64]
    grant: NDArray[np.float64]
    work: NDArray[np.float64]
    hint: NDArray[np.int64]
    traits: NDArray[np.int64]
    upper: NDArray[np.float64]
    passed: NDArray[np.float64]
    begun: NDArray[np.float64]
    head: NDArray[np.int64]
    tail: NDArray[np.int64]


class Journeys(NamedTuple):
    """What became of packets, [n] each: delay_ms float64, NaN where lost or still waiting; place: int64 that it took.

    NOBODY where its flow was broken.
    Of those that wait in a lower class: turn: float64 the work at their end, less what of the upper class had passed
    when they came; behind: int64 the packet behind, or NOBODY.
    """

    delay_ms: NDArray[np.float64]
    place: NDArray[np.int64]
    turn: NDArray[np.float64]
    behind: NDArray[np.int64]


@kernel_inline
def served(queues: Queues, place: int, side: int, now_ns: int) -> float:
    """Return the bytes that could have been sent by now; times do not go back."""
    if queues.entries[place, side] == 0:  # the plain case by itself: a call that is not inlined copies every array
        return float(queues.rate[place, side] * now_ns)
    return served_by_schedule(queues, place, side, now_ns)


@kernel_lean
def served_by_schedule(queues: Queues, place: int, side: int, now_ns: int) -> float:
    """Return the same of a place that follows a trace or has outages."""
    if queues.grant[place, side] == 0.0:
        return float(queues.rate[place, side] * worked(queues, place, side, now_ns))
    at, first, count = queues.hint[place, side], queues.first[place, side], queues.entries[place, side]
    while at < count and queues.schedule_ns[first + at] <= now_ns:
        at += 1
    queues.hint[place, side] = at
    return float(at * queues.grant[place, side])


@kernel_lean
def worked(queues: Queues, place: int, side: int, now_ns: int) -> int:
    """Return how much of the time up to now a place with outages has not been out, ns."""
    at, first, count = queues.hint[place, side], queues.first[place, side], queues.entries[place, side]
    out_ns = queues.schedule_ns[first + 2 * at - 1] if at else 0
    while at < count and queues.schedule_ns[first + 2 * at] + queues.schedule_ns[first + 2 * at + 1] <= now_ns:
        out_ns = queues.schedule_ns[first + 2 * at + 1]
        at += 1
    queues.hint[place, side] = at
    return int(min(now_ns - out_ns, queues.schedule_ns[first + 2 * at]) if at < count else now_ns - out_ns)


@kernel_inline
def sent_at(queues: Queues, place: int, side: int, work: float) -> float:
    """Return when so many bytes have been sent, ns; behind the end of a trace: at its end."""
    if queues.entries[place, side] == 0:
        return float(work / queues.rate[place, side])
    return sent_by_schedule(queues, place, side, work)


@kernel_lean
def sent_by_schedule(queues: Queues, place: int, side: int, work: float) -> float:
    """Return the same of a place that follows a trace or has outages."""
    count, first = queues.entries[place, side], queues.first[place, side]
    if queues.grant[place, side] == 0.0:
        time, at = work / queues.rate[place, side], queues.hint[place, side]
        while at > 0 and queues.schedule_ns[first + 2 * at - 2] >= time:  # of what was done before the last outage
            at -= 1
        while at < count and queues.schedule_ns[first + 2 * at] < time:
            at += 1
        return float(time + (queues.schedule_ns[first + 2 * at - 1] if at else 0))
    at = min(max(int(np.ceil(work / queues.grant[place, side])) - 1, 0), count - 1)
    return float(queues.schedule_ns[first + at])


@kernel_lean
def told_ms(queues: Queues, place: int, side: int, now_ns: int, waits_ms: float) -> float:
    """Return the queue that a switch tells of, ms: that of a packet which waits for so long, as far as one can know."""
    if queues.entries[place, side] == 0:
        return waits_ms
    return told_by_schedule_ms(queues, place, side, now_ns, waits_ms)


@kernel_lean
def told_by_schedule_ms(queues: Queues, place: int, side: int, now_ns: int, waits_ms: float) -> float:
    """Return the same of a place that follows a trace or has outages.

    In an outage nobody knows how long it will last: what is queued, at the place's capacity, and how long it lasts now.
    """
    if queues.grant[place, side] > 0.0:
        return waits_ms
    work_ns, at = worked(queues, place, side, now_ns), queues.hint[place, side]
    queued_ns = queues.work[place, side] / queues.rate[place, side] - work_ns
    out_ns = 0
    if at < queues.entries[place, side] and work_ns == queues.schedule_ns[queues.first[place, side] + 2 * at]:
        before_ns = queues.schedule_ns[queues.first[place, side] + 2 * at - 1] if at else 0
        out_ns = now_ns - work_ns - before_ns
    return float(max(queued_ns, 0.0) + out_ns) / 1e6


@kernel_entry
def note(queues: Queues, now_ns: int, waits: NDArray[np.float64], sent: NDArray[np.float64]) -> None:
    """Write what waits in each queue, and what could have been sent by now, bytes: float64 [P, 2] each."""
    for place in range(len(queues.rate)):
        for side in range(DIRECTIONS):
            sent[place, side] = served(queues, place, side, now_ns)
            waits[place, side] = max(queues.work[place, side] - sent[place, side], 0.0)


@kernel_inline
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
def send_by_class(
    queues: Queues, journeys: Journeys, time_ns: NDArray[np.int64], size: NDArray[np.int64], at: int, place: int,
    side: int, lower: bool,
) -> float:  # fmt: skip
    """Put packet `at` into a queue of two classes, write its delay down where it is known; return what queues, ms.

    The lower class finds the room that both leave, the upper what it leaves itself: it is not lost for a lower one.
    """
    now_ns, bytes_ = time_ns[at], float(size[at])
    done, limit = served(queues, place, side, now_ns), queues.limit[place, side]
    begin_lower(queues, journeys, time_ns, size, place, side, done)
    work = max(queues.work[place, side], done)
    if lower:
        if not (work > done and work - done + bytes_ > limit):
            work += bytes_
            journeys.turn[at], journeys.behind[at] = work - queues.passed[place, side], NOBODY
            if queues.head[place, side] == NOBODY:
                queues.head[place, side] = at
            else:
                journeys.behind[queues.tail[place, side]] = at
            queues.tail[place, side] = at
    else:
        upper = max(queues.upper[place, side], done)
        if not (upper > done and upper - done + bytes_ > limit):
            work += bytes_
            upper = max(upper, queues.begun[place, side]) + bytes_
            queues.upper[place, side] = upper
            queues.passed[place, side] += bytes_
            waited = max(sent_at(queues, place, side, upper) - now_ns, 0.0) / 1e6
            journeys.delay_ms[at] = waited + queues.base_ms[place, side]
    queues.work[place, side] = work
    return float(max(sent_at(queues, place, side, work) - now_ns, 0.0) / 1e6)


@kernel_lean
def begin_lower(
    queues: Queues, journeys: Journeys, time_ns: NDArray[np.int64], size: NDArray[np.int64], place: int, side: int,
    done: float,
) -> None:  # fmt: skip
    """Send the packets of the lower class that have begun by the time that `done` bytes could have been sent."""
    at, passed = queues.head[place, side], queues.passed[place, side]
    while at != NOBODY and journeys.turn[at] - size[at] + passed <= done + ROUNDING:
        end = journeys.turn[at] + passed
        waited = max(sent_at(queues, place, side, end) - time_ns[at], 0.0) / 1e6
        journeys.delay_ms[at] = waited + queues.base_ms[place, side]
        queues.begun[place, side] = end
        at = journeys.behind[at]
    queues.head[place, side] = at


@kernel_entry
def send_rest(queues: Queues, journeys: Journeys, time_ns: NDArray[np.int64], size: NDArray[np.int64]) -> None:
    """Send what waits in lower classes when nothing comes any more."""
    for place in range(len(queues.rate)):
        for side in range(DIRECTIONS):
            begin_lower(queues, journeys, time_ns, size, place, side, np.inf)


def plain_traits(count: int) -> NDArray[np.int64]:
    """Return the traits of places of one class, that carry every frame whole under the same address."""
    return np.tile(np.array([1, WHOLE, 0]), (count, 1))


def new_queues(
    capacity_bps: NDArray[np.float64], limit: NDArray[np.float64], base_ms: NDArray[np.float64],
    traces: Traces | None = None, traits: NDArray[np.int64] | None = None, outages: Outages | None = None,
) -> Queues:  # fmt: skip
    """Return empty queues; traits: int64 [P, 3], see CLASSES; none: those of `plain_traits`."""
    shape = capacity_bps.shape
    first, entries, grant = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape)
    parts, used = [np.empty(0, np.int64)], 0
    for place, side in np.ndindex(shape):
        out = (outages or {}).get(place, np.empty((0, 2), np.int64))
        trace = (traces or {}).get((place, side))
        if trace is not None:
            schedule, grant[place, side] = within(trace[0], out), trace[1]
            entries[place, side] = len(schedule)
        else:
            out_ns = np.cumsum(out[:, 1] - out[:, 0])
            schedule = np.column_stack([out[:, 1] - out_ns, out_ns]).ravel()
            entries[place, side] = len(out)
        first[place, side] = used
        parts.append(schedule.astype(np.int64))
        used += len(schedule)
    return Queues(
        capacity_bps / 8e9, limit.astype(np.float64), base_ms.astype(np.float64), np.concatenate(parts), first, entries,
        grant, np.zeros(shape), np.zeros(shape, np.int64), plain_traits(shape[0]) if traits is None else traits,
        np.zeros(shape), np.zeros(shape), np.zeros(shape), np.full(shape, NOBODY), np.full(shape, NOBODY),
    )  # fmt: skip


def within(trace_ns: NDArray[np.int64], out: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the opportunities of a trace that lie in no outage; at least one, after all time."""
    before = np.searchsorted(out[:, 0], trace_ns, side="right")
    ends = np.concatenate([[np.iinfo(np.int64).min], out[:, 1]])
    kept = trace_ns[trace_ns >= ends[before]]
    return kept if len(kept) else np.array([AFTER_ALL], np.int64)


def new_journeys(count: int, *, classed: bool = False) -> Journeys:
    """Return room for what becomes of so many packets; classed: where a queue has two classes."""
    waiting = count if classed else 0
    return Journeys(np.full(count, np.nan), np.full(count, NOBODY), np.zeros(waiting), np.full(waiting, NOBODY))
