"""Captures of crafted packets, second part: errors that quote, cuts, extension headers, fragments, tunnels, links."""

from __future__ import annotations

import random
import struct

from scapy.layers.inet import ICMP, IP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    fragment6,
)
from scapy.layers.l2 import ARP, GRE, Ether
from scapy.packet import Packet, Raw

from tests.support.crafted_headers import A6, B6, ETHER, A, B, Frames, capture, cuts, tcp_raw, whole

UDP_PACKET = IP(src=A, dst=B) / UDP(sport=7000, dport=7001) / Raw(b"0123456789abcdef")
TCP_PACKET = IP(src=B, dst=A, proto=6) / Raw(
    tcp_raw(80, 4000, 100, 200, 0x18, 8, b"\1" * 12) + b"payload of the segment"
)
UDP6_PACKET = IPv6(src=A6, dst=B6) / UDP(sport=7000, dport=7001) / Raw(b"0123456789abcdef")


@capture("cuts")
def cut_everywhere() -> Frames:
    """Every snap length of a packet of each kind."""
    frames: Frames = []
    options = IP(src=A, dst=B, ihl=8, proto=6, len=32 + 32 + 4)
    route = b"\x83\x0b\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\0"
    for packet in (
        ETHER / TCP_PACKET,
        ETHER / UDP_PACKET,
        ETHER / UDP6_PACKET,
        bytes(ETHER)[:12] + b"\x08\x00" + bytes(options) + route + tcp_raw(5, 6, 7, 8, 0x18, 8, b"\1" * 12) + b"data",
        ETHER / IP(src=A, dst=B) / ICMP(type=8, id=1, seq=2) / Raw(b"ping"),
        ETHER / IP(src=A, dst=B) / ICMP(type=13, id=1, seq=2, ts_ori=1, ts_rx=2, ts_tx=3),
        ETHER / IP(src=B, dst=A) / ICMP(type=3, code=1) / UDP_PACKET,
        ETHER / IP(src=B, dst=A) / ICMP(type=11) / TCP_PACKET,
        ETHER
        / IPv6(src=A6, dst=B6, nh=0)
        / IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)])
        / UDP(sport=1, dport=2),
        ETHER / IPv6(src=A6, dst=B6) / ICMPv6EchoRequest(data=b"abc"),
        ETHER / IP(src=A, dst=B) / GRE(key_present=1, key=5) / UDP_PACKET,
    ):
        frames += cuts(packet)
    return frames


@capture("icmp")
def icmp() -> Frames:
    """ICMP of every type and code, errors that quote TCP and UDP in part and whole, with RFC 4884 lengths."""
    packets: list[Packet | bytes] = []
    quotes = [
        bytes(UDP_PACKET),
        bytes(TCP_PACKET),
        bytes(TCP_PACKET)[:28],
        bytes(UDP_PACKET)[:28],
        bytes(UDP_PACKET)[:24],
    ]
    for kind in [*range(20), *range(30, 44), 253, 255]:
        for code in (0, 1, 3, 4, 5, 13):
            body = struct.pack(">BBHHH", kind, code, 0x1234, 0x0102, 0x0304)
            packets.append(ETHER / IP(src=B, dst=A, proto=1) / Raw(body + quotes[(kind + code) % 5]))
    for kind in (3, 4, 5, 11, 12):
        for length in (0, 1, 5, 16, 255):
            for quote in quotes:
                body = struct.pack(">BBHBBH", kind, 0, 0x1234, 9, length, 0x0304)
                packets.append(ETHER / IP(src=B, dst=A, proto=1) / Raw(body + quote))
    for kind in (13, 14, 15, 16, 17, 18):
        packets += [
            ETHER / IP(src=B, dst=A, proto=1) / Raw(struct.pack(">BBHHH", kind, 0, 1, 2, 3) + bytes(range(size)))
            for size in range(0, 24)
        ]
    packets += [ETHER / IP(src=B, dst=A, proto=1) / Raw(bytes([8, 0, 1, 2, 3, 4, 5, 6])[:size]) for size in range(0, 9)]
    nested = IP(src=A, dst=B) / ICMP(type=3) / IP(src=B, dst=A) / ICMP(type=11) / UDP_PACKET
    packets += [ETHER / nested, ETHER / IP(src=A, dst=B) / ICMP(type=3) / IP(src=B, dst=A, frag=4) / Raw(bytes(30))]
    packets += [
        ETHER / IP(src=A, dst=B) / ICMP(type=3) / IP(src=B, dst=A, flags="MF") / UDP(sport=9, dport=9) / Raw(bytes(30))
    ]
    for kind in (1, 2, 3, 4, 128, 129, 133, 135, 137, 143):
        body = struct.pack(">BBHI", kind, 0, 0, 0)
        packets.append(ETHER / IPv6(src=B6, dst=A6, nh=58) / Raw(body + bytes(UDP6_PACKET)))
    redirect = struct.pack(">BBHI", 137, 0, 0, 0) + bytes(32)
    inner = bytes(UDP6_PACKET)
    packets.append(
        ETHER / IPv6(src=B6, dst=A6, nh=58) / Raw(redirect + b"\2\1" + bytes(6) + b"\4\x09" + bytes(6) + inner)
    )
    return whole(packets)


