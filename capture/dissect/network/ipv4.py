"""Network layers: ARP (RFC 826), IPv4 (RFC 791), ICMP (RFC 792)."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.network.fragments import Fragments, fragment
from offramp.capture.dissect.network.ipv4_options import ip_options
from offramp.capture.dissect.packet.cursor import (
    DONE,
    END,
    ERROR,
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
    VERSION,
    WIRE_END,
    clip,
    fits,
    go,
    stop,
    u16,
    u32,
)
from offramp.capture.dissect.packet.table import Table, put, span
from offramp.capture.schema import INDEX
from offramp.kernels import kernel_lean

IP_SOURCE, IP_TARGET, IP_PROTO = INDEX["ip.src_host"], INDEX["ip.dst_host"], INDEX["ip.proto"]
ARP_TARGET, ARP_SOURCE = INDEX["arp.dst.proto_ipv4"], INDEX["arp.src.proto_ipv4"]
ARP_OPCODE, ARP_HARDWARE_SIZE = INDEX["arp.opcode"], INDEX["arp.hw.size"]
ICMP_CHECKSUM, ICMP_SEQUENCE = INDEX["icmp.checksum"], INDEX["icmp.seq_le"]
ICMP_TRANSMIT, ICMP_UNUSED = INDEX["icmp.transmit_timestamp"], INDEX["icmp.unused"]
ATM = 19  # hardware type


@kernel_lean
def arp(out: Table, row: int, data: Any, cur: Any) -> None:
    """ARP: the addresses only where they are IPv4.

    As in tshark the source of a cut request or reply shows only where what tshark compares it with was captured too.
    """
    cur[NEXT] = DONE
    if not fits(cur, 5):
        return
    at = cur[POSITION]
    protocol, hardware_size = u16(data, at + 2), int(data[at + 4])
    atm = u16(data, at) == ATM
    if not atm:
        put(out, row, ARP_HARDWARE_SIZE, hardware_size)
    if not fits(cur, 8):
        return
    protocol_size = int(data[at + 5])
    opcode = u16(data, at + 6)
    put(out, row, ARP_OPCODE, opcode)
    if atm:
        atm_arp(out, row, data, cur)
    elif protocol == 0x800 and protocol_size == 4:
        source, target = at + 8 + hardware_size, at + 12 + 2 * hardware_size
        needed = source + 4
        if opcode in (1, 2, 4):
            needed = target + 4
        elif opcode in (3, 5, 8):
            needed = target
        if cur[END] >= needed:
            put(out, row, ARP_SOURCE, u32(data, source))
        if fits(cur, target + 4 - at):
            put(out, row, ARP_TARGET, u32(data, target))


@kernel_lean
def atm_arp(out: Table, row: int, data: Any, cur: Any) -> None:
    """ATMARP (RFC 2225 8.5): numbers and subaddresses of any length before each IPv4 address."""
    if not fits(cur, 12):
        return
    at = cur[POSITION]
    source = at + 12 + int(data[at + 4] & 63) + int(data[at + 5] & 63)
    target = source + int(data[at + 8]) + int(data[at + 9] & 63) + int(data[at + 10] & 63)
    if data[at + 8] == 4 and source + 4 <= cur[END]:
        put(out, row, ARP_SOURCE, u32(data, source))
    if data[at + 11] == 4 and target + 4 <= cur[END]:
        put(out, row, ARP_TARGET, u32(data, target))


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
            quote(data, cur, kind)


@kernel_lean
def quote(data: Any, cur: Any, kind: int) -> None:
    """Go on with the packet that an ICMP error quotes, as far as its length field (RFC 4884) lets tshark read.

    tshark counts that length from behind the quoted IP header, and of a redirect reads eight bytes behind it.
    """
    at = cur[POSITION]
    cur[IN_ERROR] |= ERROR
    wire = cur[WIRE_END]
    go(cur, IPV4, 0, 8)
    if at + 12 > cur[END]:
        return
    header, length = int(data[at + 8] & 15) * 4, int(data[at + 5]) * 4
    if kind == 5:
        clip(cur, header + 8)
    elif length and wire > at + 8 + length and u16(data, at + 10) > length:
        clip(cur, header + length)


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
