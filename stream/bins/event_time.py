"""Event time: how packets' times, and a live link's clock, move the time of its bins.

Times are an input like any other. One packet far in the future does not move it: it is held until a second witness, a
packet or the clock, is as far. Where packets go back by more than a delay explains, and stay there, the time before was
wrong, or is over: the link begins anew, as with another recording. What comes out depends on what came in, in its
order, and on no cut into batches: all that is waited for is part of the state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.capture.block import END_OF_TIME_NS
from offramp.kernels import kernel, kernel_lean
from offramp.stream.bins.packets import Packets
from offramp.stream.bins.state import (
    AHEAD,
    BACK_FIRST_NS,
    BACK_NEWEST_NS,
    BACK_ROWS,
    BEGUN,
    CLOCKS,
    NEWEST,
    NEXT,
    REACHED,
    ROWS,
    SIDES,
    WAITS,
    WAITS_NS,
    WAITS_SAMPLING,
    BinState,
)
from offramp.stream.channels import BIN_NS, WINDOW_BINS

SAMPLING_UNIT = 65_536.0
"""What a packet stands for is held in parts of one: it may be 1.25 where the kernel dropped others."""

NOTHING, CLOCK, PACKET = range(3)
"""What waits for a second witness."""

FAR_NS = WINDOW_BINS * BIN_NS
"""A leap of more than a window ends every series: so far nobody leaps alone. It costs a packet after a silence that it
waits for the next, or for the clock."""

BACK_NS = 2_000_000_000
"""What is late by less is made up for sooner than windows, begun anew, are full again and moves are found anew."""

STAYS_ROWS = 64
"""So many packets in a row are no strays: 13 ms at 5,000 packets/s."""

MIN_STAYS_ROWS = 3
"""Of a link with few packets so many do, where they are a window apart."""


@kernel_lean
def is_time(time_ns: int) -> bool:
    """Return whether a time can be binned: there is one, and it is neither before 1970 nor beyond what is plausible."""
    return 0 <= time_ns < END_OF_TIME_NS


@kernel_lean
def begin(state: BinState, now_ns: int, lateness_ns: int) -> None:
    """Let the link's time begin with a packet."""
    clock = state.clock
    clock[BEGUN] = 1
    clock[NEWEST] = now_ns
    clock[REACHED] = now_ns
    clock[NEXT] = max(0, (now_ns - lateness_ns) // BIN_NS)
    for side in range(SIDES):
        state.queue_ns[side] = clock[NEXT] * BIN_NS
        state.closing_ns[side] = clock[NEXT] * BIN_NS


@kernel_lean
def is_far_ahead(clock: Any, now_ns: int) -> bool:
    """Return whether a time is so far ahead of all before that it needs a second witness."""
    return bool(now_ns > clock[REACHED] + FAR_NS)


@kernel_lean
def bears_out(clock: Any, now_ns: int) -> bool:
    """Return whether a time that is far ahead is the second witness of one that waits."""
    return bool(clock[WAITS] != NOTHING and now_ns >= clock[WAITS_NS] - FAR_NS)


@kernel_lean
def give_up(clock: Any) -> None:
    """Count what waits as far ahead: what came behind it does not bear it out."""
    if clock[WAITS] == PACKET:
        clock[AHEAD] += 1
    clock[WAITS] = NOTHING


@kernel_lean
def hold_clock(clock: Any, now_ns: int) -> None:
    """Let a clock that is far ahead wait for a second witness."""
    give_up(clock)
    clock[WAITS] = CLOCK
    clock[WAITS_NS] = now_ns


@kernel_lean
def hold_packet(clock: Any, held: Packets, packets: Packets, row: int, sampling: float) -> None:
    """Let a packet that is far ahead wait for a second witness; it is counted as seen."""
    give_up(clock)
    clock[WAITS] = PACKET
    clock[WAITS_NS] = packets.time_ns[row]
    clock[WAITS_SAMPLING] = np.int64(sampling * SAMPLING_UNIT)
    clock[ROWS] += 1
    held.time_ns[0] = packets.time_ns[row]
    held.size[0] = packets.size[row]
    for i in range(held.address.shape[1]):
        held.address[0, i] = packets.address[row, i]
    held.protocol[0] = packets.protocol[row]
    held.ports[0] = packets.ports[row]
    held.marks[0] = packets.marks[row]
    held.rtt_ms[0] = packets.rtt_ms[row]


@kernel_lean
def is_back(clock: Any, now_ns: int) -> bool:
    """Return whether a time lies farther behind than a delay explains."""
    return bool(now_ns < clock[NEXT] * BIN_NS - BACK_NS)


@kernel_lean
def stays_back(clock: Any, now_ns: int) -> bool:
    """Take note of a time far behind; return whether enough in a row agree that this is the time now."""
    if clock[BACK_ROWS] == 0 or now_ns < clock[BACK_NEWEST_NS] - BACK_NS:
        clock[BACK_ROWS] = 1
        clock[BACK_FIRST_NS] = now_ns
        clock[BACK_NEWEST_NS] = now_ns
        return False
    clock[BACK_ROWS] += 1
    clock[BACK_NEWEST_NS] = max(clock[BACK_NEWEST_NS], now_ns)
    lasted = clock[BACK_NEWEST_NS] - clock[BACK_FIRST_NS] >= FAR_NS
    return bool(clock[BACK_ROWS] >= STAYS_ROWS or (clock[BACK_ROWS] >= MIN_STAYS_ROWS and lasted))


@kernel
def lives(time_ns: NDArray[np.int64], lateness_ns: int) -> NDArray[np.int32]:
    """Return which time each packet of a recording is of, int32 [n]: 0, then one more each time that it goes back.

    -1: of none: without a time, far ahead alone, or of a time gone back before that was found to stay.
    """
    out = np.full(len(time_ns), -1, np.int32)
    clock = np.zeros(CLOCKS, np.int64)
    held, life = 0, 0
    for row in range(len(time_ns)):
        now = time_ns[row]
        if not is_time(now):
            continue
        if clock[BEGUN] == 0:
            clock[BEGUN] = 1
            clock[REACHED] = now
            clock[NEXT] = max(0, (now - lateness_ns) // BIN_NS)
        if is_far_ahead(clock, now):
            if bears_out(clock, now):
                out[held] = life
                clock[WAITS] = NOTHING
                clock[REACHED] = time_ns[held]
            if is_far_ahead(clock, now):
                clock[WAITS], clock[WAITS_NS], held = PACKET, now, row
                continue
        clock[WAITS] = NOTHING
        clock[REACHED] = max(clock[REACHED], now)
        clock[NEXT] = max(clock[NEXT], (clock[REACHED] - lateness_ns) // BIN_NS)
        if not is_back(clock, now):
            clock[BACK_ROWS] = 0
            out[row] = life
        elif stays_back(clock, now):
            life += 1
            clock[:] = 0
            clock[BEGUN] = 1
            clock[REACHED] = now
            clock[NEXT] = max(0, (now - lateness_ns) // BIN_NS)
            out[row] = life
    return out
