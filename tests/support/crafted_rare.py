"""Captures of crafted packets, third part: samples and aggregates, wireless headers, fragments cut short, mutations."""

from __future__ import annotations

import random
import struct

from scapy.layers.inet import ICMP, IP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import ARP
from scapy.packet import Packet, Raw

from tests.support.crafted_headers import A6, B6, BUILDERS, ETHER, A, B, Frames, capture, cuts, tcp_raw, whole
from tests.support.crafted_tunnels import TCP_PACKET, UDP6_PACKET, UDP_PACKET

ADDRESSES = bytes(range(0x11, 0x11 + 20)) + b"\0\0" + bytes(range(0x31, 0x31 + 20))  # of an 802.11 header
SNAP = b"\xaa\xaa\3\0\0\0\x08\0"


@capture("spelled")
def spelled() -> Frames:
    """IPv6 addresses whose text has a shorter form, or one with a dotted part."""
    addresses = (
        "::", "::1", "::1.2.3.4", "::0.1.0.2", "::ffff:1.2.3.4", "::ffff:0:1.2.3.4", "64:ff9b::1.2.3.4",
        "2001:db8:0:0:1::", "2001:0:0:1::2", "1:0:1:0:1:0:1:0", "0:1:1:1:1:1:1:1", "fe80::200:5efe:a00:1",
    )  # fmt: skip
    return whole(ETHER / IPv6(src=each, dst=B6) / UDP(sport=1, dport=2) / Raw(b"spelled") for each in addresses)


@capture("fragments-cut")
def fragments_cut() -> Frames:
    """First fragments that were not captured whole, fragments within errors, more fragments than one id."""
    datagram = IP(src=A, dst=B, id=5) / UDP(sport=9000, dport=9001) / Raw(bytes(range(200)) * 2)
    segment = IP(src=A, dst=B, id=6, proto=6) / Raw(tcp_raw(4000, 80, 10, 20, 0x18) + b"0123456789" * 30)
    six = IPv6(src=A6, dst=B6) / IPv6ExtHdrFragment(id=77) / UDP(sport=9000, dport=9001) / Raw(bytes(range(250)) * 2)
    frames: Frames = []
    for parts in (fragment(datagram, 64), fragment(segment, 64), fragment6(six, 200)):
        for part in parts[:2]:
            frames += cuts(ETHER / part)
        frames += whole(ETHER / part for part in parts)
    quoted = [bytes(part) for part in (*fragment(datagram, 64)[:2], *fragment(segment, 64)[:2])]
    for quote in quoted:
        for size in (20, 24, 28, 40, 48, len(quote)):
            frames += whole([ETHER / IP(src=B, dst=A) / ICMP(type=11) / Raw(quote[:size])])
    for part in fragment6(six, 200)[:2]:
        for size in (44, 48, 52, 56, 100, 200):
            error = struct.pack(">BBHI", 3, 0, 0, 0) + bytes(part)[:size]
            frames += whole([ETHER / IPv6(src=B6, dst=A6, nh=58) / Raw(error)])
    return frames


@capture("sflow")
def sflow() -> Frames:
    """sFlow datagrams of samples of every kind and agent address, also cut."""
    frame, other = bytes(ETHER / TCP_PACKET), bytes(ETHER / UDP_PACKET)

    def record(kind: int, protocol: int, body: bytes) -> bytes:
        header = struct.pack(">IIII", protocol, len(body) + 4, 4, len(body)) + body + bytes(-len(body) % 4)
        return struct.pack(">II", kind, len(header)) + header

    def sample(kind: int, *records: bytes) -> bytes:
        head = struct.pack(">11I", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, len(records)) if kind == 3 else None
        head = head or struct.pack(">8I", 1, 2, 3, 4, 5, 6, 7, len(records))
        return struct.pack(">II", kind, len(head) + sum(map(len, records))) + head + b"".join(records)

    counters = struct.pack(">II", 2, 12) + struct.pack(">III", 1, 2, 0)
    samples = [
        sample(1, record(1, 1, frame)),
        sample(1, record(1, 1, frame), struct.pack(">II", 1001, 16) + bytes(16), record(1, 1, other)),
        sample(3, record(1, 1, other)), counters, sample(1, record(1, 11, bytes(UDP_PACKET))),
        sample(1, record(1, 12, bytes(UDP6_PACKET))), sample(1, record(1, 1, frame[:40])), sample(1),
    ]  # fmt: skip
    packets: list[Packet] = []
    for count in range(1, len(samples) + 1):
        for agent in (struct.pack(">I", 1) + bytes(4), struct.pack(">I", 2) + bytes(16)):
            head = struct.pack(">I", 5) + agent + struct.pack(">IIII", 0, 1, 2, count)
            body = head + b"".join(samples[:count])
            packets.append(ETHER / IP(src=A, dst=B) / UDP(sport=40000, dport=6343) / Raw(body))
    return whole(packets)


@capture("wireless-frames", 105)
def wireless_frames() -> Frames:
    """802.11 frames of every type, to and from the system, encrypted, fragments, aggregates."""
    frames: list[bytes] = []
    frames += [bytes([control, 1]) + bytes(range(2, 30)) + SNAP + bytes(UDP_PACKET) for control in range(0, 256, 4)]
    for flags in (0, 1, 2, 3, 4, 8, 0x10, 0x20, 0x40, 0x41, 0x80, 0x81):
        for control in (0x08, 0x88):
            frames += [
                bytes([control, flags]) + ADDRESSES[: size - 2] + SNAP + bytes(UDP_PACKET)
                for size in (24, 26, 30, 32, 36)
                if flags & 3 != 3 or size >= 30
            ]
    frames += [b"\x08\1" + bytes(20) + struct.pack("<H", number) + SNAP + bytes(UDP_PACKET) for number in (16, 32)]
    parts = b""
    for packet in (UDP_PACKET, TCP_PACKET, UDP_PACKET):
        body = SNAP + bytes(packet)
        parts += bytes(-len(parts) % 4) + bytes(12) + struct.pack(">H", len(body)) + body
    frames.append(b"\x88\2" + bytes(22) + b"\x80\0" + parts)
    frames.append(b"\x88\2" + bytes(22) + b"\x80\0" + parts[:100])
    return whole(frames)


