"""Headers between link and network: MPLS labels (RFC 3032), network service headers (RFC 8300), Cisco FabricPath."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.packet.cursor import (
    END,
    ETHERNET,
    IPV4,
    IPV6,
    MPLS,
    NEXT,
    NSH,
    POSITION,
    WIRE_END,
    fits,
    go,
    stop,
    u16,
    u32,
)
from offramp.capture.dissect.packet.notes import NOTE_ETHER_TYPE
from offramp.capture.dissect.packet.protocol_numbers import (
    ETH_P_8021AD,
    ETH_P_8021Q,
    ETH_P_ARP,
    ETH_P_IP,
    ETH_P_IPV6,
    ETH_P_LLDP,
    ETH_P_MPLS_MC,
    ETH_P_MPLS_UC,
    ETH_P_PPP_DISC,
    ETH_P_PPP_SES,
)
from offramp.capture.dissect.packet.table import Table
from offramp.kernels import kernel_lean

OAM_ALERT = 14  # label (RFC 3429)
FABRIC_PATH = 0x8903
FABRIC_PATH_HEADER, CHECK_SEQUENCE = 16, 4


@kernel_lean
def mpls(out: Table, data: Any, cur: Any) -> None:
    """One MPLS label; after the bottom of the stack the first nibble tells IP from Ethernet (RFC 3032, RFC 4928)."""
    if not fits(cur, 4):
        return
    bottom, label = data[cur[POSITION] + 2] & 1, u32(data, cur[POSITION]) >> 12
    cur[POSITION] += 4
    if bottom == 0:
        return
    if label == OAM_ALERT:
        stop(out, cur, NOTE_ETHER_TYPE)
        return
    if not fits(cur, 1):
        return
    nibble = data[cur[POSITION]] >> 4
    if nibble == 4:
        cur[NEXT] = IPV4
    elif nibble == 6:
        cur[NEXT] = IPV6
    elif nibble == 0:
        bare = fits(cur, 14) and looks_like_ethernet(u16(data, cur[POSITION] + 12))
        go(cur, ETHERNET, 0, 0 if bare else 4)
    else:
        stop(out, cur, NOTE_ETHER_TYPE)


@kernel_lean
def looks_like_ethernet(kind: int) -> bool:
    """Return whether a frame begins without a control word: by its ether type, where tshark asks its list of makers."""
    return kind in (
        ETH_P_IP,
        ETH_P_ARP,
        ETH_P_IPV6,
        ETH_P_8021Q,
        ETH_P_8021AD,
        ETH_P_MPLS_UC,
        ETH_P_MPLS_MC,
        ETH_P_PPP_DISC,
        ETH_P_PPP_SES,
        ETH_P_LLDP,
    )


@kernel_lean
def nsh(out: Table, data: Any, cur: Any) -> None:
    """Network service header (RFC 8300 2.2): on to what its next protocol names."""
    if not fits(cur, 8):
        return
    size = max(8, (u16(data, cur[POSITION]) & 0x3F) * 4)
    if not fits(cur, size):
        return
    next_protocol(out, cur, int(data[cur[POSITION] + 3]), size)


@kernel_lean
def next_protocol(out: Table, cur: Any, kind: int, size: int) -> None:
    """Go over `size` bytes to what a next protocol number names (IANA's, of NSH and of VXLAN-GPE)."""
    if kind == 1:
        go(cur, IPV4, 0, size)
    elif kind == 2:
        go(cur, IPV6, 0, size)
    elif kind == 3:
        go(cur, ETHERNET, 0, size)
    elif kind == 4:
        go(cur, NSH, 0, size)
    elif kind == 5:
        go(cur, MPLS, 0, size)
    else:
        stop(out, cur, NOTE_ETHER_TYPE)


@kernel_lean
def fabric_path(cur: Any) -> None:
    """Cisco FabricPath: a header like Ethernet's, then a whole frame that ends with its check sequence."""
    if not fits(cur, FABRIC_PATH_HEADER):
        return
    go(cur, ETHERNET, 0, FABRIC_PATH_HEADER)
    cur[WIRE_END] = max(cur[POSITION], cur[WIRE_END] - CHECK_SEQUENCE)
    cur[END] = min(cur[END], cur[WIRE_END])
