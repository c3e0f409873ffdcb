"""Packets that grow to the bounds: small units repeated up to 16 MB, samples and datagrams that show bytes again.

What a packet's findings take is bounded by the table; no random change of ordinary packets comes near. Each maker
here aims at one bound, by its own arithmetic, so that its cases lie below, at and beyond it.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import NamedTuple

from tests.fuzz.mutations import datagram, ethernet, ipv4, segment

MAX_CELL = (16 << 20) - 1
"""Bytes of the largest message that is put together."""

WIRELESS = 105
"""The link type of bare 802.11 frames."""

CLIENT, BROKER = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


class Grown(NamedTuple):
    """Packets of one block and their link type."""

    packets: list[bytes]
    linktype: int = 1


def varint(number: int) -> bytes:
    """Return MQTT's variable byte integer."""
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def mqtt(kind: int, body: bytes) -> bytes:
    """Return an MQTT message; kind: its first byte."""
    return bytes([kind]) + varint(len(body)) + body


def unsubscribe(topics: int, size: int = 0) -> bytes:
    """Return an MQTT UNSUBSCRIBE of so many topics of `size` bytes."""
    return mqtt(0xA2, b"\0\1" + (struct.pack(">H", size) + b"t" * size) * topics)


def publish(size: int) -> bytes:
    """Return an MQTT PUBLISH that carries so many bytes."""
    return mqtt(0x30, b"\0\1t" + b"m" * size)


def questions(count: int, name: bytes) -> bytes:
    """Return a DNS message of so many questions of one name, which is spelled out once and then pointed at."""
    head = struct.pack(">HHHHHH", 1, 0x100, count, 0, 0, 0)
    return head + name + b"\0\1\0\1" + b"\xc0\x0c\0\1\0\1" * (count - 1)


LONG_NAME = (b"\x3f" + b"n" * 63) * 3 + b"\x3c" + b"n" * 60 + b"\0"
"""The longest name that is shown whole: 252 characters."""


def chunked(chunks: int) -> bytes:
    """Return an HTTP answer whose body comes in chunks of one byte."""
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * chunks + b"0\r\n\r\n"


def referers(lines: int) -> bytes:
    """Return an HTTP request with so many Referer lines."""
    return b"GET /?q HTTP/1.1\r\nHost: h\r\n" + b"Referer: r\r\n" * lines + b"\r\n"


def requests(count: int) -> bytes:
    """Return so many HTTP requests, one behind the other."""
    return b"GET /?q HTTP/1.1\r\nHost: h\r\n\r\n" * count


def far_uri(size: int) -> bytes:
    """Return an HTTP request whose target has so many bytes that are not ASCII, of which each is shown as three."""
    return b"GET /" + b"\xff" * size + b" HTTP/1.1\r\nHost: h\r\n\r\n"


def large_ipv4(payload: bytes, protocol: int) -> bytes:
    """Return an Ethernet frame with IPv4 of any length: 0 as its length says that it goes to the frame's end."""
    packet = ipv4(payload[:1000], protocol)
    return ethernet(packet[:2] + b"\0\0" + packet[4:20] + payload)


def large_ipv6(payload: bytes, port: int) -> bytes:
    """Return an Ethernet frame with a UDP datagram of any length in an IPv6 packet (RFC 2675)."""
    whole = struct.pack(">HHHH", 4000, port, 0, 0) + payload
    head = struct.pack(">IHBB", 0x60000000, 0, 0, 64) + bytes(31) + b"\1"
    return ethernet(head + struct.pack(">BBBBI", 17, 0, 0xC2, 4, len(whole) + 8) + whole, 0x86DD)


def stream(payload: bytes, port: int, size: int = 60_000, *, near: int = 4000, fin: bool = False) -> list[bytes]:
    """Return IP packets of a TCP conversation that carries the payload in segments of `size` bytes."""
    parts = [segment(b"", port, 0, 2, near)]
    for at in range(0, len(payload), size):
        last = 1 if fin and at + size >= len(payload) else 0
        parts.append(segment(payload[at : at + size], port, 1 + at, 0x18 | last, near))
    return [ipv4(part, 6) for part in parts]


def over_tcp(payload: bytes, port: int, size: int = 60_000) -> Grown:
    """Return a payload in segments of any size, also beyond what IPv4's length can say."""
    if size <= 65_000:
        return Grown([ethernet(packet) for packet in stream(payload, port, size)])
    parts = [(b"", 0, 2), *((payload[at : at + size], 1 + at, 0x18) for at in range(0, len(payload), size))]
    return Grown([large_ipv4(segment(part, port, at, flags, 4000), 6) for part, at, flags in parts])