@capture("udp")
def udp() -> Frames:
    """UDP lengths of zero, too short, too long, without payload; UDP-Lite; equal ports and addresses."""
    packets: list[Packet] = []
    for version in (IP(src=A, dst=B, proto=17), IPv6(src=A6, dst=B6, nh=17)):
        packets += [
            ETHER / version / Raw(struct.pack(">HHHH", 6000 + size % 100, 6001, size, 0) + b"0123456789")
            for size in (0, 1, 7, 8, 9, 12, 18, 19, 40, 65535)
        ]
        packets += [ETHER / version / Raw(struct.pack(">HHHH", 6000, 6001, 8, 0)[:size]) for size in range(9)]
    packets += [ETHER / IP(src=A, dst=B, proto=136) / Raw(struct.pack(">HHHH", 6, 7, 8, 0) + b"lite")]
    packets += [
        ETHER / IP(src=A, dst=A) / UDP(sport=5, dport=5),
        ETHER / IP(src=A, dst=A) / UDP(sport=5, dport=6) / Raw(b"x"),
    ]
    packets += [
        ETHER / IP(src=A, dst=A) / UDP(sport=6, dport=5) / Raw(b"x"),
        ETHER / IP(src=B, dst=A) / UDP(sport=0, dport=0),
    ]
    for source, target in ((7000, 161), (161, 7000), (7000, 161), (161, 7000), (7000, 162), (7001, 161), (7001, 161)):
        ends = IP(src=A, dst=B) if target in (161, 162) else IP(src=B, dst=A)
        get = bytes.fromhex("302602010104067075626c6963a019020101020100020100300e300c06082b060102010101000500")
        packets.append(ETHER / ends / UDP(sport=source, dport=target) / Raw(get))
    for number, body in enumerate(
        (b"", b"\x30", b"x" * 20, get[:20], b"\x30\x03\x02\x01\x01", b"\x30\x02\x04\x00", b"\x31" + get)
    ):
        for target in (161, 162):
            ports = UDP(sport=7100 + number, dport=target)
            packets += [ETHER / IP(src=A, dst=B) / ports / Raw(body), ETHER / IP(src=A, dst=B) / ports / Raw(get)]
            packets += [ETHER / IP(src=A, dst=B) / ports / Raw(body)]
    return whole(packets)


