"""IPv4 options (RFC 791 3.1): source routes, which change the target column, and options tshark calls malformed."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.packet.cursor import END, POSITION, STEPS, TARGET_LOW, fits, stop, u32
from offramp.capture.dissect.packet.notes import NOTE_BAD_IP
from offramp.capture.dissect.packet.table import Table, put
from offramp.capture.schema import INDEX
from offramp.kernels import kernel_lean

IP_TARGET = INDEX["ip.dst_host"]
NOTHING, RECORD_ROUTE, PROBE, REPLY, TIMESTAMP, TRACEROUTE = 1, 7, 11, 12, 68, 82
SECURITY, LOOSE_ROUTE, EXTENDED_SECURITY, LABEL, STREAM, STRICT_ROUTE, ALERT = 130, 131, 133, 134, 136, 137, 148


@kernel_lean
def least_size(kind: int) -> Any:
    """Return the least bytes of an option; with fewer, tshark calls the packet malformed."""
    if kind in (RECORD_ROUTE, SECURITY, LOOSE_ROUTE, STRICT_ROUTE, EXTENDED_SECURITY):
        return 3
    if kind in (PROBE, REPLY, TIMESTAMP, STREAM, ALERT):
        return 4
    if kind == LABEL:
        return 6
    return 12 if kind == TRACEROUTE else 2


@kernel_lean
def ip_options(out: Table, row: int, data: Any, cur: Any, header: int) -> bool:
    """Put the target of an IPv4 header with options; return False where the packet ends in them.

    As in tshark the target is the last address of a source route that is not yet used up; it is absent where that route
    ends within an address, or where too little of the options was captured to know.
    """
    at, captured = cur[POSITION], cur[END]
    end, option = at + header, at + 20
    target, absent, routed, broken = u32(data, at + 16), False, False, False
    while option < end:
        cur[STEPS] += 1
        if option >= captured or (data[option] > NOTHING and option + 1 < end and option + 1 >= captured):
            absent = absent or not routed
            break
        kind = data[option]
        if kind == NOTHING:
            option += 1
            continue
        if kind == 0 or option + 1 >= end:
            break
        size = int(data[option + 1])
        if size < 2 or option + size > end:
            break
        if (kind == LOOSE_ROUTE or kind == STRICT_ROUTE) and not routed and size >= 3:  # noqa: SIM109
            routed = True
            if option + size > captured:
                absent = True
                break
            pointer = data[option + 2]
            if pointer >= 4 and pointer & 3 == 0 and pointer <= size:
                absent = broken or size < 7 or size & 3 != 3 or end > captured
                target = u32(data, option + size - 4) if not absent else target
        broken = broken or size < least_size(kind)
        option += size
    if not absent:
        put(out, row, IP_TARGET, target)
    cur[TARGET_LOW] = target
    if broken:
        stop(out, cur, NOTE_BAD_IP)
        return False
    return fits(cur, header)
