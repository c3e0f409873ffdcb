"""Captures of crafted packets for the comparison with tshark: every odd header that real captures may bring.

`captures` gives them by name, always the same ones; `write` puts one into a file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

Frames = list[tuple[bytes, int]]
"""Packets of a capture: captured bytes and length on the wire."""

A, B, A6, B6 = "10.1.0.1", "10.1.0.2", "2001:db8::1", "2001:db8::2"
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
BUILDERS: dict[str, tuple[int, Callable[[], Frames]]] = {}


def capture(name: str, linktype: int = 1) -> Callable[[Callable[[], Frames]], Callable[[], Frames]]:
    """Register a builder under a name, with the link type of its packets."""

    def register(builder: Callable[[], Frames]) -> Callable[[], Frames]:
        BUILDERS[name] = (linktype, builder)
        return builder

    return register


def write(path: Path, linktype: int, frames: Frames) -> None:
    """Write a pcap file, a packet every 1,234 microseconds."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, linktype)]
    for number, (data, length) in enumerate(frames):
        micros = number * 1234
        out.append(
            struct.pack("<IIII", 1_600_000_000 + micros // 10**6, micros % 10**6, len(data), max(length, len(data)))
        )
        out.append(data)
    path.write_bytes(b"".join(out))


def whole(packets: Iterable[Packet | bytes]) -> Frames:
    """Return packets as captured whole."""
    return [(bytes(packet), len(bytes(packet))) for packet in packets]


def cuts(packet: Packet | bytes, most: int = 200) -> Frames:
    """Return a packet captured with every snap length from nothing but its first byte to all of it."""
    data = bytes(packet)
    return [(data[:size], len(data)) for size in range(1, min(len(data), most) + 1)]


def tcp_raw(
    sport: int, dport: int, seq: int, ack: int, flags: int, offset: int = 5, options: bytes = b"", urgent: int = 0
) -> bytes:
    """Return a TCP header with any data offset."""
    return struct.pack(">HHIIHHHH", sport, dport, seq, ack, offset << 12 | flags, 1000, 0x1234, urgent) + options


def segment(
    sport: int, dport: int, seq: int, ack: int, flags: int, *, payload: bytes = b"", source: str = A, target: str = B,
    offset: int = 5, options: bytes = b"", urgent: int = 0,
) -> Packet:  # fmt: skip
    """Return a TCP segment of raw fields over IPv4."""
    head = tcp_raw(sport, dport, seq, ack, flags, offset, options, urgent)
    return ETHER / IP(src=source, dst=target, proto=6) / Raw(head + payload)


@capture("tcp-connections")
def tcp_connections() -> Frames:
    """Starts in the middle, reused ports, SYN repeated, simultaneous open, RST and FIN with data."""
    s, sa, ack, pa, fa, r, ra = 2, 0x12, 0x10, 0x18, 0x11, 4, 0x14
    rows = [
        (1000, 80, 500, 900, ack), (1000, 80, 500, 901, pa), (1001, 80, 10, 0, s), (1001, 80, 10, 0, s),
        (1001, 80, 20, 0, s), (1001, 80, 20, 0, ra), (1001, 80, 20, 0, s), (1001, 80, 21, 50, ack),
        (1001, 80, 10, 0, s), (1002, 80, 7, 0, s), (1002, 80, 8, 99, fa), (1002, 80, 7, 0, s), (1002, 80, 30, 0, s),
        (1003, 80, 5, 0, r), (1003, 80, 6, 0, s), (1003, 80, 6, 7, sa), (1003, 80, 9, 7, sa), (1003, 80, 10, 8, ack),
        (1004, 80, 1, 1, 0), (1004, 80, 2, 1, 0x3F), (1004, 80, 3, 1, 0xFFF), (1004, 80, 3, 1, 0x29),
        (1005, 80, 77, 0, s | 1), (1005, 80, 78, 0, s | 4), (1006, 80, 0xFFFFFFF0, 0, s), (1006, 80, 0xFFFFFFF1, 5, pa),
        (1006, 80, 5, 0xFFFFFFFF, pa), (1006, 80, 0x80000000, 3, pa), (1007, 80, 0, 0, s), (1007, 80, 1, 0, r),
        (1008, 80, 100, 0xFFFFFFFF, pa), (1008, 80, 90, 1, pa), (1009, 80, 5, 1, ack), (1009, 80, 100, 0, s),
    ]  # fmt: skip
    packets = [segment(*row, payload=b"12345" if row[2] & 1 else b"") for row in rows]
    back = [
        (80, 1010, 0, 5, ra), (1010, 80, 4, 0, s), (80, 1010, 0, 5, ra), (80, 1011, 300, 5, sa), (1011, 80, 4, 0, s),
        (80, 1012, 4, 0, s), (1012, 80, 4, 0, s), (80, 1012, 9, 5, sa), (1012, 80, 9, 5, sa), (80, 1012, 10, 5, ack),
    ]  # fmt: skip
    packets += [segment(*row, source=B if row[0] == 80 else A, target=A if row[0] == 80 else B) for row in back]
    packets += [segment(5000, 5000, 1, 1, ack, source=A, target=A), segment(5000, 5001, 1, 1, ack, source=A, target=A)]
    packets += [segment(5001, 5000, 1, 2, ack, source=A, target=A), segment(0, 0, 1, 1, s), segment(0, 0, 5, 1, sa)]
    return whole(packets)


@capture("tcp-headers")
def tcp_headers() -> Frames:
    """Bad data offsets, options of all lengths, urgent data, ECN bits, segments shorter than their header."""
    packets: list[Packet] = []
    for offset in range(16):
        for flags in (2, 0x10, 0x18, 0x12, 0x1D8):
            packets.append(segment(2000 + offset, 80, 1000 + flags, 77, flags, offset=offset, payload=bytes(range(30))))
            packets.append(segment(2100 + offset, 80, 1000 + flags, 77, flags, offset=offset))
    packets += [
        segment(2200 + size, 80, 9, 9, 0x10, offset=5 + size // 4, options=b"\1" * size, payload=b"x")
        for size in range(0, 44, 4)
    ]
    options = [
        bytes([2, 4, 5, 0xB4]),
        bytes([2, 0, 0, 0]),
        bytes([3, 40, 1, 0]),
        bytes([8, 10, 0, 0]),
        bytes([0, 9, 9, 9]),
    ]
    packets += [segment(2300, 80, 9, 9, 0x10, offset=6, options=option, payload=b"y") for option in options]
    packets += [segment(2400, 80, 9, 9, 0x38, urgent=3, payload=b"urgent"), segment(2400, 80, 15, 9, 0x10, urgent=3)]
    return whole(packets)


@capture("ip-lengths")
def ip_lengths() -> Frames:
    """IPv4 lengths that are zero (segmentation by the card), short, long, with padding and trailers; odd versions."""
    packets: list[Packet | bytes] = []
    for inner in (TCP(sport=1, dport=2, flags="PA", seq=5, ack=6), UDP(sport=1, dport=2), ICMP(id=1, seq=2)):
        packets += [
            ETHER / IP(src=A, dst=B, len=total) / inner / Raw(b"0123456789") / Raw(bytes(8))
            for total in (0, 1, 19, 20, 21, 24, 27, 28, 30, 39, 40, 41, 45, 46, 48, 60, 200)
        ]
    packets += [
        ETHER / IP(src=A, dst=B, ihl=ihl) / TCP(sport=3, dport=4, flags="A") / Raw(bytes(30))
        for ihl in (0, 1, 4, 5, 6, 7, 15)
    ]
    for version in (0, 3, 5, 6, 15):
        packets.append(ETHER / IP(src=A, dst=B, version=version) / UDP(sport=3, dport=4) / Raw(bytes(30)))
        packets.append(ETHER / IPv6(src=A6, dst=B6, version=version) / UDP(sport=3, dport=4) / Raw(bytes(30)))
    packets += [
        ETHER / IP(src=A, dst=B, proto=proto) / Raw(bytes(range(40)))
        for proto in (0, 2, 6, 17, 33, 50, 51, 89, 103, 112, 132, 136, 255)
    ]
    return whole(packets)


@capture("ip-options")
def ip_options() -> Frames:
    """IPv4 options: source routes with pointers of all kinds, record route, timestamps, malformed ones."""
    route = b"\x05\x06\x07\x08\x09\x0a\x0b\x0c"
    options = [
        b"\x83\x0b\x04" + route + b"\0", b"\x83\x0b\x08" + route + b"\0", b"\x83\x0b\x0c" + route + b"\0",
        b"\x89\x0b\x04" + route + b"\0", b"\x89\x0b\x00" + route + b"\0", b"\x89\x0b\x05" + route + b"\0",
        b"\x89\x0b\xff" + route + b"\0", b"\x01\x83\x07\x04" + route[:4], b"\x00\x83\x07\x04" + route[:4],
        b"\x83\x03\x04\x00", b"\x83\x04\x04\x00", b"\x83\x02\x04\x00", b"\x83\x00\x04\x00", b"\x83\x08\x04" + route[:5],
        b"\x83\x0c\x04" + route + b"\0", b"\x07\x0b\x04" + route + b"\0", b"\x44\x0c\x05\x00" + route,
        b"\x07\x07\x04\x00\x00\x00\x00\x89\x07\x04\x01\x02\x03\x04\x00\x00", b"\x94\x04\x00\x00", b"\x01\x01\x01\x01",
        b"\x85\x00\x00\x00\x83\x07\x04\x01\x02\x03\x04\x00", b"\x85\x01\x00\x00\x83\x07\x04\x01\x02\x03\x04\x00",
        b"\x83\x10\x04" + route + b"\0", b"\x99\x04\x00\x00\x89\x07\x04\x01\x02\x03\x04\x00",
        b"\x07\x02\x89\x07\x04\x01\x02\x03\x04\x00\x00\x00", b"\x82\x04\x00\x00\x89\x07\x04\x01\x02\x03\x04\x00",
        b"\x94\x05\x00\x00\x89\x07\x04\x01\x02\x03\x04\x00",
    ]  # fmt: skip
    for kind in (
        2,
        5,
        7,
        10,
        11,
        12,
        68,
        82,
        130,
        131,
        133,
        134,
        136,
        137,
        142,
        145,
        147,
        148,
        149,
        150,
        151,
        205,
        255,
    ):
        options += [bytes([kind, size]) + bytes(range(1, 11)) for size in range(11 if kind == 134 else 14)]
    packets: list[bytes] = []
    for number, option in enumerate(options):
        head = bytes(IP(src=A, dst=B, ihl=5 + len(option) // 4, proto=6, len=20 + len(option) + 20))
        packets.append(bytes(ETHER)[:12] + b"\x08\x00" + head + option + tcp_raw(3000 + number, 80, 10, 20, 0x10))
    return whole(packets)


@capture("ethernet")
def ethernet() -> Frames:
    """Tags, lengths in place of types, LLC and SNAP, ether types at the border, paddings and trailers."""
    ip = IP(src=A, dst=B) / UDP(sport=7000, dport=7001) / Raw(b"abc")
    llc, snap = b"\x06\x06\x03", b"\xaa\xaa\x03\0\0\0\x08\x00"
    mac = bytes(ETHER)[:12]
    packets: list[Packet | bytes] = [ETHER / Dot1Q(vlan=5) / ip, ETHER / Dot1AD(vlan=6) / Dot1Q(vlan=5) / ip]
    packets += [ETHER / Dot1Q(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3) / ip, ETHER / Dot1Q(vlan=5) / ARP(psrc=A, pdst=B)]
    for head in (
        llc,
        snap,
        b"\xaa\xaa\x03\0\0\xf8\x08\x00",
        b"\xaa\xaa\x03\0\0\x0c\x08\x00",
        b"\xaa\xaa\x83\0\0\0\x08\x00",
    ):
        body = head + bytes(ip)
        for size in (len(body), len(body) - 1, len(body) + 4, 30, 3, 0, 1500):
            packets.append(mac + struct.pack(">H", size) + body + bytes(12))
            packets.append(mac + b"\x81\x00\x00\x05" + struct.pack(">H", size) + body + bytes(12))
            packets.append(mac + b"\x88\xa8\x00\x05\x81\x00\x00\x06" + struct.pack(">H", size) + body + bytes(12))
    for kind in (0x5DC, 0x5DD, 0x5FF, 0x600, 0x800, 0x806, 0x8035, 0x86DD, 0x9100, 0x9200, 0x88A8, 0x0004, 0xFFFF):
        packets.append(mac + struct.pack(">H", kind) + bytes(ip) + bytes(20))
        packets.append(mac + b"\x81\x00\x00\x05" + struct.pack(">H", kind) + bytes(ip) + bytes(20))
    packets += [mac + b"\x81\x00\x00\x05\x81\x00\x00\x05\x00\x2a" + llc + bytes(ip) + bytes(30)]
    packets += [
        mac + b"\x88\x47\x00\x01\x00\xff\x00\x01\x01\xff" + bytes(ip),
        mac + b"\x88\x48\x00\x01\x01\xff" + bytes(ip),
    ]
    packets += [
        mac
        + b"\x88\x47\x00\x01\x01\xff\0\0\0\0"
        + b"\x00\x1b\x21\xaa\xbb\xcc\x00\x50\x56\xc0\xd1\xe2\x08\0"
        + bytes(ip)
    ]
    packets += [mac + b"\x88\x64\x11\x00\x00\x01" + struct.pack(">H", len(ip) + 2) + b"\x00\x21" + bytes(ip) + bytes(9)]
    packets += [mac + b"\x89\x3f\0\0\0\0\0\0\x08\0" + bytes(ip), mac + b"\x89\x09\x01\x01\0\1\0\5\x08\0" + bytes(ip)]
    packets += [
        mac + b"\x89\x4f\x0f\xc2\x02" + bytes([kind]) + b"\0\0\1\2" + bytes(inner)
        for kind, inner in (
            (1, ip),
            (2, IPv6(src=A6, dst=B6) / UDP()),
            (3, ETHER / ip),
            (5, b"\x00\x01\x01\xff" + bytes(ip)),
            (9, ip),
        )
    ]
    return whole(packets)


@capture("arp")
def arp() -> Frames:
    """ARP of odd sizes and types, gratuitous, probes, RARP; also cut."""
    packets: list[Packet | bytes] = [ETHER / ARP(op=op, psrc=A, pdst=A) for op in (0, 1, 2, 3, 4, 8, 25, 65535)]
    packets += [ETHER / ARP(psrc="0.0.0.0", pdst=B), Ether(type=0x8035) / ARP(op=3, psrc=A, pdst=B)]  # noqa: S104
    mac = bytes(ETHER)[:12] + b"\x08\x06"
    for hardware in (0, 1, 2, 6, 8, 15, 16, 20, 255):
        for protocol_size in (0, 1, 4, 6, 16):
            for kind in (0x0800, 0x86DD, 0x0001):
                body = struct.pack(">HHBBH", 1, kind, hardware, protocol_size, 1) + bytes(range(1, 60))
                packets.append(mac + body)
    packets += [
        mac + struct.pack(">HHBBH", hardware_type, 0x0800, 6, 4, 1) + bytes(range(1, 40))
        for hardware_type in (0, 6, 7, 15, 16, 19, 20, 24, 27, 32)
    ]
    return whole(packets) + cuts(ETHER / ARP(psrc=A, pdst=B)) + cuts(ETHER / Dot1Q(vlan=3) / ARP(psrc=A, pdst=B))
