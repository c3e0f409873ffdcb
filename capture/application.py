"""Application layers: which protocol a payload is, by port and by what it looks like, and its dissection.

Ports are tshark's defaults. `application_udp` and `application_tcp` are called for every header of their kind, so that
sequence numbers are followed; what is no known protocol returns at once.
"""

from __future__ import annotations

from typing import Any

from capture.application_state import (
    HAVE,
    MODE,
    PROTOCOL,
    SERVER_PORT,
    START,
    WANT,
    Applications,
    application_reset,
    application_room,
    grow_applications,
    new_applications,
)
from capture.dns import dns_message
from capture.emit import Table
from capture.http import find_line, http_message
from capture.layers import u16
from capture.modbus import PREFIX, is_modbus, modbus_message
from capture.mqtt import mqtt_message, variable_length
from capture.reassembly import (
    BYTES,
    COMPLETE,
    NOTE_GAP,
    NOTE_GIVEN_UP,
    SEGMENT,
    UNTIL_FIN,
    assemble,
    begin,
    give_up,
    is_new,
    store,
)
from offramp_kernels import kernel_lean

__all__ = [
    "NOTES",
    "Applications",
    "application_reset",
    "application_room",
    "application_tcp",
    "application_udp",
    "grow_applications",
    "new_applications",
]

NOTES = {NOTE_GIVEN_UP: "message_given_up", NOTE_GAP: "message_with_gap"}
"""Reasons in Table.notes, beside the header layers' own."""

NONE = 0
DNS = 1
HTTP = 2
MQTT = 3
MODBUS = 4
FIN, SYN, ACK = 1, 2, 16
WORD = 0xFFFFFFFF


@kernel_lean
def tcp_protocol(port: int) -> Any:
    """Return the protocol that is registered for a TCP port."""
    if port == 80 or port == 8080 or port == 8088 or port == 3128 or port == 3132 or port == 1900 or port == 631:
        return HTTP
    if port == 1883:
        return MQTT
    if port == 502:
        return MODBUS
    if port == 53 or port == 5353:
        return DNS
    if port == 5985 or port == 11371 or port == 2869 or port == 2710 or port == 3689:
        return HTTP
    return NONE


@kernel_lean
def looks_like_http(data: Any, pos: int, end: int) -> bool:
    """Tell whether the first line begins or ends with HTTP/1.x (tshark's heuristic)."""
    if end - pos < 9 or data[pos] < 65 or data[pos] > 90:
        return False
    if data[pos + 1] < 45 or data[pos + 1] > 95:
        return False
    stop, _ = find_line(data, pos, end)
    if stop < 0 or stop - pos < 9:
        return False
    return slash_one(data, pos) or slash_one(data, stop - 8)


@kernel_lean
def slash_one(data: Any, at: int) -> bool:
    """Tell whether HTTP/1. stands at `at`."""
    return bool(
        data[at] == 72
        and data[at + 1] == 84
        and data[at + 2] == 84
        and data[at + 3] == 80
        and data[at + 4] == 47
        and data[at + 5] == 49
        and data[at + 6] == 46
    )


@kernel_lean
def application_udp(
    out: Table, apps: Applications, row: int, data: Any, pos: int, end: int, source: int, target: int, slot: int,
    number: int, time_ns: int, in_error: bool,
) -> None:  # fmt: skip
    """Dissect the payload data[pos:end] of a UDP datagram; in_error: it is quoted by an ICMP error."""
    if pos >= end:
        return
    low, high = min(source, target), max(source, target)
    if low == 53 or low == 5353 or low == 5355 or high == 53 or high == 5353 or high == 5355:
        mdns = low == 5353 or (high == 5353 and low != 53)
        dns_message(out, apps, row, data, pos, end, mdns, slot, number, time_ns, in_error)
    elif low == 1900 or high == 1900:
        http_message(out, apps, apps.head, row, data, True, pos, end, False, slot, False)
    elif (low == 502 or high == 502) and is_modbus(data, pos, end):
        modbus_message(out, row, data, pos, end)


