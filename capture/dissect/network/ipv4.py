"""IPv4 (RFC 791)."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.network.fragments import Fragments, fragment
from offramp.capture.dissect.network.ipv4_options import ip_options
from offramp.capture.dissect.packet.cursor import (
    END,
    ERROR,
    IN_ERROR,
    IP_PROTOCOL,
    IPV6,
    NEXT,
    POSITION,
    SOURCE_HIGH,
    SOURCE_LOW,
    TARGET_HIGH,
    TARGET_LOW,
    VERSION,
    WIRE_END,
    clip,
    fits,
    go,
    stop,
    u16,
    u32,
)
from offramp.capture.dissect.packet.notes import NOTE_BAD_IP
from offramp.capture.dissect.packet.table import Table, put
from offramp.capture.schema import INDEX
from offramp.kernels import kernel_lean

IP_SOURCE, IP_TARGET, IP_PROTO = INDEX["ip.src_host"], INDEX["ip.dst_host"], INDEX["ip.proto"]
IP_TTL = INDEX["ip.ttl"]


@kernel_lean
def is_broken(data: Any, at: int) -> bool:
    """Return whether version or lengths are none that a header can have."""
    header, total = int(data[at] & 15) * 4, u16(data, at + 2)
    return bool(data[at] >> 4 != 4 or header < 20 or (total != 0 and total < header))


@kernel_lean
def cut_header(out: Table, row: int, data: Any, cur: Any) -> None:
    """Put what was captured of a header, which ends the packet."""
    at, captured = cur[POSITION], cur[END] - cur[POSITION]
    if captured >= 9 and data[at] >> 4 != 6:
        if is_broken(data, at):
            stop(out, cur, NOTE_BAD_IP)
            return
        put(out, row, IP_TTL, int(data[at + 8]))
        if captured >= 10:
            put(out, row, IP_PROTO, int(data[at + 9]))
        if captured >= 16:
            put(out, row, IP_SOURCE, u32(data, at + 12))
    fits(cur, 20)


@kernel_lean
def ipv4(out: Table, fragments: Fragments, row: int, data: Any, scratch: Any, cur: Any) -> None:
    """IPv4: addresses and protocol; a fragment ends the packet unless it completes its datagram."""
    at = cur[POSITION]
    if at + 20 > cur[END]:
        cut_header(out, row, data, cur)
        return
    header, total = int(data[at] & 15) * 4, u16(data, at + 2)
    if data[at] >> 4 == 6:
        cur[NEXT] = IPV6
        return
    if is_broken(data, at):
        stop(out, cur, NOTE_BAD_IP)
        return
    put(out, row, IP_TTL, int(data[at + 8]))
    put(out, row, IP_PROTO, int(data[at + 9]))
    put(out, row, IP_SOURCE, u32(data, at + 12))
    if total != 0:
        clip(cur, total)
    cur[VERSION] = 4
    cur[SOURCE_HIGH] = 0
    cur[TARGET_HIGH] = 0
    cur[SOURCE_LOW] = u32(data, at + 12)
    if header == 20:
        cur[TARGET_LOW] = u32(data, at + 16)
        put(out, row, IP_TARGET, cur[TARGET_LOW])
    elif not ip_options(out, row, data, cur, header):
        return
    kind, position = int(data[at + 9]), u16(data, at + 6)
    go(cur, IP_PROTOCOL, kind, header)
    cur[IN_ERROR] &= ERROR
    if position & 0x3FFF:
        end = at + total if total else cur[WIRE_END]
        name = (4 << 40) | (kind << 32) | u16(data, at + 4)
        fragment(out, fragments, data, scratch, cur, name, (position & 0x1FFF) << 3, position & 0x2000 != 0, end)