@capture("radiotap-frames", 127)
def radiotap_frames() -> Frames:
    """Radiotap headers with fields before the flags, check sequences, padding, more words, bad lengths."""
    frame = b"\x88\1" + bytes(22) + bytes(2) + SNAP + bytes(UDP_PACKET)
    padded = b"\x88\1" + bytes(22) + bytes(2) + bytes(2) + SNAP + bytes(UDP_PACKET)
    frames: list[bytes] = []
    for flags in (0, 0x10, 0x20, 0x30, 0x40):
        body = (padded if flags & 0x20 else frame) + (b"\1\2\3\4" if flags & 0x10 else b"")
        frames.append(b"\0\0\x09\0\2\0\0\0" + bytes([flags]) + body)
        frames.append(b"\0\0\x11\0\3\0\0\0" + bytes(8) + bytes([flags]) + body)
        frames.append(b"\0\0\x19\0\3\0\0\x80\0\0\0\0" + bytes(4) + bytes(8) + bytes([flags]) + body)
    frames += [b"\0\0\x08\0\0\0\0\0" + frame, b"\0\0\x04\0\0\0\0\0" + frame, b"\0\0\xff\0\0\0\0\0" + frame]
    return whole(frames)


@capture("tags")
def tags() -> Frames:
    """GRE with routing, PPTP and ERSPAN; MPLS with every first nibble; Geneve's options; GTP's extensions."""
    inner, frame = bytes(UDP_PACKET), bytes(ETHER / TCP_PACKET)
    mac = bytes(ETHER)[:12]
    packets: list[Packet | bytes] = []
    frame = b"\x00\x1b\x21\xaa\xbb\xcc\x00\x50\x56\xc0\xd1\xe2\x08\x00" + bytes(TCP_PACKET)
    for nibble in range(16):
        body = bytes([nibble << 4]) + frame[1:]
        packets.append(mac + b"\x88\x47\0\1\1\xff" + body)
        packets.append(mac + b"\x88\x47\0\1\1\xff\0\0\0\0" + body)
    for kind in (
        0x806,
        0x8035,
        0x8100,
        0x88A8,
        0x8847,
        0x8848,
        0x8864,
        0x893F,
        0x8909,
        0x88E7,
        0x8926,
        4,
        0x200,
        0x883E,
    ):
        for body in (
            b"\0\5\x08\0" + inner,
            b"\0\1\1\xff" + inner,
            bytes(ARP(psrc=A, pdst=B)),
            bytes(6) + b"\x08\0" + inner,
        ):
            packets.append(ETHER / IP(src=A, dst=B, proto=47) / Raw(struct.pack(">HH", 0, kind) + body))
            head = struct.pack(">BBHI", 0, 0, kind, 5)
            packets.append(ETHER / IP(src=A, dst=B) / UDP(sport=50000, dport=6081) / Raw(head + body))
    for flags, kind, body in (
        (0x4000, 0x800, bytes(8) + inner), (0x3001, 0x880B, bytes(8) + b"\xff\3\0\x21" + inner),
        (0x2001, 0x880B, bytes(4) + b"\0\x21" + inner), (0x3081, 0x880B, bytes(12) + b"\x21" + inner),
        (0x1000, 0x88BE, bytes(4) + b"\x10" + bytes(7) + frame), (0, 0x88BE, frame), (0, 0, inner),
        (0x1000, 0x22EB, bytes(4) + b"\x20" + bytes(11) + frame), (7, 0x800, inner),
        (0x1000, 0x22EB, bytes(4) + b"\x20" + bytes(10) + b"\1" + bytes(8) + frame), (0, 0x8100, b"\0\5\x08\0" + inner),
        (0, 0x894F, b"\x0f\xc2\2\1\0\0\1\2" + inner), (0x2000, 0x6559, bytes(4) + inner),
    ):  # fmt: skip
        packets.append(ETHER / IP(src=A, dst=B, proto=47) / Raw(struct.pack(">HH", flags, kind) + body))
    return whole(packets)


def mutated(seed: int, names: tuple[str, ...], count: int) -> Frames:
    """Return packets of other captures with a few bytes changed, and some of them cut."""
    choice = random.Random(seed)
    frames: Frames = []
    for name in names:
        source = BUILDERS[name][1]()
        for _ in range(count):
            data, length = choice.choice(source)
            changed = bytearray(data)
            for _ in range(choice.choice((1, 1, 2, 4))):
                changed[choice.randrange(len(changed))] = choice.choice((0, 1, 6, 17, 255, choice.randrange(256)))
            size = len(changed) if choice.random() < 0.8 else choice.randrange(1, len(changed) + 1)
            frames.append((bytes(changed[:size]), length))
    return frames


@capture("mutated")
def mutations() -> Frames:
    """Every kind of Ethernet packet above, damaged."""
    names = (
        "tcp-headers",
        "ip-options",
        "ip-lengths",
        "ethernet",
        "icmp",
        "ipv6",
        "tunnels",
        "fragments",
        "cuts",
        "arp",
    )
    return mutated(1, names, 60)
