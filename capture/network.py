"""Network layers: ARP (RFC 826), IPv4 (RFC 791), IPv6 and its extension headers (RFC 8200), ICMP (RFC 792)."""

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
    IPV6,
    NEXT,
    NOTE_BAD_IP,
    POSITION,
    SOURCE_HIGH,
    SOURCE_LOW,
    TARGET_HIGH,
    TARGET_LOW,
    TYPE,
    VERSION,
    clip,
    fits,
    go,
    stop,
    u16,
    u32,
    u64,
)
from capture.schema import INDEX
from offramp_kernels import kernel_lean

IP_SOURCE, IP_TARGET, IP_PROTO = INDEX["ip.src_host"], INDEX["ip.dst_host"], INDEX["ip.proto"]
IPV6_SOURCE, IPV6_TARGET = INDEX["ipv6.src"], INDEX["ipv6.dst"]
ARP_TARGET, ARP_SOURCE = INDEX["arp.dst.proto_ipv4"], INDEX["arp.src.proto_ipv4"]
ARP_OPCODE, ARP_HARDWARE_SIZE = INDEX["arp.opcode"], INDEX["arp.hw.size"]
ICMP_CHECKSUM, ICMP_SEQUENCE = INDEX["icmp.checksum"], INDEX["icmp.seq_le"]
ICMP_TRANSMIT, ICMP_UNUSED = INDEX["icmp.transmit_timestamp"], INDEX["icmp.unused"]


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
    put(out, row, IP_TARGET, u32(data, at + 16))
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
    cur[TARGET_LOW] = u32(data, at + 16)
    if not fits(cur, header):
        return
    kind, position = int(data[at + 9]), u16(data, at + 6)
    go(cur, IP_PROTOCOL, kind, header)
    if position & 0x1FFF or (position & 0x2000 and not cur[IN_ERROR]):
        name = (4 << 40) | (kind << 32) | u16(data, at + 4)
        if add_fragment(out, fragments, data, scratch, cur, name, (position & 0x1FFF) << 3, position & 0x2000 != 0):
            cur[NEXT] = IP_PROTOCOL


@kernel_lean
def ipv6(out: Table, fragments: Fragments, row: int, data: Any, scratch: Any, cur: Any) -> None:
    """IPv6 with its chain of extension headers; the chain's last next header is the column ip.proto."""
    if not fits(cur, 24):
        return
    at = cur[POSITION]
    if data[at] >> 4 != 6:
        stop(out, cur, NOTE_BAD_IP)
        return
    put(out, row, IPV6_SOURCE, span(at + 8, 16))
    if not fits(cur, 40):
        return
    put(out, row, IPV6_TARGET, span(at + 24, 16))
    cur[VERSION] = 6
    cur[SOURCE_HIGH] = u64(data, at + 8)
    cur[SOURCE_LOW] = u64(data, at + 16)
    cur[TARGET_HIGH] = u64(data, at + 24)
    cur[TARGET_LOW] = u64(data, at + 32)
    kind, size = int(data[at + 6]), u16(data, at + 4)
    cur[POSITION] = at + 40
    if size != 0 or kind != 0:
        clip(cur, size)
    cur[NEXT] = IP_PROTOCOL
    while True:
        at = cur[POSITION]
        if kind == 0 or kind == 43 or kind == 60 or kind == 135 or kind == 139 or kind == 140:
            if not fits(cur, 8):
                break
            kind, size = int(data[at]), int(data[at + 1]) * 8 + 8
        elif kind == 51:
            if not fits(cur, 8):
                break
            kind, size = int(data[at]), int(data[at + 1]) * 4 + 8
        elif kind == 44:
            if not fits(cur, 8):
                break
            position, name = u16(data, at + 2), (6 << 40) | u32(data, at + 4)
            kind, size = int(data[at]), 8
            if position & 0xFFF9:
                cur[POSITION] = at + 8
                if not add_fragment(out, fragments, data, scratch, cur, name, position & 0xFFF8, position & 1 != 0):
                    break
                cur[NEXT] = IP_PROTOCOL
                size = 0
                at = cur[POSITION]
        else:
            break
        cur[POSITION] = at + size
    put(out, row, IP_PROTO, kind)
    cur[TYPE] = kind
    if kind == 59:
        cur[NEXT] = DONE


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


@kernel_lean
def icmpv6(cur: Any, data: Any) -> None:
    """ICMPv6: an error message (RFC 4443 types 1 to 4) goes on with the packet that it quotes."""
    cur[NEXT] = DONE
    if fits(cur, 9) and 1 <= data[cur[POSITION]] <= 4:
        cur[IN_ERROR] = 1
        go(cur, IPV6, 0, 8)
