"""Serial lines, FDDI and Netfilter's log: PPP (RFC 1661), Cisco HDLC, frame relay (RFC 2427), FDDI, NFLOG."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.packet.cursor import (
    DONE,
    END,
    ETHER_TYPE,
    ETHERNET,
    IPV4,
    IPV6,
    LLC,
    MPLS,
    NEXT,
    POSITION,
    STEPS,
    clip,
    fits,
    go,
    u16,
)
from offramp.capture.dissect.packet.notes import NOTE_PPP
from offramp.capture.dissect.packet.protocol_numbers import ETH_P_IP, ETH_P_IPV6, ETH_P_MPLS_MC, ETH_P_MPLS_UC
from offramp.capture.dissect.packet.table import Table
from offramp.capture.dissect.packet.unfollowed import PPP_KIND, unfollowed
from offramp.kernels import kernel_lean

UNNUMBERED = 3
NFLOG_PAYLOAD = 9


@kernel_lean
def ppp(out: Table, data: Any, cur: Any) -> None:
    """PPP with or without address and control bytes (RFC 1661, RFC 1662): on to the network layer."""
    if not fits(cur, 2):
        return
    at = cur[POSITION]
    if data[at] == 0xFF:
        at += 2
        cur[POSITION] = at
        if not fits(cur, 2):
            return
    kind = u16(data, at)
    size = 2
    if data[at] & 1:
        kind = int(data[at])
        size = 1
    if kind == 0x21:
        go(cur, IPV4, 0, size)
    elif kind == 0x57:
        go(cur, IPV6, 0, size)
    elif kind == 0x281:
        go(cur, MPLS, 0, size)
    else:
        unfollowed(out, cur, NOTE_PPP, PPP_KIND, kind)


@kernel_lean
def cisco_hdlc(data: Any, cur: Any) -> None:
    """Cisco HDLC: address, control, ether type of IP or MPLS; tshark knows no ARP in it."""
    if fits(cur, 4):
        kind = u16(data, cur[POSITION] + 2)
        go(cur, ETHER_TYPE if kind in (ETH_P_IP, ETH_P_IPV6, ETH_P_MPLS_UC, ETH_P_MPLS_MC) else DONE, kind, 4)


@kernel_lean
def frame_relay(data: Any, cur: Any) -> None:
    """Frame relay: an address of two to four bytes, then an NLPID after a control byte (RFC 2427), or an ether type."""
    size = 2
    if fits(cur, 1) and data[cur[POSITION]] & 1:
        size = 5
    while size <= 4 and fits(cur, size) and not data[cur[POSITION] + size - 1] & 1:
        size += 1
    if size > 4 or not fits(cur, size + 2):
        cur[NEXT] = DONE
        return
    at = cur[POSITION] + size
    if data[at] & UNNUMBERED != UNNUMBERED:
        kind = u16(data, at)
        go(cur, ETHER_TYPE if kind in (ETH_P_IP, ETH_P_IPV6) else DONE, kind, size + 2)
        return
    if data[at + 1] == 0xCC:
        go(cur, IPV4, 0, size + 2)
    elif data[at + 1] == 0x8E:
        go(cur, IPV6, 0, size + 2)
    elif fits(cur, size + 8) and (data[at + 1] == 0x80 or (data[at + 1] == 0 and data[at + 2] == 0x80)):
        subnetwork_access(data, cur, at + 2 + int(data[at + 1] == 0))
    else:
        cur[NEXT] = DONE


@kernel_lean
def subnetwork_access(data: Any, cur: Any, at: int) -> None:
    """Go on behind a SNAP header at `at`: an ether type, or a bridged Ethernet frame without check sequence."""
    organisation, kind = u16(data, at) << 8 | int(data[at + 2]), u16(data, at + 3)
    cur[POSITION] = at + 5
    if organisation == 0:
        go(cur, ETHER_TYPE, kind, 0)
    elif organisation == 0x80C2 and kind == 7:
        cur[NEXT] = ETHERNET
    else:
        cur[NEXT] = DONE


@kernel_lean
def fddi(data: Any, cur: Any) -> None:
    """FDDI: frames of the logical link control go on with it (ISO 9314-2)."""
    if not fits(cur, 13):
        return
    control = data[cur[POSITION]]
    if control & 0xF0 == 0x50 or control & 0xF8 == 0xD0:
        go(cur, LLC, 0, 13)
    else:
        cur[NEXT] = DONE


@kernel_lean
def nflog(data: Any, cur: Any) -> None:
    """Netfilter's log: attributes in the byte order of the capturing machine, among them the packet."""
    cur[NEXT] = DONE
    if not fits(cur, 4):
        return
    start, end = cur[POSITION], cur[END]
    family = data[start]
    for little in range(1, -1, -1):
        at, payload, length = start + 4, 0, 0
        while at + 4 <= end:
            cur[STEPS] += 1
            size, kind = u16(data, at), u16(data, at + 2)
            if little:
                size, kind = (size & 0xFF) << 8 | size >> 8, (kind & 0xFF) << 8 | kind >> 8
            if size < 4 or at + size > end:
                break
            if kind & 0x7FFF == NFLOG_PAYLOAD:
                payload, length = at + 4, size - 4
            at += (size + 3) & ~3
        if payload and at >= end:
            cur[POSITION] = payload
            clip(cur, length)
            cur[NEXT] = IPV4 if family == 2 else IPV6 if family == 10 else DONE
            return
