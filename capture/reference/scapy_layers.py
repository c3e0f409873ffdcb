"""One header that scapy read, entered into a row: the same fields as the fast path's kernels put (tshark's)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from offramp.capture.features.row_batches import Row, put
from offramp.capture.reference.conversations import ACK, FIN, RST, SYN, Conversations, End, Segment
from offramp.capture.schema import INDEX

CUT, FRAGMENT, MALFORMED_TCP = "header_cut", "ip_fragment", "tcp_header_malformed"
_IP_PROTO = INDEX["ip.proto"]
_ECHO_LIKE = (0, 8, 13, 14, 15, 16, 17, 18)
_ERRORS = (3, 4, 5, 11, 12)


@dataclass(slots=True)
class Walk:
    """The way through one packet: its row, and what the headers so far have said.

    left: bytes on the wire from the header at hand to the packet's end; quoted: inside what an ICMP error quotes.
    """

    row: Row
    talks: Conversations
    time_ns: int
    left: int
    source: bytes = b""
    target: bytes = b""
    quoted: bool = False
    done: bool = False

    def expects_transport(self) -> bool:
        """Return whether the IP header at hand said that ICMP, TCP or UDP follows."""
        return self.row.get(_IP_PROTO, [0])[-1] in (1, 6, 17)


def put_arp(walk: Walk, header: Any) -> str:
    """Put ARP (RFC 826): the addresses only where both are IPv4."""
    walk.done = True
    raw = header.original
    if len(raw) < 8:
        return CUT
    put(walk.row, "arp.hw.size", header.hwlen)
    put(walk.row, "arp.opcode", header.op)
    if header.ptype == 0x800 and header.plen == 4:
        if len(raw) < 16 + 2 * header.hwlen:
            return CUT
        put(walk.row, "arp.src.proto_ipv4", _ipv4(header.psrc))
        put(walk.row, "arp.dst.proto_ipv4", _ipv4(header.pdst))
    return ""


def put_ipv4(walk: Walk, header: Any, quoted: bool) -> str:
    """Put IPv4 (RFC 791): addresses and protocol; a fragment ends the packet."""
    if len(header.original) < 20:
        return CUT
    put(walk.row, "ip.ttl", header.ttl)
    put(walk.row, "ip.proto", header.proto)
    put(walk.row, "ip.src_host", _ipv4(header.src))
    put(walk.row, "ip.dst_host", _ipv4(header.dst))
    walk.quoted |= quoted
    walk.source, walk.target = header.original[12:16], header.original[16:20]
    if header.len:
        walk.left = min(walk.left, header.len)
    return FRAGMENT if header.frag or (header.flags.MF and not walk.quoted) else ""


def put_ipv6(walk: Walk, header: Any, quoted: bool) -> str:
    """Put IPv6 (RFC 8200); ip.proto is the last next header of the chain."""
    if len(header.original) < 40:
        return CUT
    put(walk.row, "ipv6.src", header.original[8:24])
    put(walk.row, "ipv6.dst", header.original[24:40])
    put(walk.row, "ip.proto", header.nh)
    walk.quoted |= quoted
    walk.source, walk.target = header.original[8:24], header.original[24:40]
    if header.plen:
        walk.left = min(walk.left, 40 + header.plen)
    return ""


def put_next_header(walk: Walk, header: Any, fragment: bool) -> str:
    """Put an IPv6 extension header's next header in the place of the one before; a fragment ends the packet."""
    values = walk.row[_IP_PROTO]
    values[-1] = header.nh
    return FRAGMENT if fragment and (header.offset or header.m) else ""


def put_icmp(walk: Walk, header: Any) -> str:
    """Put ICMP (RFC 792): checksum, echo and timestamp fields; an error goes on with what it quotes."""
    raw = header.original
    if len(raw) < 8:
        walk.done = True
        return CUT
    put(walk.row, "icmp.checksum", int.from_bytes(raw[2:4], "big"))
    kind = raw[0]
    if kind in _ECHO_LIKE:
        put(walk.row, "icmp.seq_le", int.from_bytes(raw[6:8], "little"))
    if kind in (13, 14) and len(raw) >= 20:
        put(walk.row, "icmp.transmit_timestamp", int.from_bytes(raw[16:20], "big"))
    if kind in _ERRORS:
        for part in _unused(raw):
            put(walk.row, "icmp.unused", part)
    walk.done = kind not in _ERRORS
    return ""


