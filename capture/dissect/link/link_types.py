"""Link layers: from a capture's link type to an ether type or an IP header (libpcap link types; IEEE 802.3, 802.1Q)."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.link.labels import FABRIC_PATH, fabric_path
from offramp.capture.dissect.link.serial import cisco_hdlc, fddi, frame_relay, nflog
from offramp.capture.dissect.link.wireless import radiotap
from offramp.capture.dissect.packet.cursor import (
    DONE,
    END,
    ETHER_TYPE,
    ETHERNET,
    IP_ANY,
    IPV4,
    IPV6,
    LLC,
    MPLS,
    NEXT,
    NSH,
    POSITION,
    PPP,
    TYPE,
    WIRE_END,
    WLAN,
    clip,
    fits,
    go,
    stop,
    u16,
    u32,
)
from offramp.capture.dissect.packet.notes import NOTE_ETHER_TYPE, NOTE_LLC
from offramp.capture.dissect.packet.protocol_numbers import (
    ETH_P_8021AD,
    ETH_P_8021AH,
    ETH_P_8021BR,
    ETH_P_8021Q,
    ETH_P_CMD,
    ETH_P_MPLS_MC,
    ETH_P_MPLS_UC,
    ETH_P_NSH,
    ETH_P_PPP_SES,
    ETH_P_QINQ1,
    ETH_P_RARP,
    ETH_P_TEB,
    ETH_P_VNTAG,
)
from offramp.capture.dissect.packet.table import Table
from offramp.capture.dissect.packet.unfollowed import ETHER_TYPE_KIND, unfollowed
from offramp.kernels import kernel_lean

NULL, EN10MB, PPP_SERIAL, FDDI, PPP_HDLC, RAW_A, RAW_B, RAW, LOOP = 0, 1, 9, 10, 50, 12, 14, 101, 108
CISCO_HDLC, IEEE802_11, FRAME_RELAY, LINUX_SLL, RADIOTAP, NFLOG = 104, 105, 107, 113, 127, 239
RAW_IPV4, RAW_IPV6, LINUX_SLL2 = 228, 229, 276
GRE_DEVICE, NETLINK = 778, 824  # hardware types of a cooked header
LINK_TYPES = frozenset(
    {NULL, EN10MB, PPP_SERIAL, FDDI, PPP_HDLC, RAW_A, RAW_B, RAW, LOOP, CISCO_HDLC, IEEE802_11, FRAME_RELAY, LINUX_SLL}
    | {RADIOTAP, NFLOG, RAW_IPV4, RAW_IPV6, LINUX_SLL2}
)
"""The libpcap link types that the fast path understands."""

LINK_TYPE_NAMES = {
    2: "EXP_ETHERNET",
    3: "AX25",
    6: "IEEE802_5 (token ring)",
    7: "ARCNET",
    8: "SLIP",
    51: "PPP_ETHER",
    100: "ATM_RFC1483",
    117: "PFLOG",
    119: "IEEE802_11_PRISM",
    147: "USER0",
    187: "BLUETOOTH_HCI_H4",
    189: "USB_LINUX",
    192: "PPI",
    195: "IEEE802_15_4_WITHFCS",
    201: "BLUETOOTH_HCI_H4_WITH_PHDR",
    220: "USB_LINUX_MMAPPED",
    227: "CAN_SOCKETCAN",
    230: "IEEE802_15_4_NOFCS",
    249: "USBPCAP",
    252: "WIRESHARK_UPPER_PDU",
    253: "NETLINK",
}
"""Names of link types (tcpdump.org/linktypes.html) for error messages."""


@kernel_lean
def start_link(data: Any, cur: Any, linktype: int) -> bool:
    """Set the cursor to the first header after a capture's own; False where the link type is not understood."""
    if linktype == EN10MB:
        cur[NEXT] = ETHERNET
    elif linktype in (RAW, RAW_A, RAW_B):
        cur[NEXT] = IP_ANY
    elif linktype == RAW_IPV4:
        cur[NEXT] = IPV4
    elif linktype == RAW_IPV6:
        cur[NEXT] = IPV6
    elif linktype in (NULL, LOOP):
        null_link(data, cur)
    elif linktype == LINUX_SLL:
        if fits(cur, 16):
            cooked(cur, u16(data, cur[POSITION] + 2), u16(data, cur[POSITION] + 14), 16)
    elif linktype == LINUX_SLL2:
        if fits(cur, 20):
            cooked(cur, u16(data, cur[POSITION] + 8), u16(data, cur[POSITION]), 20)
    elif linktype in (PPP_SERIAL, PPP_HDLC):
        cur[NEXT] = PPP
    else:
        return start_rare_link(data, cur, linktype)
    return True


@kernel_lean
def start_rare_link(data: Any, cur: Any, linktype: int) -> bool:
    """Do as `start_link` for the link types that are seldom captured."""
    if linktype == IEEE802_11:
        cur[NEXT] = WLAN
    elif linktype == RADIOTAP:
        radiotap(data, cur)
    elif linktype == FDDI:
        fddi(data, cur)
    elif linktype == CISCO_HDLC:
        cisco_hdlc(data, cur)
    elif linktype == FRAME_RELAY:
        frame_relay(data, cur)
    elif linktype == NFLOG:
        nflog(data, cur)
    else:
        cur[NEXT] = DONE
        return False
    return True


