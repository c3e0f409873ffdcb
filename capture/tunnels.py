"""Tunnels: GRE (RFC 2784, RFC 2890), PPTP (RFC 2637), ERSPAN, VXLAN (RFC 7348), Geneve (RFC 8926), GTP-U, Teredo."""

from __future__ import annotations

from typing import Any

from capture.emit import Table
from capture.layers import (
    DONE,
    END,
    ETHER_TYPE,
    ETHERNET,
    IP_ANY,
    IPV6,
    MPLS,
    NEXT,
    NOTE_PROTOCOL,
    POSITION,
    PPP,
    fits,
    go,
    stop,
    u16,
)
from offramp_kernels import kernel_lean

VXLAN_PORT, GENEVE_PORT, GTP_PORT, TEREDO_PORT, MPLS_PORT = 4789, 6081, 2152, 3544, 6635
DNS_PORT = 53


@kernel_lean
def gre(out: Table, data: Any, cur: Any) -> None:
    """GRE: on to the ether type that it carries."""
    if not fits(cur, 4):
        return
    flags, kind = u16(data, cur[POSITION]), u16(data, cur[POSITION] + 2)
    size = 4
    if flags & 0xC000:
        size += 4
    if flags & 0x2000:
        size += 4
    if flags & 0x1000:
        size += 4
    if flags & 7 == 1 and flags & 0x80:
        size += 4
    if kind == 0x88BE and flags & 0x1000:
        size += 8
    if not fits(cur, size + 1):
        return
    if kind == 0x880B:
        go(cur, PPP, 0, size)
    elif kind == 0x88BE:
        go(cur, ETHERNET, 0, size)
    elif kind == 0x22EB:
        erspan(data, cur, size)
    elif kind == 0 or flags & 0x4000:
        stop(out, cur, NOTE_PROTOCOL)
    else:
        go(cur, ETHER_TYPE, kind, size)


@kernel_lean
def erspan(data: Any, cur: Any, size: int) -> None:
    """ERSPAN type III behind a GRE header of `size` bytes: on to the mirrored frame."""
    if fits(cur, size + 12):
        optional = data[cur[POSITION] + size + 11] & 1
        go(cur, ETHERNET, 0, size + (20 if optional else 12))


@kernel_lean
def udp_tunnel(data: Any, cur: Any, source_port: int, target_port: int) -> bool:
    """Follow a tunnel over UDP, the cursor at the payload; False where the ports name none."""
    low, high = min(source_port, target_port), max(source_port, target_port)
    for port in (low, high):
        if port == DNS_PORT:
            return False
        if port == VXLAN_PORT:
            if fits(cur, 9):
                go(cur, ETHERNET, 0, 8)
            return True
        if port == GENEVE_PORT:
            if fits(cur, 8):
                at = cur[POSITION]
                go(cur, ETHER_TYPE, u16(data, at + 2), 8 + int(data[at] & 63) * 4)
            return True
        if port == GTP_PORT:
            return gtp(data, cur)
        if port == TEREDO_PORT:
            return teredo(data, cur)
        if port == MPLS_PORT:
            cur[NEXT] = MPLS
            return True
    return False


@kernel_lean
def gtp(data: Any, cur: Any) -> bool:
    """GTP-U version 1 (3GPP TS 29.281): a G-PDU goes on with the user's packet, past its extension headers."""
    at = cur[POSITION]
    if not fits(cur, 8) or data[at] >> 5 != 1:
        cur[NEXT] = DONE
        return True
    if data[at + 1] != 255:
        return True
    size = 8
    if data[at] & 7:
        size = 12
        if not fits(cur, 12):
            return True
        extension = data[at + 11] if data[at] & 4 else 0
        while extension:
            if not fits(cur, size + 1) or data[at + size] == 0:
                return True
            length = int(data[at + size]) * 4
            if not fits(cur, size + length):
                return True
            size += length
            extension = data[at + size - 1]
    if fits(cur, size + 1):
        go(cur, IP_ANY, 0, size)
    return True


@kernel_lean
def teredo(data: Any, cur: Any) -> bool:
    """Teredo (RFC 4380 5.1.1): authentication and origin indications, then an IPv6 packet."""
    at = cur[POSITION]
    if cur[END] - at >= 4 and data[at] == 0 and data[at + 1] == 1:
        at += 13 + int(data[at + 2]) + int(data[at + 3])
    if cur[END] - at >= 8 and data[at] == 0 and data[at + 1] == 0:
        at += 8
    if cur[END] - at < 40 or data[at] >> 4 != 6:
        return False
    cur[POSITION] = at
    cur[NEXT] = IPV6
    return True
