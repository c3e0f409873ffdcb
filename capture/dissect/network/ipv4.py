"""IPv4 (RFC 791)."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.network.fragments import Fragments, fragment
from offramp.capture.dissect.network.ipv4_options import ip_options
from offramp.capture.dissect.packet.cursor import (
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
def ipv4(out: Table, fragments: Fragments, row: int, data: Any, scratch: Any, cur: Any) -> None:
    """IPv4: addresses and protocol; a fragment ends the packet unless it completes its datagram."""
    if not fits(cur, 16):
        return
    at = cur[POSITION]
    header = int(data[at] & 15) * 4
    if data[at] >> 4 == 6:
        cur[NEXT] = IPV6
        return
    total = u16(data, at + 2)
    if data[at] >> 4 != 4 or header < 20 or (total != 0 and total < header):
        stop(out, cur, NOTE_BAD_IP)
        return
    put(out, row, IP_TTL, int(data[at + 8]))
    put(out, row, IP_PROTO, int(data[at + 9]))
    put(out, row, IP_SOURCE, u32(data, at + 12))
    if not fits(cur, 20):
        return
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
