"""Hostile payloads by grammar: DNS, HTTP, MQTT and Modbus messages whose lengths, counts and pointers lie."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

LABELS = (b"a", b"www", b"example", b"x" * 63, b"\0", b"\xff\xfe", b"local")
METHODS = (b"GET", b"POST", b"HEAD", b"CONNECT", b"M-SEARCH", b"NOTIFY", b"GET ", b"HTTP/1.1")
TARGETS = (b"/", b"/a?b=c", b"http://h/?", b"*", b"", b"/" + b"y" * 3000, b"/\xff?\0")
HEADERS = (
    b"Host: h", b"Host:", b"Content-Length: 5", b"Content-Length: 99999999999999999999", b"Content-Length: -1",
    b"Transfer-Encoding: chunked", b"Content-Encoding: gzip", b"Referer: r", b"Connection: close",
    b"Connection: keep-alive", b"Content-Type: text/plain", b": ", b"X" * 500,
)  # fmt: skip
ENDS = (b"\r\n", b"\n", b"\r", b"\r\r\n")
CHUNKS = (
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"7fffffff\r\nab",
    b"-1\r\n",
    b"g\r\n",
    b"3;x=y\r\nabc\r\n",
)


def dns(rng: random.Random) -> bytes:
    """Return a DNS message: names with pointers forward, backward and in loops, counts that promise too much."""
    counts = [rng.choice((0, 1, 2, 255, 65535)) for _ in range(4)]
    out = struct.pack(">HH4H", rng.randrange(8), rng.choice((0x0100, 0x8180, 0, 0x2800, 0xFFFF)), *counts)
    for _ in range(rng.randrange(1, 5)):
        for _ in range(rng.randrange(0, 9)):
            kind = rng.random()
            if kind < 0.75:
                label = rng.choice(LABELS)
                out += bytes([len(label) if rng.random() < 0.95 else rng.randrange(256)]) + label
            elif kind < 0.95:
                out += struct.pack(">H", 0xC000 | rng.choice((12, len(out), rng.randrange(64), 0x3FFF)))
            else:
                out += bytes([rng.choice((0x40, 0x80, 0xBF))])
        out += b"\0" * rng.randrange(2) + struct.pack(">HH", rng.choice((1, 28, 255, 41)), rng.choice((1, 0x8001)))
    return out if rng.random() < 0.7 else struct.pack(">H", rng.choice((len(out), 0, 65535, 5))) + out


def http(rng: random.Random) -> bytes:
    """Return HTTP-like text: lines that end oddly, lengths and chunk sizes that overflow, several messages in one."""
    out = b""
    for _ in range(rng.randrange(1, 4)):
        end = rng.choice(ENDS)
        if rng.random() < 0.5:
            first = rng.choice(METHODS) + b" " + rng.choice(TARGETS) + b" HTTP/1.1"
        else:
            first = b"HTTP/1.1 " + str(rng.choice((100, 200, 204, 304, 404, 9999))).encode() + b" OK"
        lines = [first, *(rng.choice(HEADERS) for _ in range(rng.randrange(6)))]
        out += end.join(lines) + (end * 2 if rng.random() < 0.85 else b"")
        out += b"".join(rng.choice(CHUNKS) for _ in range(rng.randrange(4)))
    return out


def mqtt(rng: random.Random) -> bytes:
    """Return MQTT messages: remaining lengths of up to five bytes, topics longer than their message."""
    out = b""
    for _ in range(rng.randrange(1, 9)):
        body = rng.choice(
            (
                b"\0\4MQTT" + bytes([rng.choice((3, 4, 5, 0)), rng.randrange(256)]) + b"\0\x3c\0\1c",
                struct.pack(">H", rng.choice((0, 3, 65535))) + b"a/b" + rng.randbytes(rng.randrange(20)),
                struct.pack(">HH", 7, rng.choice((1, 9, 65535))) + b"t" + rng.randbytes(4),
                b"",
            )
        )
        length = rng.choice((len(body), len(body), len(body) + 1, 127, 16383, 268_435_455, 0))
        coded = bytearray()
        while True:
            coded.append(length & 0x7F | (0x80 if length > 0x7F or rng.random() < 0.02 else 0))
            length >>= 7
            if not coded[-1] & 0x80 or len(coded) > 5:
                break
        out += bytes([rng.randrange(256)]) + bytes(coded) + body
    return out


def modbus(rng: random.Random) -> bytes:
    """Return Modbus/TCP messages whose lengths and protocol numbers may lie."""
    out = b""
    for _ in range(rng.randrange(1, 5)):
        body = rng.randbytes(rng.randrange(8))
        length = rng.choice((len(body) + 1, len(body) + 1, 0, 1, 2, 65535))
        out += struct.pack(">HHHB", rng.randrange(9), rng.choice((0, 0, 0, 1)), length, rng.randrange(4)) + body
    return out


GRAMMARS: tuple[tuple[int, Callable[[random.Random], bytes]], ...] = (
    (53, dns), (5353, dns), (80, http), (8080, http), (1900, http), (443, http), (1883, mqtt), (502, modbus),
)  # fmt: skip
"""A port and the grammar of what is spoken there."""