@kernel_lean
def application_tcp(
    out: Table, apps: Applications, row: int, data: Any, pos: int, end: int, size: int, source: int, target: int,
    slot: int, direction: int, sequence: int, acknowledged: int, flags: int, number: int, time_ns: int,
    in_error: bool,
) -> None:  # fmt: skip
    """Follow a TCP segment and dissect its payload data[pos:end], which is `size` bytes on the wire."""
    which = 2 * slot + direction
    if flags & SYN and apps.kind[slot, SERVER_PORT] == 0:
        apps.kind[slot, SERVER_PORT] = source if flags & ACK else target
    new = size > 0 if in_error else is_new(apps, which, sequence, size, flags, acknowledged)
    fin = flags & FIN != 0 and apps.side[which, MODE] == UNTIL_FIN
    if not new and not fin:
        return
    if pos >= end and not fin:
        return
    protocol = apps.kind[slot, PROTOCOL]
    if protocol == NONE:
        protocol = tcp_protocol(apps.kind[slot, SERVER_PORT])
        if protocol == NONE:
            protocol = tcp_protocol(min(source, target))
        if protocol == NONE:
            protocol = tcp_protocol(max(source, target))
        if protocol == NONE:
            if not looks_like_http(data, pos, end):
                return
            protocol = HTTP
            apps.kind[slot, PROTOCOL] = HTTP
    tls = protocol == HTTP and target == 443
    can_wait = end - pos == size and not in_error
    if apps.side[which, MODE] != 0 and not in_error:
        done = go_on(
            out, apps, row, data, pos, end, sequence, can_wait, new, fin, protocol, slot, which, tls, number, time_ns
        )
        if done < 0:
            return
        pos, sequence = pos + done, (sequence + done) & WORD
        if pos >= end or not new:
            return
    kept, mode, need = messages(
        out, apps, row, data, True, pos, end, can_wait, protocol, slot, tls, number, time_ns, in_error
    )
    if mode != COMPLETE:
        begin(out, apps, which, data, kept, end, sequence + kept - pos, mode, need)


@kernel_lean
def go_on(
    out: Table, apps: Applications, row: int, data: Any, pos: int, end: int, sequence: int, can_wait: bool, new: bool,
    fin: bool, protocol: int, slot: int, which: int, tls: bool, number: int, time_ns: int,
) -> Any:  # fmt: skip
    """Go on with the message that a side waits for; return how many bytes of the segment it took, -1 all."""
    side = apps.side
    mode = side[which, MODE]
    taken = 0
    if new:
        offset = (sequence - side[which, START]) & WORD
        early = offset > side[which, HAVE]
        if not can_wait or offset >= 0x80000000 or (early and (mode != BYTES or offset >= side[which, WANT])):
            give_up(out, apps, which, NOTE_GAP)
            return 0
        taken = end - pos
        if mode == BYTES:
            taken = min(taken, side[which, WANT] - offset)
        if not store(apps, which, data, pos, taken, offset):
            give_up(out, apps, which, NOTE_GIVEN_UP)
            return -1
    if mode == UNTIL_FIN and not fin:
        return -1
    if side[which, HAVE] < side[which, WANT] and mode != UNTIL_FIN:
        return -1
    have, first = side[which, HAVE], side[which, START]
    start = assemble(out, apps, which)
    kept, mode, need = messages(
        out, apps, row, out.text, False, start, start + have, not fin, protocol, slot, tls, number, time_ns, False
    )
    if mode == COMPLETE:
        return taken
    begin(out, apps, which, out.text, kept, start + have, first + kept - start, mode, need)
    if kept == start:
        out.cursor[1] = start
    return -1 if taken == end - pos else taken


@kernel_lean
def messages(
    out: Table, apps: Applications, row: int, buf: Any, in_block: bool, pos: int, end: int, can_wait: bool,
    protocol: int, slot: int, tls: bool, number: int, time_ns: int, in_error: bool,
) -> Any:  # fmt: skip
    """Dissect the messages of buf[pos:end]; return where the first incomplete one starts, and what it waits for."""
    if protocol == MODBUS and not is_modbus(buf, pos, end):
        return end, COMPLETE, 0
    while pos < end:
        if protocol == HTTP:
            pos, mode, need = http_message(out, apps, apps.head, row, buf, in_block, pos, end, can_wait, slot, tls)
            if mode != COMPLETE:
                return pos, mode, need
            continue
        size = message_size(buf, pos, end, protocol)
        if can_wait and size == 0:
            return pos, SEGMENT, 0
        if can_wait and pos + size > end:
            return pos, BYTES, pos + size - end
        if size <= 0:
            size = end - pos
        stop = min(end, pos + size)
        if protocol == MQTT:
            mqtt_message(out, apps, row, buf, in_block, pos, stop, slot)
        elif protocol == MODBUS:
            modbus_message(out, row, buf, pos, stop)
        elif stop - pos > 2:
            dns_message(out, apps, row, buf, pos + 2, stop, False, slot, number, time_ns, in_error)
        pos += size
    return end, COMPLETE, 0


@kernel_lean
def message_size(buf: Any, pos: int, end: int, protocol: int) -> Any:
    """Return the bytes that a message's own length field tells: 0 where that is cut, -1 where it is malformed."""
    left = end - pos
    if protocol == MQTT:
        if left < 2:
            return 0
        length, size = variable_length(buf, pos + 1, end)
        return size if size <= 0 else 1 + size + length
    if protocol == MODBUS:
        return 0 if left < PREFIX else PREFIX + u16(buf, pos + 4)
    return 0 if left < 2 else 2 + u16(buf, pos)
