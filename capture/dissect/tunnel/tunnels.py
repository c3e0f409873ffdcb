"""Tunnels: GRE (RFC 2784, RFC 2890), PPTP, ERSPAN, VXLAN (RFC 7348), its GPE, Geneve (RFC 8926), GTP, Teredo, AYIYA."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.link.labels import next_protocol
from offramp.capture.dissect.link.serial import frame_relay
from offramp.capture.dissect.packet.cursor import (
    DONE,
    END,
    ETHER_TYPE,
    ETHERNET,
    IP_ANY,
    IP_PROTOCOL,
    IPV4,
    IPV6,
    MPLS,
    NEXT,
    POSITION,
    PPP,
    STEPS,
    WLAN,
    fits,
    go,
    u16,
)
from offramp.capture.dissect.packet.notes import NOTE_PROTOCOL
from offramp.capture.dissect.packet.protocol_numbers import (
    ETH_P_ARP,
    ETH_P_ERSPAN,
    ETH_P_ERSPAN2,
    ETH_P_IP,
    ETH_P_IPV6,
    ETH_P_MPLS_MC,
    ETH_P_MPLS_UC,
    ETH_P_NSH,
    ETH_P_PPP,
    ETH_P_TEB,
)
from offramp.capture.dissect.packet.table import Table
from offramp.capture.dissect.packet.unfollowed import GRE_KIND, unfollowed
from offramp.capture.dissect.tunnel.sflow import SFLOW_PORT, sflow
from offramp.kernels import kernel_lean

VXLAN_PORT, VXLAN_GPE_PORT, GENEVE_PORT, TEREDO_PORT, MPLS_PORT = 4789, 4790, 6081, 3544, 6635
GTP_CONTROL_PORT, GTP_PORT, GTP_PRIME_PORT, GRE_PORT, AYIYA_PORT = 2123, 2152, 3386, 4754, 5072
DNS_PORT = 53


@kernel_lean
def gre(out: Table, data: Any, cur: Any) -> None:
    """GRE: on to what tshark knows in it: ether types, PPP, mirrored or wireless frames, WCCP, frame relay."""
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
    if flags & 0x4000:
        size = routes(data, cur, size)
    if not fits(cur, size + 1):
        return
    if kind == ETH_P_PPP:
        go(cur, PPP, 0, size)
    elif kind == ETH_P_ERSPAN and not flags & 0x1000:
        go(cur, ETHERNET, 0, size)
    elif kind == ETH_P_ERSPAN and data[cur[POSITION] + size] >> 4 == 1:
        go(cur, ETHERNET, 0, size + 8)
    elif kind == ETH_P_ERSPAN2 and data[cur[POSITION] + size] >> 4 == 2:
        erspan(data, cur, size)
    elif 0x8200 <= kind <= 0x8370 and kind & 15 == 0:
        go(cur, WLAN, 0, size)
    elif kind == 0x883E:
        go(cur, IPV4, 0, size if data[cur[POSITION] + size] >> 4 == 4 else size + 4)
    elif kind == 0x6559:
        cur[POSITION] += size
        frame_relay(data, cur)
    elif kind in (ETH_P_IP, ETH_P_IPV6, ETH_P_ARP, ETH_P_TEB, ETH_P_MPLS_UC, ETH_P_MPLS_MC, ETH_P_NSH):
        go(cur, ETHER_TYPE, kind, size)
    else:
        unfollowed(out, cur, NOTE_PROTOCOL, GRE_KIND, kind)


@kernel_lean
def routes(data: Any, cur: Any, size: int) -> Any:
    """Return where GRE's source routes (RFC 1701) that begin at `size` end: behind one of no family and no length."""
    while fits(cur, size + 4):
        cur[STEPS] += 1
        family, length = u16(data, cur[POSITION] + size), int(data[cur[POSITION] + size + 3])
        size += 4 + length
        if family == 0 and length == 0:
            break
    return size


@kernel_lean
def erspan(data: Any, cur: Any, size: int) -> None:
    """ERSPAN type III behind a GRE header of `size` bytes: on to the mirrored frame."""
    if fits(cur, size + 12):
        optional = data[cur[POSITION] + size + 11] & 1
        go(cur, ETHERNET, 0, size + (20 if optional else 12))


@kernel_lean
def udp_tunnel(out: Table, data: Any, cur: Any, source_port: int, target_port: int) -> bool:
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
        if port == VXLAN_GPE_PORT:
            if fits(cur, 9):
                next_protocol(out, cur, int(data[cur[POSITION] + 3]), 8)
            return True
        if port in (GTP_PORT, GTP_PRIME_PORT, GTP_CONTROL_PORT):
            return gtp(data, cur)
        if port == GRE_PORT:
            gre(out, data, cur)
            return True
        if port == AYIYA_PORT:
            return ayiya(data, cur)
        if port == SFLOW_PORT:
            sflow(data, cur)
            return True
        if port == TEREDO_PORT:
            return teredo(data, cur)
        if port == MPLS_PORT:
            cur[NEXT] = MPLS
            return True
    return False


@kernel_lean
def gtp(data: Any, cur: Any) -> bool:
    """GTP (3GPP TS 29.281; version 0: TS 09.60): a G-PDU goes on with the user's packet, past extension headers."""
    at = cur[POSITION]
    if not fits(cur, 8) or data[at] >> 5 > 1 or not data[at] & 16:
        cur[NEXT] = DONE
        return True
    if data[at + 1] != 255:
        return True
    size = 8
    if data[at] >> 5 == 0:
        size = 20
    elif data[at] & 7:
        size = 12
        if not fits(cur, 12):
            return True
        extension = data[at + 11] if data[at] & 4 else 0
        while extension:
            cur[STEPS] += 1
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
def ayiya(data: Any, cur: Any) -> bool:
    """AYIYA (draft-massar-v6ops-ayiya): over identity and signature to what is forwarded."""
    if not fits(cur, 8):
        return True
    at = cur[POSITION]
    size = 8 + (1 << int(data[at] >> 4)) + int(data[at + 1] >> 4) * 4
    if data[at + 2] & 15 == 1 and fits(cur, size + 1):
        go(cur, IP_PROTOCOL, int(data[at + 3]), size)
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