@kernel_lean
def cooked(cur: Any, hardware: int, kind: int, size: int) -> None:
    """Go over a cooked header to its ether type; Netlink's protocols and GRE's (no RARP) have numbers of their own."""
    if hardware == NETLINK or (hardware == GRE_DEVICE and kind == ETH_P_RARP):
        cur[NEXT] = DONE
    else:
        go(cur, ETHER_TYPE, kind, size)


@kernel_lean
def null_link(data: Any, cur: Any) -> None:
    """BSD loopback: an address family in the byte order of the capturing machine, or in network order."""
    if not fits(cur, 4):
        return
    family = u32(data, cur[POSITION])
    if family >> 16 == 0xFF03:
        cur[NEXT] = PPP
        return
    if 0xFFFF < family < 0x60000:
        family >>= 16
    elif family > 0xFFFF:
        family = family >> 24 | (family >> 8) & 0xFF00 | (family & 0xFF00) << 8 | (family & 0xFF) << 24
    if family == 2:
        go(cur, IPV4, 0, 4)
    elif family == 24 or family == 28 or family == 30:
        go(cur, IPV6, 0, 4)
    elif 1500 < family <= 0xFFFF:
        go(cur, ETHER_TYPE, family, 4)
    else:
        cur[NEXT] = DONE


@kernel_lean
def ethernet(data: Any, cur: Any) -> None:
    """Ethernet II, or 802.3 where the type field is a length (IEEE 802.3 3.2.6)."""
    if not fits(cur, 14):
        return
    kind = u16(data, cur[POSITION] + 12)
    if kind <= 1500:
        cur[POSITION] += 14
        clip(cur, kind)
        cur[NEXT] = LLC
    elif kind == FABRIC_PATH:
        fabric_path(cur)
    else:
        go(cur, ETHER_TYPE, kind, 14)


@kernel_lean
def llc(out: Table, data: Any, cur: Any) -> None:
    """IEEE 802.2 LLC with SNAP (RFC 1042): on to the ether type it carries."""
    if not fits(cur, 3):
        return
    at = cur[POSITION]
    if data[at] == 0xAA and data[at + 1] == 0xAA and data[at + 2] == 3:
        if fits(cur, 8):
            organisation = u32(data, at + 2) & 0xFFFFFF
            if organisation == 0 or organisation == 0xF8:
                go(cur, ETHER_TYPE, u16(data, at + 6), 8)
            else:
                stop(out, cur, NOTE_LLC)
    elif data[at] == 6 and data[at + 2] == 3:
        go(cur, IPV4, 0, 3)
    else:
        stop(out, cur, NOTE_LLC)


@kernel_lean
def ether_type(out: Table, data: Any, cur: Any) -> None:
    """Follow an ether type that is no network layer: VLAN and other tags, MPLS, NSH, PPPoE, a bridged Ethernet."""
    kind = cur[TYPE]
    if kind in (ETH_P_8021Q, ETH_P_8021AD, ETH_P_QINQ1):
        if fits(cur, 4):
            inner = u16(data, cur[POSITION] + 2)
            if inner <= 1500:
                cur[POSITION] += 4
                clip(cur, inner)
                cur[NEXT] = LLC
            else:
                go(cur, ETHER_TYPE, inner, 4)
    elif kind in (ETH_P_MPLS_UC, ETH_P_MPLS_MC):
        cur[NEXT] = MPLS
    elif kind == ETH_P_PPP_SES:
        if fits(cur, 6):
            size = u16(data, cur[POSITION] + 4)
            cur[POSITION] += 6
            clip(cur, size)
            cur[NEXT] = PPP
    elif kind == ETH_P_8021AH:
        if fits(cur, 18):
            go(cur, ETHER_TYPE, u16(data, cur[POSITION] + 16), 18)
    elif kind == ETH_P_VNTAG:
        if fits(cur, 6):
            go(cur, ETHER_TYPE, u16(data, cur[POSITION] + 4), 6)
    elif kind in (ETH_P_8021BR, ETH_P_CMD):
        if fits(cur, 8):
            go(cur, ETHER_TYPE, u16(data, cur[POSITION] + 6), 8)
    elif kind == ETH_P_NSH:
        cur[NEXT] = NSH
    elif kind == ETH_P_TEB:
        cur[NEXT] = ETHERNET
    elif kind == 4:
        cur[NEXT] = LLC
    else:
        unfollowed(out, cur, NOTE_ETHER_TYPE, ETHER_TYPE_KIND, kind)


@kernel_lean
def ip_any(data: Any, cur: Any) -> None:
    """Raw IP: the first nibble is the version."""
    if cur[END] <= cur[POSITION] or cur[WIRE_END] <= cur[POSITION]:
        cur[NEXT] = DONE
    elif data[cur[POSITION]] >> 4 == 6:
        cur[NEXT] = IPV6
    elif data[cur[POSITION]] >> 4 == 4:
        cur[NEXT] = IPV4
    else:
        cur[NEXT] = DONE
