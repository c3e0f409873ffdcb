"""Application messages for tests: HTTP, MQTT, DNS and Modbus, whole and in random number."""

from __future__ import annotations

import gzip
import struct
import zlib
from random import Random

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n"
WITH_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def variable(number: int) -> bytes:
    """Return an MQTT variable byte integer."""
    out = b""
    while True:
        number, low = number >> 7, number & 127
        out += bytes([low | (128 if number else 0)])
        if not number:
            return out


def text(value: bytes) -> bytes:
    """Return MQTT text: a length and the bytes."""
    return struct.pack(">H", len(value)) + value


def mqtt(first: int, body: bytes) -> bytes:
    """Return an MQTT message."""
    return bytes([first]) + variable(len(body)) + body


def connect(
    version: int = 4, flags: int = 2, properties: bytes = b"", rest: bytes = b"", name: bytes = b"MQTT"
) -> bytes:
    """Return an MQTT CONNECT."""
    return mqtt(0x10, text(name) + bytes([version, flags]) + b"\0<" + properties + text(b"client") + rest)


def modbus(transaction: int, words: bytes, unit: int = 1) -> bytes:
    """Return a Modbus/TCP message of a function code and what follows it."""
    return struct.pack(">HHHB", transaction, 0, len(words) + 1, unit) + words


def dns(
    identifier: int, question: bytes, flags: int = 0x100, counts: tuple[int, int, int, int] = (1, 0, 0, 0)
) -> bytes:
    """Return a DNS message with a question as bytes, and what may follow it."""
    return struct.pack(">6H", identifier, flags, *counts) + question


def over_tcp(message: bytes) -> bytes:
    """Return a DNS message with its length before it."""
    return struct.pack(">H", len(message)) + message


def random_body(random: Random) -> bytes:
    """Return a body of text that is full of what HTTP heads are made of."""
    return bytes(random.choice(b"abc \r\n:GET/") for _ in range(random.choice([0, 1, 3, 20, 200, 2000])))


def in_chunks(random: Random, body: bytes) -> bytes:
    """Return a body in chunks of random sizes, with or without a trailer."""
    out = b""
    while body:
        size = random.randint(1, len(body))
        out, body = out + b"%x\r\n" % size + body[:size] + b"\r\n", body[size:]
    return out + b"0\r\n" + random.choice([b"", b"T: v\r\n"]) + b"\r\n"


def random_answer(random: Random, asked: bytes) -> bytes:
    """Return an HTTP response of a random sort."""
    body, sort = random_body(random), random.random()
    plain = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    if asked == b"HEAD":
        return b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    if sort < 0.4:
        return plain
    if sort < 0.7:
        return CHUNKED + in_chunks(random, body)
    if sort < 0.8:
        coded = gzip.compress(body * 5) if random.random() < 0.5 else zlib.compress(body * 5)
        return b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(coded) + coded
    if sort < 0.9:
        return b"HTTP/1.1 304 Not Modified\r\n\r\n"
    if sort < 0.95:
        return b"HTTP/1.1 100 Continue\r\n\r\n" + plain
    return b"HTTP/1.0 200 OK\r\n\r\n" + body


def random_http(random: Random) -> tuple[list[bytes], list[bytes], int]:
    """Return requests, their responses, and a port."""
    requests, answers = [], []
    for _ in range(random.randint(1, 4)):
        method = random.choice([b"GET", b"POST", b"HEAD", b"PUT"])
        body = random_body(random) if method in (b"POST", b"PUT") else b""
        head = method + b" /p?q=%d HTTP/1.1\r\nHost: h\r\n" % random.randint(0, 99)
        head += b"Referer: z\r\n" if random.random() < 0.3 else b""
        head += b"Content-Length: %d\r\n" % len(body) if body else b""
        requests.append(head + b"\r\n" + body)
        answers.append(random_answer(random, method))
    return requests, answers, random.choice([80, 80, 80, 8000, 8443, 443, 12345])


def random_mqtt(random: Random) -> tuple[list[bytes], list[bytes], int]:
    """Return what an MQTT client and its broker say, and the port."""
    version = random.choice([3, 4, 5])
    properties = variable(0) if version == 5 else b""
    client, broker = [connect(version, 2, properties)], [mqtt(0x20, b"\0\0" + properties)]
    for _ in range(random.randint(1, 8)):
        first = random.choice([0x30, 0x32, 0x34])
        body = text(b"t" * random.randint(0, 5)) + (b"\0\1" if first > 0x30 else b"") + properties + random_body(random)
        (client if random.random() < 0.6 else broker).append(mqtt(first, body))
        if random.random() < 0.3:
            topics = b"".join(text(b"x%d" % at) + b"\0" for at in range(random.randint(1, 3)))
            client.append(mqtt(0x82, b"\0\1" + properties + topics))
    return client, broker, 1883


def random_modbus(random: Random) -> tuple[list[bytes], list[bytes], int]:
    """Return Modbus requests, their responses, and the port."""
    requests, answers = [], []
    for at in range(random.randint(1, 8)):
        requests.append(modbus(at, bytes([random.randint(1, 0x18)]) + b"\0\1\0\2"))
        answer = b"\3" + bytes([2 * random.randint(1, 50)]) + b"z" * random.randint(0, 90)
        answers.append(modbus(at, answer if random.random() < 0.8 else b"\x83\2"))
    return requests, answers, 502


def random_dns(random: Random) -> tuple[list[bytes], list[bytes], int]:
    """Return DNS queries over TCP with few identifiers, their answers, and the port."""
    queries, answers = [], []
    for _ in range(random.randint(1, 6)):
        identifier = random.randint(0, 3)
        queries.append(over_tcp(dns(identifier, b"\3abc\0\0\1\0\1")))
        answers.append(over_tcp(dns(identifier, b"\3abc\0\0\1\0\1", 0x8180)))
    return queries, answers, 53
