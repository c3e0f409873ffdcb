"""What the fuzzer found once, and hostile packets known by name: each must stay harmless, and the same interpreted."""

from __future__ import annotations

import struct

from tests.fuzz.mutations import datagram, ethernet, ipv4, segment


def tcp_stream(payload: bytes, port: int, size: int = 1460) -> list[bytes]:
    """Return a payload as TCP segments towards a port, after a SYN."""
    parts = [segment(payload[at : at + size], port, 1 + at, 0x18, 4000) for at in range(0, len(payload), size)]
    return [ethernet(ipv4(part, 6)) for part in (segment(b"", port, 0, 2, 4000), *parts)]


def udp_packet(payload: bytes, port: int) -> list[bytes]:
    """Return a payload as one datagram."""
    return [ethernet(ipv4(datagram(payload, port, 4000), 17))]


def nested(times: int) -> bytes:
    """Return an IP packet within so many others."""
    inner = ipv4(datagram(b"x", 7, 9), 17)
    for _ in range(times):
        inner = ipv4(inner, 4)
    return ethernet(inner)


def headers_of_ipv6(times: int) -> bytes:
    """Return an IPv6 packet of so many hop-by-hop headers."""
    chain = struct.pack(">BB6x", 0, 0) * times
    return ethernet(struct.pack(">IHBB", 0x60000000, len(chain), 0, 1) + bytes(32) + chain, 0x86DD)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
QUESTION = struct.pack(">HHHHHH", 1, 0x100, 1, 0, 0, 0)

REGRESSIONS: dict[str, list[bytes]] = {
    # found: a hole in a datagram was taken as filled by fragments beyond its end, and unwritten memory was shown
    "fragments beyond the end": [
        ethernet(ipv4(bytes(8), 17, offset=0x2000 | 9)),
        ethernet(ipv4(bytes(8), 17, offset=0x2000 | 10)),
        ethernet(ipv4(b"12345678", 17, offset=1)),
    ],
    # found: a second last fragment, shorter than the first, counted a unit as filled that it filled in part
    "two last fragments": [
        ethernet(ipv4(bytes(16), 17, offset=4)),
        ethernet(ipv4(datagram(b"NOTIFY * HTTP/1.1\r\n\r\nabc", 1900, 4000)[:25], 17)),
    ],
    # found: the sum of a chunk's digits wrapped around
    "chunk size beyond 64 bits": tcp_stream(CHUNKED + b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n", 80),
    "chunk size near 2^31": tcp_stream(CHUNKED + b"7fffffff\r\nhello", 80, 20),
    "content length beyond 64 bits": tcp_stream(b"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 80),
    "a line without an end": tcp_stream(b"GET /" + b"y" * 300_000, 80),
    "name that points at itself": udp_packet(QUESTION + b"\xc0\x0c\0\1\0\1", 53),
    "names that point at each other": udp_packet(QUESTION + b"\xc0\x0e\xc0\x0c\0\1\0\1", 53),
    "pointer beyond the message": udp_packet(QUESTION + b"\xff\xff\0\1\0\1", 53),
    "65,535 questions": udp_packet(QUESTION[:4] + b"\xff\xff" + QUESTION[6:] + b"\0\0\1\0\1" * 200, 53),
    "remaining length of five bytes": tcp_stream(b"\x30\xff\xff\xff\xff\x7f", 1883),
    "topic longer than its message": tcp_stream(b"\x30\x05\xff\xffabc\x10\x02\0\4", 1883),
    "a message of 256 MB promised": tcp_stream(b"\x30\xff\xff\xff\x7f" + b"z" * 5000, 1883, 100),
    "thousands of messages in a packet": tcp_stream(b"\xc0\0" * 700, 1883),
    "a Modbus length of zero": tcp_stream(b"\0\1\0\0\0\0\1\0\2\0\0\0\2\1\3", 502),
    "100 nested packets": [nested(100)],
    "1,000 extension headers": [headers_of_ipv6(1000)],
    "a fragment of nothing": [ethernet(ipv4(b"", 17, offset=0x2000)), ethernet(ipv4(b"", 17, offset=5))],
    "the largest datagram and one byte more": [ethernet(ipv4(bytes(1000), 17, offset=8190))],
}
