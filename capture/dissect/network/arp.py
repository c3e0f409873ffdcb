"""ARP (RFC 826) and ATMARP (RFC 2225)."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.packet.cursor import DONE, END, NEXT, POSITION, fits, u16, u32
from offramp.capture.dissect.packet.protocol_numbers import ETH_P_IP
from offramp.capture.dissect.packet.table import Table, put
from offramp.capture.schema import INDEX
from offramp.kernels import kernel_lean

ARP_TARGET, ARP_SOURCE = INDEX["arp.dst.proto_ipv4"], INDEX["arp.src.proto_ipv4"]
ARP_OPCODE, ARP_HARDWARE_SIZE = INDEX["arp.opcode"], INDEX["arp.hw.size"]
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
    elif protocol == ETH_P_IP and protocol_size == 4:
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
