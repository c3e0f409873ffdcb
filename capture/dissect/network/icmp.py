"""ICMP (RFC 792), and the packets that its errors quote (RFC 4884)."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.packet.cursor import (
    DONE,
    END,
    ERROR,
    IN_ERROR,
    IPV4,
    NEXT,
    POSITION,
    WIRE_END,
    clip,
    fits,
    go,
    u16,
    u32,
)
from offramp.capture.dissect.packet.table import Table, put, span
from offramp.capture.schema import INDEX
from offramp.kernels import kernel_lean

ICMP_CHECKSUM, ICMP_SEQUENCE = INDEX["icmp.checksum"], INDEX["icmp.seq_le"]
ICMP_TRANSMIT, ICMP_UNUSED = INDEX["icmp.transmit_timestamp"], INDEX["icmp.unused"]


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
