"""Mutated packets: real and crafted ones with fields that lie, cut, spliced, wrapped in tunnels, fragmented, resent."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.capture.block import Interface, PacketBlock
from offramp.capture.dissect.link.link_types import LINK_TYPES
from offramp.capture.sources.file.files import open_captures
from offramp.errors import InputError
from tests.fuzz.payloads import GRAMMARS

BYTES = (0, 1, 2, 3, 4, 5, 6, 15, 16, 20, 0x40, 0x45, 0x4F, 0x60, 0x7F, 0x80, 0xC0, 0xFE, 0xFF)
ETHER_TYPES = (0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8, 0x8847, 0x8864, 0x88E7, 0x6558, 0x8926, 0x05DC, 4)
PROTOCOLS = (0, 1, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 97, 132, 135, 137, 255)
TUNNEL_PORTS = (4789, 6081, 2152, 3544, 6635, 8472, 53, 80)
TARGET_MAC = bytes.fromhex("020000000001020000000002")


def ipv4(payload: bytes, protocol: int, *, offset: int = 0, name: int = 7, host: int = 1) -> bytes:
    """Return an IPv4 packet; offset: the fragment field with its flags."""
    head = struct.pack(
        ">BBHHHBBHII", 0x45, 0, 20 + len(payload), name, offset, 64, protocol, 0, 0x0A000000 | host, 0x0A0000FE
    )
    return head + payload


def ethernet(payload: bytes, kind: int = 0x0800) -> bytes:
    """Return an Ethernet frame."""
    return TARGET_MAC + struct.pack(">H", kind) + payload


def segment(payload: bytes, port: int, sequence: int, flags: int, near: int) -> bytes:
    """Return a TCP segment towards `port`, or from it where the flags say so (bit 12)."""
    ports = (port, near) if flags & 0x1000 else (near, port)
    return struct.pack(">HHIIHHHH", *ports, sequence & 0xFFFFFFFF, 1, 0x5000 | flags & 0xFFF, 512, 0, 0) + payload


def datagram(payload: bytes, port: int, near: int) -> bytes:
    """Return a UDP datagram towards `port`."""
    return struct.pack(">HHHH", near, port, 8 + len(payload), 0) + payload


def quoted(rng: random.Random, packet: bytes, inner: bytes) -> bytes:
    """Return an ICMP error that quotes an IP packet."""
    head = struct.pack(">BBHI", rng.choice((3, 11, 12)), rng.randrange(16), 0, rng.randrange(1 << 32))
    return ethernet(ipv4(head + inner, 1))


def extended(rng: random.Random, packet: bytes, inner: bytes) -> bytes:
    """Return an IPv6 packet with an extension header before something that may fit its next header or not."""
    head = struct.pack(">IHBB", 0x60000000, len(inner) + 8, rng.choice((0, 43, 44, 60)), 1) + bytes(32)
    extension = struct.pack(">BBHI", rng.choice(PROTOCOLS), rng.choice((0, 1, 255)), rng.choice((0, 1, 8)), 7)
    return ethernet(head + extension + inner, 0x86DD)


WRAPPINGS: tuple[Callable[[random.Random, bytes, bytes], bytes], ...] = (
    lambda rng, packet, inner: ethernet(ipv4(inner, rng.choice((4, 41)))),
    lambda rng, packet, inner: ethernet(ipv4(struct.pack(">HH", rng.choice((0, 0xB000, 0x1001)), 0x0800) + inner, 47)),
    lambda rng, packet, inner: ethernet(ipv4(datagram(rng.randbytes(8) + packet, rng.choice(TUNNEL_PORTS), 999), 17)),
    lambda rng, packet, inner: ethernet(struct.pack(">HH", 5, 0x0800) + inner, 0x8100),
    lambda rng, packet, inner: ethernet(struct.pack(">I", rng.randrange(1 << 32)) + inner, 0x8847),
    quoted,
    extended,
)
"""Ways to put a frame (`packet`, its IP packet `inner`) into another."""


def read_stock(paths: Iterable[Path], largest: int = 2000) -> list[bytes]:
    """Return the Ethernet packets of captures, those of the same length and start once; cut to `largest` bytes."""
    seen: dict[tuple[int, bytes], bytes] = {}
    for path in paths:
        try:
            for block in open_captures([str(path)]).read():
                for start, size, which in zip(block.offset, block.caplen, block.interface, strict=True):
                    if block.interfaces[which].linktype == 1 and size > 0:
                        packet = block.data[start : start + min(size, largest)].tobytes()
                        seen.setdefault((len(packet), packet[12:48]), packet)
        except InputError:
            continue
    return list(seen.values())


def block_of(packets: list[bytes], *, linktype: int = 1, first_number: int = 1) -> PacketBlock:
    """Return packets as a block, all of one time."""
    sizes = np.array([len(packet) for packet in packets], np.int32)
    offset = np.zeros(len(packets), np.int64)
    np.cumsum(sizes[:-1], out=offset[1:])
    data = np.frombuffer(b"".join(packets) or b"\0", np.uint8)
    times = np.full(len(packets), 1_700_000_000_000_000_000, np.int64)
    zeros = np.zeros(len(packets), np.int32)
    return PacketBlock(data, offset, sizes, sizes, times, zeros, (Interface("fuzz", linktype),), first_number)


def odd_times(rng: random.Random, count: int) -> NDArray[np.int64]:
    """Return times, ns, that are 0, negative, of this century or near it, in any order, some steps small."""
    bases = (0, -3_600_000_000_000, 1_700_000_000_000_000_000)
    times = [rng.choice(bases[:2])]
    for _ in range(count - 1):
        step = rng.choice((1, 10**6, 10**7, 10**9, 60 * 10**9, -(10**6), -(10**9), -(60 * 10**9)))
        times.append(times[-1] + step if rng.random() < 0.8 else rng.choice(bases))
    return np.array(times, np.int64)


class Mutator:
    """Makes blocks of hostile packets from a stock of good ones; the same seed makes the same packets."""

    def __init__(self, stock: list[bytes], seed: int) -> None:
        self.rng = random.Random(seed)
        self.stock = stock
        self.linktype = 1 if self.rng.random() < 0.85 else self.rng.choice(sorted(LINK_TYPES))

    def block(self, count: int, first_number: int) -> PacketBlock:
        """Return a block of `count` packets, of which some are longer on the wire, and time goes both ways."""
        packets: list[bytes] = []
        while len(packets) < count:
            packets += self.some()
        rng = self.rng
        more = [rng.choice((0, 0, 0, 1, 1500)) if rng.random() < 0.1 else 0 for _ in range(count)]
        steps = [rng.choice((0, 1000, 10**6, 10**9, -(10**6))) for _ in range(count)]
        block = block_of(packets[:count], linktype=self.linktype, first_number=first_number)
        return replace(
            block,
            length=block.caplen + np.array(more, np.int32),
            time_ns=block.time_ns + np.cumsum(np.array(steps, np.int64)),
        )

    def some(self) -> list[bytes]:
        """Return one to a few packets that belong together."""
        kind = self.rng.random()
        if kind < 0.55:
            return [self.bent(self.rng.choice(self.stock))]
        if kind < 0.75:
            return self.conversation()
        if kind < 0.85:
            return [self.bent(self.wrapped(self.rng.choice(self.stock)))]
        if kind < 0.92:
            return self.fragments()
        return [self.spliced()]

    def bent(self, packet: bytes) -> bytes:
        """Return a packet with a few bytes changed, mostly in its headers, and now and then cut."""
        rng = self.rng
        out = bytearray(packet)
        for _ in range(rng.choice((0, 1, 1, 2, 3, 8))):
            if not out:
                break
            at = rng.randrange(min(len(out), rng.choice((16, 40, 60, 80, len(out)))))
            kind = rng.random()
            if kind < 0.5:
                out[at] = rng.choice(BYTES)
            elif kind < 0.7:
                out[at] = rng.randrange(256)
            elif kind < 0.8:
                out[at] ^= 1 << rng.randrange(8)
            elif kind < 0.9 and len(out) > 24:
                out[12:14] = struct.pack(">H", rng.choice(ETHER_TYPES))
            elif len(out) > 24:
                out[23] = rng.choice(PROTOCOLS)
        if rng.random() < 0.2:
            del out[rng.randrange(len(out) + 1) :]
        return bytes(out)

    def spliced(self) -> bytes:
        """Return the beginning of one packet with the end of another."""
        a, b = self.rng.choice(self.stock), self.rng.choice(self.stock)
        return a[: self.rng.randrange(len(a) + 1)] + b[self.rng.randrange(len(b) + 1) :]

    def conversation(self) -> list[bytes]:
        """Return a hostile message as UDP, or over TCP segments that are lost, resent, overlapping, out of order."""
        rng = self.rng
        port, grammar = rng.choice(GRAMMARS)
        payload, near, host = grammar(rng), 1024 + rng.randrange(32), rng.randrange(1, 5)
        if rng.random() < 0.3:
            return [self.bent(ethernet(ipv4(datagram(payload, port, near), 17, host=host)))]
        side, sequence = rng.choice((0, 0x1000)), rng.choice((1, 1000, 0xFFFFFF00))
        out = [segment(b"", port, sequence - 1, side | 2, near)] if rng.random() < 0.7 else []
        at = 0
        while at < len(payload):
            size = rng.choice((1, 2, 7, 40, 500, 1460))
            flags = side | 0x10 | (1 if rng.random() < 0.05 else 0) | (4 if rng.random() < 0.02 else 0)
            out.append(segment(payload[at : at + size], port, sequence + at, flags, near))
            at += size - (rng.randrange(size) if rng.random() < 0.1 else 0)
            if len(out) > 24:
                break
        if rng.random() < 0.3:
            rng.shuffle(out)
        if rng.random() < 0.3:
            out.insert(rng.randrange(len(out)), rng.choice(out))
        if rng.random() < 0.2:
            del out[rng.randrange(len(out))]
        frames = [ethernet(ipv4(one, 6, host=host)) for one in out]
        return [self.bent(frame) if rng.random() < 0.05 else frame for frame in frames]

    def wrapped(self, packet: bytes) -> bytes:
        """Return a packet inside tunnels, tags and ICMP quotations, up to many deep."""
        rng = self.rng
        for _ in range(rng.choice((1, 1, 2, 3, 40))):
            packet = rng.choice(WRAPPINGS)(rng, packet, packet[14:])
            if len(packet) > 9000:
                break
        return packet

    def fragments(self) -> list[bytes]:
        """Return a packet as IP fragments: overlapping, missing, repeated, beyond the largest datagram."""
        rng = self.rng
        port, grammar = rng.choice(GRAMMARS)
        whole = datagram(grammar(rng), port, 1024 + rng.randrange(8))
        name, out, at = rng.randrange(6), [], 0
        while at < len(whole):
            size = 8 * rng.choice((1, 2, 5, 100))
            more = 0x2000 if at + size < len(whole) or rng.random() < 0.05 else 0
            place = at // 8 if rng.random() < 0.95 else rng.choice((0, 1, 8191))
            out.append(ethernet(ipv4(whole[at : at + size], 17, offset=more | place, name=name)))
            at += size - (8 if rng.random() < 0.1 and size > 8 else 0)
            if len(out) > 24:
                break
        if rng.random() < 0.5:
            rng.shuffle(out)
        if rng.random() < 0.2:
            del out[rng.randrange(len(out))]
        return out
