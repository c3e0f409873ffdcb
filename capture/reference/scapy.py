"""The scapy path: packets to feature columns of the header layers, wherever Python and scapy run.

It fills the columns of the frame, ARP, IPv4, IPv6, ICMP, TCP and UDP, with relative numbers, conversations, time deltas
and round trips; those of DNS, HTTP, MQTT and Modbus stay empty. Tunnels other than IP in IP and plain GRE, IP
fragments and headers cut by the snap length end a packet, and are counted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from scapy.error import Scapy_Exception
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror
from scapy.layers.inet6 import IPerror6, IPv6, IPv6ExtHdrFragment, _ICMPv6, _ICMPv6Error, _IPv6ExtHdr
from scapy.layers.l2 import ARP, GRE, LLC, SNAP, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Padding, Raw

from offramp.capture.block import NO_TIME, PacketBlock
from offramp.capture.dissect.link.link_types import (
    EN10MB,
    LINUX_SLL,
    LINUX_SLL2,
    LOOP,
    NULL,
    RAW,
    RAW_A,
    RAW_B,
    RAW_IPV4,
    RAW_IPV6,
)
from offramp.capture.features.row_batches import Row, put
from offramp.capture.reference.conversations import Conversations
from offramp.capture.reference.row_dissector import RowDissector
from offramp.capture.reference.scapy_layers import (
    CUT,
    Walk,
    put_arp,
    put_icmp,
    put_ipv4,
    put_ipv6,
    put_next_header,
    put_tcp,
    put_udp,
)

MAX_CONVERSATIONS = 1 << 18
_LINKS = {
    EN10MB: Ether,
    LINUX_SLL: CookedLinux,
    LINUX_SLL2: CookedLinuxV2,
    RAW_IPV4: IP,
    RAW_IPV6: IPv6,
}
_CUT = (struct.error, IndexError, KeyError, TypeError, ValueError, Scapy_Exception)
"""What scapy raises where its first header is not whole; a later one it gives as Raw."""

_RAW = (RAW, RAW_A, RAW_B)
_LOOPBACK = (NULL, LOOP)
_FAMILIES = {2: IP, 10: IPv6, 24: IPv6, 28: IPv6, 30: IPv6}
"""Address families of BSD loopback headers: IPv6 has another number on each system."""

_PASSED = (Ether, Dot1Q, Dot1AD, LLC, SNAP, CookedLinux, CookedLinuxV2, GRE, _ICMPv6Error)


class ScapyDissector(RowDissector):
    """Dissects packet blocks with scapy; see `RowDissector`. One object a header: some hundred times slower."""

    title = "the scapy path"
    link_types = frozenset(_LINKS) | frozenset(_RAW + _LOOPBACK)

    def __init__(self, profile: str, *, max_flows: int = MAX_CONVERSATIONS, **named: Any) -> None:
        super().__init__(profile, **named)
        self._talks = Conversations(max_flows)

    def rows(self, block: PacketBlock) -> list[Row]:
        """Return a row for each packet of a block."""
        data = block.data
        kinds = [interface.linktype for interface in block.interfaces]
        rows = []
        packets = zip(block.offset, block.caplen, block.length, block.time_ns, block.interface, strict=True)
        for offset, caplen, length, time_ns, interface in packets:
            row: Row = {}
            if time_ns != NO_TIME:
                put(row, "frame.time", int(time_ns))
                put(row, "frame.time_epoch", int(time_ns))
            else:
                time_ns = 0
            put(row, "frame.len", int(length))
            raw = data[offset : offset + caplen].tobytes()
            reason = self._packet(row, kinds[interface] if kinds else EN10MB, raw, int(length), int(time_ns))
            if reason:
                self.ledger.undecodable[reason] += 1
            rows.append(row)
        if self._talks.evicted:
            self.ledger.notes["flow_evicted"] += self._talks.evicted
            self._talks.evicted = 0
        return rows

    def _packet(self, row: Row, kind: int, raw: bytes, length: int, time_ns: int) -> str:
        """Fill a packet's row; return why it cannot be decoded, or nothing."""
        if not raw:
            return "empty_packet"
        if kind not in self.link_types:
            return "link_type_unknown"
        if kind in _LOOPBACK and len(raw) < 4:
            return "link_header_cut"
        first, size = _first_header(kind, raw)
        if first is None:
            return ""
        try:
            layer = first(raw[size:])
        except _CUT:
            return "link_header_cut"
        walk = Walk(row, self._talks, time_ns, max(length, len(raw)) - size)
        for header in _layers(layer):
            note = _one_layer(walk, header)
            if note:
                self.ledger.notes[note] += 1
            if note or walk.done:
                break
            walk.left -= len(header.raw_packet_cache or b"")
        return ""


def _first_header(kind: int, raw: bytes) -> tuple[Any, int]:
    """Return scapy's class for a packet's first header, and where it starts; None where the bytes are of no kind known.

    A BSD loopback header is the family in the byte order of the capturing machine, which scapy takes for this one's.
    """
    if kind in _LOOPBACK:
        family = int.from_bytes(raw[:4], "big")
        return _FAMILIES.get(family if family <= 0xFFFF else int.from_bytes(raw[:4], "little")), 4
    if kind in _RAW:
        return {4: IP, 6: IPv6}.get(raw[0] >> 4), 0
    return _LINKS[kind], 0


def _layers(layer: Packet) -> Iterator[Packet]:
    """Yield a packet's headers, outermost first."""
    while layer.name != "NoPayload":
        yield layer
        layer = layer.payload


def _one_layer(walk: Walk, header: Packet) -> str:
    """Enter one header; return the note that ends the packet, or nothing."""
    if isinstance(header, IP):
        return put_ipv4(walk, header, isinstance(header, IPerror))
    if isinstance(header, IPv6):
        return put_ipv6(walk, header, isinstance(header, IPerror6))
    if isinstance(header, _IPv6ExtHdr):
        return put_next_header(walk, header, isinstance(header, IPv6ExtHdrFragment))
    if isinstance(header, TCP):
        return put_tcp(walk, header)
    if isinstance(header, UDP):
        return put_udp(walk, header)
    if isinstance(header, ICMP):
        return put_icmp(walk, header)
    if isinstance(header, ARP):
        return put_arp(walk, header)
    if isinstance(header, _PASSED):
        return ""
    walk.done = True
    if isinstance(header, (Raw, Padding)):
        return CUT if walk.expects_transport() else ""
    if isinstance(header, _ICMPv6):
        return ""
    return "layer_not_dissected"
