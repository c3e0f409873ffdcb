"""Network layers: ARP (RFC 826), IPv4 (RFC 791), ICMP (RFC 792)."""

from __future__ import annotations

from typing import Any

from capture.emit import Table, put, span
from capture.fragments import Fragments, add_fragment
from capture.layers import (
    DONE,
    END,
    IN_ERROR,
    IP_PROTOCOL,
    IPV4,
    NEXT,
    NOTE_BAD_IP,
    POSITION,
    SOURCE_HIGH,
    SOURCE_LOW,
    TARGET_HIGH,
    TARGET_LOW,
    VERSION,
    clip,
    fits,
    go,
    stop,
    u16,
    u32,
)
from capture.schema import INDEX
from offramp_kernels import kernel_lean

IP_SOURCE, IP_TARGET, IP_PROTO = INDEX["ip.src_host"], INDEX["ip.dst_host"], INDEX["ip.proto"]
ARP_TARGET, ARP_SOURCE = INDEX["arp.dst.proto_ipv4"], INDEX["arp.src.proto_ipv4"]
ARP_OPCODE, ARP_HARDWARE_SIZE = INDEX["arp.opcode"], INDEX["arp.hw.size"]
ICMP_CHECKSUM, ICMP_SEQUENCE = INDEX["icmp.checksum"], INDEX["icmp.seq_le"]
ICMP_TRANSMIT, ICMP_UNUSED = INDEX["icmp.transmit_timestamp"], INDEX["icmp.unused"]
LOOSE_ROUTE, STRICT_ROUTE = 131, 137  # option types


@kernel_lean
def arp(out: Table, row: int, data: Any, cur: Any) -> None:
    """ARP: the addresses only where both are IPv4 and whole, as tshark does."""
    cur[NEXT] = DONE
    if not fits(cur, 6):
        return
    at = cur[POSITION]
    protocol, hardware_size, protocol_size = u16(data, at + 2), int(data[at + 4]), int(data[at + 5])
    put(out, row, ARP_HARDWARE_SIZE, hardware_size)
    if not fits(cur, 8):
        return
    put(out, row, ARP_OPCODE, u16(data, at + 6))
    if protocol == 0x800 and protocol_size == 4 and fits(cur, 2 * hardware_size + 16):
        put(out, row, ARP_SOURCE, u32(data, at + 8 + hardware_size))
        put(out, row, ARP_TARGET, u32(data, at + 12 + 2 * hardware_size))


@kernel_lean
def ipv4(out: Table, fragments: Fragments, row: int, data: Any, scratch: Any, cur: Any) -> None:
    """IPv4: addresses and protocol; a fragment ends the packet unless it completes its datagram."""
    if not fits(cur, 16):
        return
    at = cur[POSITION]
    header = int(data[at] & 15) * 4
    if data[at] >> 4 != 4 or header < 20:
        stop(out, cur, NOTE_BAD_IP)
        return
    put(out, row, IP_PROTO, int(data[at + 9]))
    put(out, row, IP_SOURCE, u32(data, at + 12))
    if not fits(cur, 20):
        return
    target = u32(data, at + 16) if header == 20 else last_hop(data, at, min(at + header, cur[END]))
    put(out, row, IP_TARGET, target)
    total = u16(data, at + 2)
    if total != 0 and total < header:
        stop(out, cur, NOTE_BAD_IP)
        return
    if total != 0:
        clip(cur, total)
    cur[VERSION] = 4
    cur[SOURCE_HIGH] = 0
    cur[TARGET_HIGH] = 0
    cur[SOURCE_LOW] = u32(data, at + 12)
    cur[TARGET_LOW] = target
    if not fits(cur, header):
        return
    kind, position = int(data[at + 9]), u16(data, at + 6)
    go(cur, IP_PROTOCOL, kind, header)
    if position & 0x1FFF or (position & 0x2000 and not cur[IN_ERROR]):
        name = (4 << 40) | (kind << 32) | u16(data, at + 4)
        if add_fragment(out, fragments, data, scratch, cur, name, (position & 0x1FFF) << 3, position & 0x2000 != 0):
            cur[NEXT] = IP_PROTOCOL


@kernel_lean
def last_hop(data: Any, at: int, end: int) -> Any:
    """Return the target of an IPv4 header with options: with a source route (RFC 791 3.1) the last address of it."""
    option = at + 20
    while option + 1 < end and data[option]:
        size = 1 if data[option] == 1 else int(data[option + 1])
        if size == 0 or option + size > end:
            break
        if (data[option] == LOOSE_ROUTE or data[option] == STRICT_ROUTE) and size >= 7:
            return u32(data, option + size - 4)
        option += size
    return u32(data, at + 16)


@kernel_lean
def icmp(out: Table, row: int, data: Any, cur: Any) -> None:
    """ICMP: checksum, echo and timestamp fields; an error message goes on with the headers that it quotes."""
    cur[NEXT] = DONE
    if not fits(cur, 4):
        return
    at = cur[POSITION]
    kind = int(data[at])
    if not fits(cur, 6):
        return
    put(out, row, ICMP_CHECKSUM, u16(data, at + 2))
    if not fits(cur, 8):
        return
    if kind == 0 or kind == 8 or kind == 13 or kind == 14 or kind == 15 or kind == 16 or kind == 17 or kind == 18:
        put(out, row, ICMP_SEQUENCE, int(data[at + 6]) | int(data[at + 7]) << 8)
    if (kind == 13 or kind == 14) and fits(cur, 20):
        put(out, row, ICMP_TRANSMIT, u32(data, at + 16))
    if kind == 3 or kind == 4 or kind == 5 or kind == 11 or kind == 12:
        unused_field(out, row, data, at)
        if cur[POSITION] + 8 < cur[END]:
            cur[IN_ERROR] = 1
            go(cur, IPV4, 0, 8)


@kernel_lean
def unused_field(out: Table, row: int, data: Any, at: int) -> None:
    """Put the bytes of an ICMP error that its other fields (length, pointer, next-hop MTU; RFC 4884) leave unused."""
    kind, code, length = data[at], data[at + 1], data[at + 5]
    if kind == 3 and code == 4:
        put(out, row, ICMP_UNUSED, span(at + 4, 1 if length else 2))
    elif kind == 12:
        put(out, row, ICMP_UNUSED, span(at + 6, 2) if length else span(at + 5, 3))
    elif (kind == 3 or kind == 11) and length:
        put(out, row, ICMP_UNUSED, span(at + 4, 1))
        put(out, row, ICMP_UNUSED, span(at + 6, 2))
    elif kind == 3 or kind == 11:
        put(out, row, ICMP_UNUSED, span(at + 4, 4))