@capture("ipv6")
def ipv6() -> Frames:
    """Extension headers in every order, routing headers, jumbo, bad lengths, no next header, unknown ones."""
    tail = UDP(sport=8000, dport=8001) / Raw(b"0123456789")
    packets: list[Packet | bytes] = [
        ETHER / IPv6(src=A6, dst=B6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / tail,
        ETHER / IPv6(src=A6, dst=B6) / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(addresses=["2001:db8::9"]) / tail,
        ETHER / IPv6(src=A6, dst=B6) / IPv6ExtHdrRouting(addresses=["2001:db8::9", "2001:db8::8"], segleft=1) / tail,
        ETHER / IPv6(src=A6, dst=B6) / IPv6ExtHdrRouting(addresses=["2001:db8::9", "2001:db8::8"], segleft=0) / tail,
        ETHER / IPv6(src=A6, dst=B6) / IPv6ExtHdrFragment(offset=0, m=0, id=5) / tail,
        ETHER / IPv6(src=A6, dst=B6, nh=59) / Raw(bytes(20)),
    ]
    for kind in (0, 43, 44, 50, 51, 60, 135, 139, 41, 4, 47, 89, 253, 255):
        for length in (0, 1, 2, 4, 200):
            head = bytes([17, length]) + bytes([4, 0, 1, 0, 0, 0])
            packets.append(
                ETHER / IPv6(src=A6, dst=B6, nh=kind) / Raw(head + bytes(length * 8 if length < 9 else 0) + bytes(tail))
            )
    for kind in range(5):
        head = bytes([17, 4, kind, 1, 0, 0, 0, 0]) + bytes(range(32))
        packets.append(ETHER / IPv6(src=A6, dst=B6, nh=43) / Raw(head + bytes(tail)))
    for options in (
        b"\xc9\x10" + bytes(range(16)) + b"\1\2\0\0",
        b"\x05\x02\0\0\1\0\1\xff",
        b"\0\0\0\0\0\0",
        b"\xca\x90\0\0\0\0",
    ):
        for kind in (0, 60):
            body = bytes([17, (len(options) + 2 + 7) // 8 - 1]) + options
            packets.append(ETHER / IPv6(src=A6, dst=B6, nh=kind) / Raw(body + bytes(-len(body) % 8) + bytes(tail)))
    for size in (0, 1, 7, 8, 12, 18, 100):
        packets.append(ETHER / IPv6(src=A6, dst=B6, nh=17, plen=size) / tail)
        packets.append(ETHER / IPv6(src=A6, dst=B6, nh=6, plen=size) / Raw(tcp_raw(1, 2, 3, 4, 0x10) + b"abc"))
    jumbo = b"\x11\0\xc2\x04" + struct.pack(">I", 8 + 18)
    packets.append(ETHER / IPv6(src=A6, dst=B6, nh=0, plen=0) / Raw(jumbo + bytes(tail)))
    return whole(packets)


@capture("fragments")
def fragments() -> Frames:
    """Datagrams in fragments, in order, in disorder, overlapping, twice, never whole; over IPv4, IPv6 and PPP."""
    shuffle = random.Random(7)
    packets: list[Packet] = []
    for number in range(6):
        datagram = IP(src=A, dst=B, id=number) / UDP(sport=9000, dport=9001) / Raw(bytes(range(200)) * 2)
        parts = [ETHER / one for one in fragment(datagram, 64)]
        if number == 1:
            parts.reverse()
        elif number == 2:
            shuffle.shuffle(parts)
        elif number == 3:
            parts.insert(2, parts[1])
        elif number == 4:
            del parts[2]
        packets += parts
    segment = IP(src=A, dst=B, id=50, proto=6) / Raw(tcp_raw(4000, 80, 10, 20, 0x18) + b"0123456789" * 30)
    packets += [ETHER / one for one in fragment(segment, 104)]
    packets += [ETHER / one for one in fragment(segment, 104)]
    six = IPv6(src=A6, dst=B6) / IPv6ExtHdrFragment(id=77) / UDP(sport=9000, dport=9001) / Raw(bytes(range(250)) * 2)
    packets += [ETHER / one for one in fragment6(six, 200)]
    packets += [ETHER / one for one in reversed(fragment6(six, 160))]
    tiny = IP(src=A, dst=B, id=60, flags="MF", proto=6) / Raw(tcp_raw(4001, 80, 10, 20, 2)[:8])
    rest = IP(src=A, dst=B, id=60, frag=1, proto=6) / Raw(tcp_raw(4001, 80, 10, 20, 2)[8:])
    packets += [ETHER / tiny, ETHER / rest, ETHER / UDP_PACKET, ETHER / TCP_PACKET]
    return whole(packets)


@capture("tunnels")
def tunnels() -> Frames:
    """GRE of all flags, IP in IP, 6in4, VXLAN, Geneve, GTP, Teredo, L2TP's neighbours, AH, nested deep."""
    packets: list[Packet | bytes] = []
    outer = IP(src="192.0.2.1", dst="192.0.2.2")
    inner, frame = bytes(UDP_PACKET), bytes(ETHER / TCP_PACKET)
    for flags in (0, 0x8000, 0x2000, 0x1000, 0xB000, 0x3000):
        size = 4 * ((flags >> 15 & 1) + (flags >> 13 & 1) + (flags >> 12 & 1))
        for kind, body in (
            (0x800, inner),
            (0x86DD, bytes(UDP6_PACKET)),
            (0x6558, frame),
            (0x8847, b"\0\1\1\xff" + inner),
            (0x1234, inner),
        ):
            packets.append(ETHER / outer.copy() / Raw(b""))
            packets[-1] = (
                ETHER
                / IP(src="192.0.2.1", dst="192.0.2.2", proto=47)
                / Raw(struct.pack(">HH", flags, kind) + bytes(size) + body)
            )
    packets += [ETHER / outer / UDP_PACKET, ETHER / outer / UDP6_PACKET, ETHER / outer / outer / outer / TCP_PACKET]
    packets += [ETHER / IPv6(src=A6, dst=B6) / UDP_PACKET, ETHER / IPv6(src=A6, dst=B6) / UDP6_PACKET]
    for port, body in (
        (4789, b"\x08\0\0\0\0\0\5\0" + frame),
        (4790, b"\x0c\0\0\1\0\0\5\0" + inner),
        (6081, b"\0\0\x65\x58\0\0\5\0" + frame),
        (6081, b"\x02\0\x65\x58\0\0\5\0" + bytes(8) + frame),
        (6081, b"\0\0\x08\0\0\0\5\0" + inner),
        (2152, struct.pack(">BBHI", 0x30, 255, len(inner), 5) + inner),
        (2152, struct.pack(">BBHI", 0x32, 255, len(inner) + 4, 5) + bytes(4) + inner),
        (2152, struct.pack(">BBHI", 0x34, 255, len(inner) + 8, 5) + b"\0\0\0\x85\1\0\1\0" + inner),
        (2152, struct.pack(">BBHI", 0x32, 1, 4, 0) + bytes(4)),
        (3544, bytes(UDP6_PACKET)),
        (3544, bytes(8) + bytes(UDP6_PACKET)),
        (4754, b"\0\0\x08\0" + inner),
        (6635, b"\0\1\1\xff" + inner),
    ):
        packets.append(ETHER / outer / UDP(sport=50000, dport=port) / Raw(body))
        packets.append(ETHER / outer / UDP(sport=50000, dport=port) / Raw(body[:-20]))
        packets.append(ETHER / outer / UDP(sport=50000, dport=port) / Raw(body[:6]))
    packets.append(
        ETHER / IP(src=A, dst=B, proto=51) / Raw(b"\x11\4" + bytes(22) + bytes(UDP(sport=1, dport=2) / Raw(b"ah")))
    )
    packets.append(ETHER / IP(src=A, dst=B, proto=97) / Raw(b"\x30\0" + frame))
    packets.append(ETHER / IP(src=A, dst=B, proto=137) / Raw(b"\0\1\1\xff" + inner))
    return whole(packets)


for _name, _linktype, _head in (
    ("null-little", 0, b"\2\0\0\0"), ("null-big", 0, b"\0\0\0\2"), ("loop", 108, b"\0\0\0\2"), ("raw", 101, b""),
    ("raw-ipv4", 228, b""), ("sll", 113, b"\0\0\0\1\0\6\2\0\0\0\0\1\0\0\x08\0"),
    ("sll2", 276, b"\x08\0\0\0\0\0\0\3\0\1\0\6\2\0\0\0\0\1\0\0"), ("ppp", 9, b"\xff\3\0\x21"),
    ("ppp-short", 9, b"\x21"), ("hdlc", 104, b"\x0f\0\x08\0"), ("frame-relay", 107, b"\x18\x41\x03\xcc"),
    ("frame-relay-type", 107, b"\x18\x41\x08\0"),
    ("fddi", 10, b"\x50" + bytes(12) + b"\xaa\xaa\3\0\0\0\x08\0"), ("nflog", 239, b"\2\0\0\1\x44\0\x09\0"),
    ("wireless", 105, b"\x08\1" + bytes(22) + b"\xaa\xaa\3\0\0\0\x08\0"),
    ("wireless-qos", 105, b"\x88\3" + bytes(28) + bytes(2) + b"\xaa\xaa\3\0\0\0\x08\0"),
    ("radiotap", 127, b"\0\0\x09\0\2\0\0\0\0\x08\2" + bytes(22) + b"\xaa\xaa\3\0\0\0\x08\0"),
):  # fmt: skip

    def _link(head: bytes = _head) -> Frames:
        packets = [head + bytes(UDP_PACKET), head + bytes(TCP_PACKET), head + bytes(UDP_PACKET) + bytes(7)]
        return whole(packets) + cuts(head + bytes(UDP_PACKET))

    capture(f"link-{_name}", _linktype)(_link)


@capture("link-loopback-ipv6", 0)
def loopback_ipv6() -> Frames:
    """BSD loopback with every address family, IPv6's among them."""
    families = (1, 2, 7, 10, 23, 24, 28, 30, 99, 0x800, 0x86DD)
    return whole(struct.pack("<I", family) + bytes(UDP6_PACKET) for family in families) + whole(
        struct.pack(">I", family) + bytes(UDP_PACKET) for family in families
    )


@capture("link-cooked-arp", 113)
def cooked_arp() -> Frames:
    """ARP, gratuitous and not, over cooked capture, with link address lengths and protocols of all kinds."""
    frames: list[bytes] = []
    for kind in (1, 512, 772, 778, 803, 824):
        for protocol in (0x806, 0x800, 0x8035, 0x86DD, 0x8100, 1, 4, 0):
            head = struct.pack(">HHH8sH", 0, kind, 6, bytes(8), protocol)
            frames.append(head + bytes(ARP(psrc=A, pdst=A)) + bytes(18))
            frames.append(head + bytes(UDP_PACKET))
    return whole(frames)


@capture("link-cooked2-arp", 276)
def cooked2_arp() -> Frames:
    """The same over cooked capture version 2."""
    frames: list[bytes] = []
    for kind in (1, 512, 772, 778, 803, 824):
        for protocol in (0x806, 0x800, 0x8035, 0x86DD, 0x8100, 1, 4, 0):
            head = struct.pack(">HHIHBB8s", protocol, 0, 3, kind, 0, 6, bytes(8))
            frames.append(head + bytes(ARP(psrc=A, pdst=A)) + bytes(18))
            frames.append(head + bytes(UDP_PACKET))
    return whole(frames)


@capture("raw-mixed", 101)
def raw_mixed() -> Frames:
    """Raw IP of both versions, and what is neither."""
    return whole(
        [bytes(UDP_PACKET), bytes(UDP6_PACKET), bytes(Ether() / UDP_PACKET), b"\x00" * 20, b"\x50" * 20, b"\x45"]
    )