def put_udp(walk: Walk, header: Any) -> str:
    """Put UDP (RFC 768): ports, conversation number, time since the datagram before."""
    walk.done = True
    raw = header.original
    if len(raw) < 8:
        return CUT
    source, target = (walk.source, header.sport), (walk.target, header.dport)
    put(walk.row, "udp.srcport", header.sport)
    put(walk.row, "udp.dstport", header.dport)
    put(walk.row, "udp.port", header.sport << 16 | header.dport)
    size = int.from_bytes(raw[4:6], "big")
    stream, delta = walk.talks.udp(source, target, walk.time_ns, quoted=walk.quoted, empty=size == 8)
    put(walk.row, "udp.stream", stream)
    if delta is not None:
        put(walk.row, "udp.time_delta", delta)
    return ""


def put_tcp(walk: Walk, header: Any) -> str:
    """Put TCP (RFC 9293): header fields, relative numbers, round trip, payload."""
    walk.done = True
    raw = header.original
    if len(raw) >= 4:
        put(walk.row, "tcp.srcport", int.from_bytes(raw[0:2], "big"))
        put(walk.row, "tcp.dstport", int.from_bytes(raw[2:4], "big"))
    if walk.quoted and 8 <= len(raw) < 16:
        put(walk.row, "tcp.seq", int.from_bytes(raw[4:8], "big"))
    if len(raw) < 20:
        return CUT
    size = (raw[12] >> 4) * 4
    flags = int.from_bytes(raw[12:14], "big") & 0xFFF
    numbers = [int.from_bytes(raw[at : at + 4], "big") for at in (4, 8)]
    segment = Segment(numbers[0], numbers[1], flags, walk.left - size)
    source: End = (walk.source, header.sport)
    said, trip = walk.talks.tcp(source, (walk.target, header.dport), segment, walk.time_ns, quoted=walk.quoted)
    put(walk.row, "tcp.stream", said.stream)
    put(walk.row, "tcp.seq", said.sequence)
    if not walk.quoted and segment.size >= 0:
        put(walk.row, "tcp.len", segment.size)
    if size < 20:
        return MALFORMED_TCP
    put(walk.row, "tcp.ack", said.acknowledged)
    put(walk.row, "tcp.ack_raw", segment.acknowledged)
    put(walk.row, "tcp.flags", flags)
    put(walk.row, "tcp.flags.ack", flags >> 4 & 1)
    put(walk.row, "tcp.checksum", int.from_bytes(raw[16:18], "big"))
    _put_connection(walk.row, flags)
    if trip is not None:
        put(walk.row, "offramp.rtt", trip)
    if size > 20:
        put(walk.row, "tcp.options", raw[20:size])
    if len(raw) > size and not flags & RST:
        put(walk.row, "tcp.payload", raw[size:])
    return ""


def _put_connection(row: Row, flags: int) -> None:
    """Put the marks of a connection's begin and end (tshark's tcp.connection.*)."""
    if flags & SYN:
        put(row, "tcp.connection.synack" if flags & ACK else "tcp.connection.syn", 1)
    if flags & FIN:
        put(row, "tcp.connection.fin", 1)
    if flags & RST:
        put(row, "tcp.connection.rst", 1)


def _unused(raw: bytes) -> list[bytes]:
    """Return the bytes of an ICMP error that its length, pointer and next-hop MTU (RFC 4884) leave unused."""
    kind, code, length = raw[0], raw[1], raw[5]
    if kind == 3 and code == 4:
        return [raw[4:5] if length else raw[4:6]]
    if kind == 12:
        return [raw[6:8] if length else raw[5:8]]
    if kind in (3, 11):
        return [raw[4:5], raw[6:8]] if length else [raw[4:8]]
    return []


def _ipv4(address: str) -> int:
    """Return an address that scapy spells out as an unsigned integer."""
    return int(ipaddress.IPv4Address(address))