def fragmented(packet: bytes, protocol: int = 17, size: int = 1480, name: int = 7) -> list[bytes]:
    """Return an IP payload as fragments of `size` bytes."""
    out = []
    for at in range(0, len(packet), size):
        more = 0x2000 if at + size < len(packet) else 0
        out.append(ethernet(ipv4(packet[at : at + size], protocol, offset=more | at // 8, name=name)))
    return out


def sampled(headers: bytes, shared: bytes, samples: int, skip: Callable[[int], bytes]) -> bytes:
    """Return an sFlow datagram's payload whose samples all say that they go on to its end, to show `shared` again.

    headers: what stands at the head of each sampled packet (IPv4 and its transport); skip: bytes of the payload that
    lead over so many to the shared ones.
    """
    size = 24 + len(headers) + len(skip(1 << 15))
    records = b""
    for index in range(samples):
        rest = (samples - 1 - index) * size
        record = struct.pack(">IIIIII", 1, size - 8, 11, 1 << 20, 0, 1 << 20) + headers
        records += record + skip(rest)
    head = struct.pack(">II4sIIII", 5, 1, b"\1\2\3\4", 0, 1, 1, 1)
    flow = struct.pack(">II28xI", 1, 0x7FFFFFFF, samples)
    return head + flow + records + shared


def skip_mqtt(size: int) -> bytes:
    """Return the beginning of an MQTT message of no known kind that ends `size` bytes further on; always 4 bytes."""
    return bytes([0, size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14 & 0x7F])


def skip_dns(size: int) -> bytes:
    """Return the beginning of a DNS message over TCP, not of two bytes, that ends `size` bytes further on."""
    return struct.pack(">H", size)


def overlapping(shared: bytes, samples: int, port: int) -> bytes:
    """Return an sFlow payload whose samples all claim the messages `shared`, of MQTT or of DNS over TCP."""
    inner = segment(b"", port, 1, 0x18, 4000)
    head = ipv4(inner, 6)
    return sampled(head[:2] + b"\0\0" + head[4:], shared, samples, skip_mqtt if port == 1883 else skip_dns)


def apart(messages: bytes, samples: int, port: int) -> bytes:
    """Return an sFlow payload of samples that each show the same messages, as segments of their own."""
    packet = ipv4(segment(messages, port, 1, 0x18, 4000), 6)
    record = struct.pack(">IIIIII", 1, 16 + len(packet), 11, len(packet), 0, len(packet)) + packet
    sample = struct.pack(">II28xI", 1, 32 + len(record), 1) + record
    return struct.pack(">II4sIIII", 5, 1, b"\1\2\3\4", 0, 1, 1, samples) + sample * samples


def wireless(packet: bytes) -> bytes:
    """Return an IP packet in an 802.11 data frame."""
    return b"\x08\x01" + bytes(22) + b"\xaa\xaa\3\0\0\0\x08\0" + packet


def aggregate(packets: list[bytes]) -> bytes:
    """Return IP packets in one 802.11 frame (A-MSDU)."""
    out = b"\x88\x01" + bytes(22) + b"\x80\0"
    for packet in packets:
        body = b"\xaa\xaa\3\0\0\0\x08\0" + packet
        part = CLIENT + BROKER + struct.pack(">H", len(body)) + body
        out += part + bytes(-len(part) % 4)
    return out


def ends_together(payloads: list[bytes], port: int) -> Grown:
    """Return messages of several conversations whose last segments come in one frame."""
    frames, last = [], []
    for number, payload in enumerate(payloads):
        packets = stream(payload, port, near=4000 + number)
        frames += [wireless(packet) for packet in packets[:-1]]
        last.append(packets[-1])
    return Grown([*frames, aggregate(last)], WIRELESS)


def nested_fragments(depth: int, size: int) -> Grown:
    """Return a packet that completes a datagram within a datagram, `depth` times, each of about `size` bytes."""
    frames = []
    inner = datagram(b"x" * (size - 40 * depth), 9, 7)
    for level in range(depth):
        cut = (len(inner) - 8) & ~7
        frames.append(ethernet(ipv4(inner[cut:], 4 if level else 17, offset=cut // 8, name=100 + level)))
        inner = ipv4(inner[:cut], 4 if level else 17, offset=0x2000, name=100 + level)
    return Grown([*frames, ethernet(inner)])


def jumbo(payload: bytes, port: int) -> Grown:
    """Return one packet with the payload, of up to 256 kB."""
    return Grown([large_ipv4(segment(payload, port, 1, 0x18, 4000), 6)])


BOUNDS: dict[str, Callable[[], Grown]] = {
    "an UNSUBSCRIBE of a million empty topics": lambda: over_tcp(unsubscribe(1_000_000), 1883),
    "160,000 topics of 100 bytes": lambda: over_tcp(unsubscribe(160_000, 100), 1883),
    "a packet of 256 kB of 2-byte messages": lambda: jumbo(b"\xc0\0" * 131_000, 1883),
    "65,535 questions of a long name, over TCP": lambda: over_tcp(
        b"".join(struct.pack(">H", len(each)) + each for each in [questions(10_000, LONG_NAME)] * 40), 53, 200_000
    ),
    "samples that claim the same 30,000 messages": lambda: Grown(
        fragmented(datagram(overlapping(b"\xc0\0" * 30_000, 41, 1883), 6343, 4000))
    ),
    "samples that claim the same names": lambda: Grown(
        fragmented(
            datagram(overlapping(struct.pack(">H", 60_251) + questions(9_999, LONG_NAME), 41, 53), 6343, 4000)
        )
    ),
    "samples that claim one payload": lambda: Grown([large_ipv6(overlapping(publish(240_000), 41, 1883), 6343)]),
    "two messages of 16 MB that end in one frame, behind a third": lambda: Grown(
        [wireless(each) for each in stream(publish(MAX_CELL - 30), 1883, near=3999)]
        + ends_together([publish(MAX_CELL - 30)] * 2, 1883).packets,
        WIRELESS,
    ),
    "two answers of 1 MB in chunks of a byte": lambda: over_tcp(chunked(200_000) * 2, 80, 200_000),
    "fields and requests without number": lambda: over_tcp(referers(9_000) + requests(200_000), 80, 200_000),
    "a target of 200 kB that is not ASCII": lambda: jumbo(far_uri(200_000), 80),
    "datagrams within datagrams": lambda: nested_fragments(6, 65_000),
}  # fmt: skip
"""Blocks that reach a bound each, by what they are."""


def sizes(rng: random.Random, most: int) -> int:
    """Return a number up to `most`, mostly near it."""
    near = (most, most - rng.randrange(8), most // 2 + rng.randrange(most // 2 + 1))
    return max(1, rng.choice((*near, rng.randrange(1, most + 1), rng.randrange(1, 64))))


def message(rng: random.Random, most: int) -> tuple[int, bytes]:
    """Return a port and a message, or many, of at most about `most` bytes."""
    kind = rng.randrange(9)
    if kind == 0:
        size = rng.choice((0, 0, 1, 30, 1000))
        return 1883, unsubscribe(sizes(rng, most // (size + 2)), size)
    if kind == 1:
        return 1883, rng.choice((b"\xc0\0", b"\0\0", b"\x30\3\0\1t", b"\x82\5\0\1\0\0\0")) * sizes(rng, most // 8)
    if kind == 2:
        return 1883, publish(sizes(rng, most))
    if kind == 3:
        each = questions(sizes(rng, 10_000), rng.choice((LONG_NAME, b"\1n\0", b"\0")))
        return 53, (struct.pack(">H", len(each) & 0xFFFF) + each) * max(1, sizes(rng, most) // len(each))
    if kind == 4:
        return 80, chunked(sizes(rng, most // 8)) * rng.choice((1, 1, 2))
    if kind == 5:
        return 80, referers(sizes(rng, min(most // 16, 10_000))) + requests(sizes(rng, most // 64))
    if kind == 6:
        return 80, far_uri(sizes(rng, min(most, 120_000)))
    if kind == 7:
        size = sizes(rng, most)
        return 80, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"b" * size
    return 502, struct.pack(">HHHBB", 1, 0, 2, 1, 3) * sizes(rng, most // 16)


def grown(rng: random.Random) -> Grown:
    """Return packets that come near a bound, of at most about 17 MB in all."""
    kind = rng.random()
    if kind < 0.3:
        port, payload = message(rng, rng.choice((60_000, 250_000, 1 << 20, MAX_CELL, MAX_CELL)))
        found = over_tcp(payload[:MAX_CELL], port, rng.choice((1460, 9000, 60_000, 200_000)))
    elif kind < 0.35:
        port, shared = rng.choice(((9, b"y" * sizes(rng, 240_000)), (1883, publish(sizes(rng, 240_000)))))
        found = Grown([large_ipv6(overlapping(shared, sizes(rng, 120), port), 6343)])
    elif kind < 0.5:
        port, payload = message(rng, 250_000)
        found = jumbo(payload[:250_000], port)
    elif kind < 0.7:
        names = struct.pack(">H", 60_251) + questions(sizes(rng, 9_999), LONG_NAME)
        pings, letters = b"\xc0\0" * sizes(rng, 30_000), b"y" * sizes(rng, 60_000)
        port, shared = rng.choice(((1883, pings), (9, letters), (53, names)))
        payload = overlapping(shared, sizes(rng, 120), port)[:65_500]
        found = Grown(fragmented(datagram(payload, 6343, 4000), size=rng.choice((1480, 8192))))
    elif kind < 0.8:
        parts = [message(rng, rng.choice((60_000, MAX_CELL // 3)))[1] for _ in range(rng.randrange(1, 4))]
        found = ends_together(parts, rng.choice((1883, 80, 53)))
    elif kind < 0.9:
        found = nested_fragments(rng.randrange(1, 9), sizes(rng, 65_000) + 400)
    else:
        port, payload = message(rng, 60_000)
        found = Grown(fragmented(datagram(payload[:65_000], port, 4000), size=8 * rng.randrange(1, 1000)))
    packets = found.packets
    if rng.random() < 0.3:
        del packets[rng.randrange(len(packets))]
    packets = packets or [b"\0"]
    if rng.random() < 0.3:
        packets.append(rng.choice(packets))
    return Grown(packets, found.linktype)
