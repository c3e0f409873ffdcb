"""Event time: how a link's bins advance with packet times, and on a live link with the clock.

Packet times are input that may be wrong. One packet far in the future does not move time on: it is held until a second
packet, or the clock, confirms it. Where packets go back by more than a delay explains, and stay there, the time before
was wrong, or is over: the link begins anew, as with another recording. The result depends on the input and its order
alone, not on the cut into batches: what is held is part of the state.
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
"""Parts of one in which a held packet's sampling is kept: it may be 1.25 where the kernel dropped others."""

NOTHING, CLOCK, PACKET = range(3)
"""What is held until it is confirmed."""

FAR_NS = WINDOW_BINS * BIN_NS
"""A leap of more than a window ends every series, so one packet alone cannot make it. The price: a packet after such a
silence waits for the next, or for the clock."""

BACK_NS = 2_000_000_000
"""A smaller step back is waited out: windows that begin anew would take longer to fill, and moves to be found again."""

STAYS_ROWS = 64
"""That many packets in a row are no strays: 13 ms at 5,000 packets/s."""

MIN_STAYS_ROWS = 3
"""On a link with few packets this many suffice, if they span a window."""


@kernel_lean
def is_time(time_ns: int) -> bool:
    """Return whether a time can be binned: there is one, and it is neither before 1970 nor beyond what is plausible."""
    return 0 <= time_ns < END_OF_TIME_NS


@kernel_lean
def begin(state: BinState, now_ns: int, lateness_ns: int) -> None:
    """Begin the link's time at a packet's."""
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
    """Return whether a time is so far ahead of all before that it must be confirmed."""
    return bool(now_ns > clock[REACHED] + FAR_NS)


@kernel_lean
def bears_out(clock: Any, now_ns: int) -> bool:
    """Return whether a time that is far ahead confirms the one that is held."""
    return bool(clock[WAITS] != NOTHING and now_ns >= clock[WAITS_NS] - FAR_NS)


@kernel_lean
def give_up(clock: Any) -> None:
    """Drop what is held and count it as far ahead: what followed did not confirm it."""
    if clock[WAITS] == PACKET:
        clock[AHEAD] += 1
    clock[WAITS] = NOTHING


@kernel_lean
def hold_clock(clock: Any, now_ns: int) -> None:
    """Hold a clock that is far ahead until it is confirmed."""
    give_up(clock)
    clock[WAITS] = CLOCK
    clock[WAITS_NS] = now_ns


@kernel_lean
def hold_packet(clock: Any, held: Packets, packets: Packets, row: int, sampling: float) -> None:
    """Hold a packet that is far ahead until it is confirmed; it counts as a row."""
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
    """Note a time far behind; return whether enough in a row agree that time went back."""
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
    """Return int32 [n]: how often time had gone back, and stayed there, before each packet of a recording.

    -1: a packet without a time, far ahead and not confirmed, or gone back before that was found to stay.
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
