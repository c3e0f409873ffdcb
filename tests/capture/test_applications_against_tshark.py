"""The application columns equal tshark's, value by value, on conversations that scapy builds.

HTTP, MQTT, DNS and Modbus: whole, in pieces, repeated, early, lost, cut short, malformed, and at random (seeded).
"""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.capture.conversations import Conversation, write_capture
from tests.capture.messages import CHUNKED, GET, connect, dns, modbus, mqtt, over_tcp, text, variable
from tests.capture.random_traffic import random_conversation
from tests.differential import compare, is_header

pytestmark = pytest.mark.skipif(
    shutil.which("tshark") is None, reason="tshark is not installed: nothing to compare with"
)

Said = list[tuple[int, bytes]]
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n"
WITH_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"
END: tuple[int, bytes] = (1, b"")


class Captures:
    """Conversations after one another, each with a client port of its own."""

    def __init__(self) -> None:
        self.conversations: list[Conversation] = []

    def new(self, server: int = 80, gap: float = 0.01, handshake: bool = True) -> Conversation:
        """Begin another conversation."""
        start = self.conversations[-1].time + 1 if self.conversations else 1.0
        client = 40_000 + len(self.conversations)
        self.conversations.append(Conversation(client, server, start=start, gap=gap, handshake=handshake))
        return self.conversations[-1]

    def say(self, said: Said, server: int = 80, handshake: bool = True) -> Conversation:
        """Say things in turn; the server's empty word is its FIN."""
        talk = self.new(server, handshake=handshake)
        for side, payload in said:
            talk.send(side, payload, "PA" if payload else "FA")
        return talk


def http_heads(made: Captures) -> None:
    """Request and status lines, header fields, methods, bytes that are not ASCII."""
    for head in (
        b"GET /\xc3\xa9\xff?q=\xc3\xa9\xff HTTP/1.\xc3\xa9\xff\r\nHost: h\r\nReferer: r\xc3\xa9\xff\t\x01\r\n\r\n",
        b"GET /a\0b?c\0d HTTP/1.1\0x\r\nHost: h\0x\r\nReferer: r\0s\r\n\r\n",
        b"GET /a? HTTP/1.1\r\nHost:  h \t \r\n\r\n",
        b"GET  /a HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET   /a HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /a   b   c HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET\r\nHost: h\r\n\r\n",
        b"GET http://x/y HTTP/1.1\r\nhost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\nA: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nGET /2 HTTP/1.1\r\nHost: i\r\n\r\n",
        b"\r\n" + GET + GET,
        b"NOTIFY /x HTTP/1.1\r\nHost: h\r\n\r\nbody here\r\nmore",
    ):
        made.say([(0, head), (0, GET)])
    for method in b"LINK PRI M-POST M-SEARCH SSTP_DUPLEX_POST SUBSCRIBE RDG_OUT_DATA CONNECT get ICYxx HTTP/2".split():
        made.say([(0, method + b" /x HTTP/1.1\r\nHost: h\r\n\r\n")])
    for length in (b"+5", b"005", b"5 x", b"-5", b"5x", b"9" * 20, b"", b"0x5", b"5\0", b"3\r\nContent-Length: 5"):
        made.say([(0, b"POST / HTTP/1.1\r\nContent-Length: " + length + b"\r\n\r\nabcde"), (0, GET)])
    made.say([(0, GET), (0, b"foo bar\r\nbaz"), (0, b"no line"), (0, b"Foo: x\r\nContent-Length: 5\r\n\r\nabcdefg")])
    made.say([(0, b"foo bar\r\nbaz"), (0, b"no line"), (0, b"Content-Length: 5\r\n\r\nabcdefg")], handshake=False)


def http_bodies(made: Captures) -> None:
    """Bodies by length, by chunks, until the end, coded; answers that have none; every byte."""
    every = b"".join(bytes([code]) + b"x" for code in range(1, 256))
    made.say([(0, GET), (1, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(every) + every)])
    for head in (b"", b"Content-Type: text/plain\r\n", b"Connection: keep-alive\r\n"):
        made.say([(0, GET), (1, b"HTTP/1.1 200 OK\r\n" + head + b"\r\nab"), (1, b"cd"), END])
    for coding in (b"Chunked", b"gzip, chunked", b"chunked, gzip", b"identity", b"x"):
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + coding + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        made.say([(0, GET), (1, answer), END])
    for body in (
        b"0\r\n\r\n",
        b"2\r\nab\r\n0\r\nA: b\r\nC: d\r\n\r\n",
        b"3;x=y\r\nabc\r\n0\r\n\r\n",
        b" 3\r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"-1\r\nabc\r\n0\r\n\r\n",
    ):
        made.say([(0, GET), (1, CHUNKED + body + WITH_LENGTH), END])
    for body in (
        b"5\r\nabc",
        b"3\r\nabc",
        b"3\r\nabc\r\n",
        b"3\r\nabc\r\n0\r\n",
        b"3\r\nabc\r\nzz\r\nxy",
        b"3\r\nabc\r\n0\r\nx",
        b"3\r\nabc\r\n0\r\nA: b\r\n",
        b"\r\n",
        b"ffffffff\r\na",
    ):
        talk = made.say([(0, GET)])
        talk.send(1, CHUNKED + body, "FPA")
    for status in (b"100 C", b"204 N", b"304 N", b"101 S", b"999 X", b"2x0 Y", b"20"):
        made.say([(0, GET), (1, b"HTTP/1.1 " + status + b"\r\n\r\n" + WITH_LENGTH), END])
    made.say(
        [
            (0, b"HEAD / HTTP/1.1\r\n\r\n"),
            (1, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
            (0, GET),
            (1, WITH_LENGTH),
        ]
    )


def http_codings(made: Captures) -> None:
    """gzip with all its header fields, zlib, bare deflate; cut short, damaged, empty, mislabelled, chunked."""
    plain = b"line of text\n" * 40
    bare = zlib.compressobj(wbits=-15)
    deflated = bare.compress(plain) + bare.flush()
    packed = gzip.compress(plain, mtime=0)
    full = packed[:3] + b"\x1c" + packed[4:10] + b"\2\0ab" + b"name\0" + b"comment\0" + packed[10:]
    bodies = [packed, full, zlib.compress(plain), deflated, packed[:40], packed[:5], b"\x1f\x8b\x07" + packed[3:]]
    bodies += [packed[:30] + b"\xff\xff\xff" + packed[33:], gzip.compress(b""), plain, packed + b"more", b"x"]
    for body in bodies:
        for coding in (b"gzip", b"deflate", b"X-GZIP"):
            head = b"HTTP/1.1 200 OK\r\nContent-Encoding: " + coding + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
            made.say([(0, GET), (1, head + body)])
    for coding in (b"identity", b"", b"gzip ", b"gzip, gzip", b"compress", b"zstd"):
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: " + coding + b"\r\nContent-Length: %d\r\n\r\n" % len(packed)
        made.say([(0, GET), (1, head + packed)])
    chunks = b"".join(b"%x\r\n" % len(part) + part + b"\r\n" for part in (packed[:20], packed[20:])) + b"0\r\n\r\n"
    coded = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    made.say([(0, GET), (1, coded + WITH_LENGTH)])
    long = gzip.compress(b"0123456789" * 20_000)
    talk = made.say(
        [(0, GET), (1, b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(long))]
    )
    for at in range(0, len(long), 400):
        talk.send(1, long[at : at + 400])
    broken = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    made.say([(0, GET), (1, broken + WITH_LENGTH)])


def http_switches(made: Captures) -> None:
    """Other ports, upgrades, tunnels through proxies, SOCKS, HTTP/2's preface, and UDP."""
    for server in (443, 8000, 22, 5432, 3128, 631, 1080):
        made.say([(0, GET), (1, WITH_LENGTH)], server)
    for protocol in (b"websocket", b"h2c", b"x"):
        asked = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: " + protocol + b"\r\n\r\n"
        switched = b"HTTP/1.1 101 S\r\nUpgrade: " + protocol + b"\r\n\r\n"
        made.say([(0, asked), (1, switched), (0, GET), (1, WITH_LENGTH)])
    for where in (b"h:443", b"h:80", b"h", b"h:1883", b"h:53", b"h:22"):
        asked = b"CONNECT " + where + b" HTTP/1.1\r\nHost: h\r\n\r\n"
        made.say([(0, asked), (1, b"HTTP/1.1 200 OK\r\n\r\n"), (0, GET), (1, WITH_LENGTH), (0, GET)])
        made.say([(0, asked), (1, b"HTTP/1.1 407 A\r\nContent-Length: 0\r\n\r\n"), (0, GET)])
    made.say([(0, b"CONNECT h:1883 HTTP/1.1\r\n\r\n"), (1, b"HTTP/1.1 200 OK\r\n\r\n"), (0, connect())])
    five: Said = [(0, b"\5\1\0"), (1, b"\5\0"), (0, b"\5\1\0\3\1h\0\x50"), (1, b"\5\0\0\1\0\0\0\0\0\0")]
    made.say([*five, (0, GET), (1, WITH_LENGTH)], 1080)
    made.say([(0, b"\4\1\0\x50\1\2\3\4u\0"), (1, b"\0\x5a\0\0\0\0\0\0"), (0, GET), (1, WITH_LENGTH)], 1080)
    made.say([(0, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"), (0, GET)])
    talk = made.new(1900, handshake=False)
    for payload in (
        b"M-SEARCH * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\n\r\n",
        b"NOTIFY * HTTP/1.1\r\n\r\n",
        GET,
        b"\0x",
    ):
        talk.datagram(0, payload)
        talk.datagram(1, WITH_LENGTH + WITH_LENGTH)


def http_pieces(made: Captures) -> None:
    """Messages over several segments: every cut of a head and of chunks, ends in the middle."""
    answer = CHUNKED + b"5\r\nabcde\r\n6\r\nabcdef\r\n0\r\n\r\n"
    for cut in range(1, len(answer)):
        talk = made.say([(0, GET[: cut % len(GET)]), (0, GET[cut % len(GET) :]), (1, answer[:cut])])
        talk.send(1, answer[cut : cut + 1])
        if answer[cut + 1 :]:
            talk.send(1, answer[cut + 1 :])
    for pieces in (
        [b"HTTP/1.1 200 OK\r\n\r\nabc"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"def"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n"],
        [b"HTTP/1.1 200 OK\r\nA: b", b"\r\n\r\nabc", b"def"],
    ):
        talk = made.say([(0, GET), *[(1, piece) for piece in pieces[:-1]]])
        talk.send(1, pieces[-1], "FPA")
    made.say(
        [(0, GET), (1, b"HTTP/1.1 200 OK\r\nContent-Le"), (1, b"ngth: 10\r\n\r\nabc"), (1, b"defghij" + WITH_LENGTH)]
    )
    made.say([(0, GET * 3 + GET[:9]), (0, GET[9:] + POST), (0, b"abcdefghijkl" + GET)])


def tcp_repetitions(made: Captures) -> None:
    """Sent again, early, overlapping, lost, kept alive: what reaches the application and what does not."""
    for acknowledged in (False, True):
        talk = made.say([(0, GET)])
        if acknowledged:
            talk.segment(1, b"", "A")
        talk.segment(0, GET, sequence=1000, after=1.0)
    orders = ([4, 8, 0], [4, 0, 8], [0, 8, 4], [8, 4, 0], [8, 0, 4], [0, 0, 4, 8], [0, 2, 8])
    for order in orders:
        for after in (0.001, 0.5):
            talk = made.new(gap=0.1)
            talk.send(0, POST)
            for offset in order:
                talk.segment(0, b"abcdefghijkl"[offset : offset + 4], sequence=talk.following[0] + offset, after=after)
            talk.segment(0, GET, sequence=talk.following[0] + 12, after=after)
    talk = made.say([(0, POST)])
    base = talk.following[0]
    talk.segment(1, b"", "A")
    talk.segment(0, b"efgh", sequence=base + 4, after=0.001)
    for _ in range(3):
        talk.segment(1, b"", "A", after=0.001)
    talk.segment(0, b"ijkl", sequence=base + 8, after=0.001)
    talk.segment(0, b"abcd", sequence=base, after=0.001)
    for first, offset, again in ((b"", -27, GET + GET), (b"abcd", 0, b"abcdefghijkl"), (b"abcd", 2, b"cdefghijkl")):
        for after in (0.001, 1.0):
            talk = made.say([(0, POST if first else GET)])
            base = talk.following[0]
            if first:
                talk.segment(0, first)
            talk.segment(0, again, sequence=base + offset, after=after)
    for start in (POST + b"abc", b"GET / HTTP/1.1\r\nHo"):
        talk = made.say([(0, start)])
        talk.following[0] += 100
        talk.send(0, GET)
        talk.send(0, GET)
        talk = made.say([(0, start)])
        talk.segment(0, start[-1:], "A", sequence=talk.following[0] - 1, after=1.0)
        talk.send(0, b"defghijkl" if start.startswith(b"POST") else b"st: a\r\n\r\n")
    talk = made.say([(0, GET)])
    talk.segment(1, b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"x" * 500, cut=300)
    talk = made.new(handshake=False)
    talk.segment(0, GET, "S", sequence=0xFFFFFFF0)
    talk.segment(0, GET, sequence=0xFFFFFFF1 + len(GET))


def mqtt_messages(made: Captures) -> None:
    """All kinds of messages of 3.1, 3.1.1 and 5, with properties, wills, aliases; cut, long and malformed ones."""
    alias = variable(3) + b"\x23\0\7"
    none = variable(0)
    will = text(b"will/topic") + text(b"message") + text(b"user") + text(b"word")
    made.say(
        [(0, connect()), (1, mqtt(0x20, b"\0\0")), (0, mqtt(0x82, b"\0\1" + text(b"a/b") + b"\0" + text(b"c") + b"\1"))]
        + [(0, mqtt(first, text(b"t") + b"\0\5hello")) for first in (0x30, 0x32, 0x34, 0x36, 0x3E)]
        + [(1, mqtt(first, b"\0\5")) for first in (0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0, 0)]
        + [
            (0, mqtt(0xA2, b"\0\2" + text(b"a/b") + text(b"c"))),
            (0, mqtt(0x30, text(b"") + b"x") * 2 + mqtt(0xC0, b"")),
        ],
        1883,
    )
    made.say([(0, connect(3, name=b"MQIsdp")), (1, mqtt(0x20, b"\1\0")), (0, mqtt(0x30, text(b"t")))], 1883)
    made.say(
        [(0, connect(4, 0xC6, b"", will)), (0, connect(5, 0xC6, none, variable(5) + b"\x18\0\0\0\1" + will))], 1883
    )
    made.say(
        [
            (0, connect(5, 2, variable(5) + b"\x11\x00\x00\x00\x05")),
            (1, mqtt(32, b"\x01\x00" + variable(3) + b"!\x00\x05")),
            (0, mqtt(130, b"\x00\x01" + none + text(b"a") + b"\x00")),
            (0, mqtt(162, b"\x00\x01" + none + text(b"a"))),
            (0, mqtt(48, text(b"top") + alias + b"x") + mqtt(50, text(b"") + b"\x00\x01" + alias + b"y")),
            (0, mqtt(48, text(b"") + variable(3) + b"#\x00\x08z")),
            (1, mqtt(48, text(b"") + alias + b"w")),
            (0, mqtt(48, text(b"new") + alias + b"x") + mqtt(48, text(b"") + alias + b"y")),
            (0, mqtt(48, text(b"u") + variable(13) + b"&\x00\x01k\x00\x01v\x01\x01#\x00\x07" + b"m")),
            (0, mqtt(48, text(b"t") + variable(200) + b"x")),
            (0, mqtt(224, b"\x00" + none)),
        ],
        1883,
    )
    long = mqtt(0x30, text(b"big") + b"z" * 3000)
    made.say([(0, connect()), (0, long[:1000]), (0, long[1000:2500]), (0, long[2500:] + long[:2]), (0, long[2:])], 1883)
    made.say([(0, connect() + mqtt(0x30, text(b"t") + b"1") * 8), (0, b"\x30\x85\x80\x80\x00\0\1tab")], 1883)
    made.say([(0, mqtt(0x30, text(b"t") + b"x")), (0, mqtt(0x82, b"\0\1" + text(b"a") + b"\0"))], 1883, handshake=False)
    made.say([(0, b"\x30"), (0, b"\x05\0\1ahi"), (0, b"\x30\x85"), (0, b"\1\0\1a" + b"z" * 130), (0, b"\xc0\0")], 1883)
    made.say([(0, connect(4, name=b"M\xffT")), (0, mqtt(0x30, text(b"a\xc3\xa9\xff\0b\nc\1") + b"x"))], 1883)
    for body in (b"\0\7tool", b"\0\4MQ", b"\0", b""):
        for first in (0x10, 0x20, 0x30, 0x32, 0x82, 0xA2):
            made.say([(0, mqtt(first, body)), (0, mqtt(0xC0, b""))], 1883)


def dns_messages(made: Captures) -> None:
    """Names of all sorts, several questions, operation codes, repetitions, over UDP and TCP, on any port."""
    tail = b"\0\0\1\0\1"
    label = b"\x3f" + b"x" * 63
    names = [b"", b"\3w\xe9w\2\xc3\xa9", b"\3a.b\3c\\d\3\1\x7f ", b"\3a\0b", label * 4, label * 3 + b"\x3d" + b"z" * 61]
    names += [
        label * 3 + b"\x3e" + b"z" * 62,
        b"\1A" * 130,
        b"\1\0",
        b"\2\0\0",
        b"\1.",
        b"\1a",
        b"\5a\nb\tc",
        b"\5\a\b\f\r\v",
    ]
    talk = made.new(53, handshake=False)
    for at, name in enumerate(names):
        talk.datagram(0, dns(at, name + tail))
    question = b"\3www\1a" + tail
    for at, body in enumerate(
        (b"\xc0\x0c\0\1\0\1", b"\1a\xc0\x0c\0\1\0\1", b"\x81ab" + tail, b"\3ww", b"\3www\0\0", b"\xc0\xff\0\1")
    ):
        talk.datagram(0, dns(100 + at, body))
    for at, questions in enumerate((question * 2, question + b"\xc0\x0c\0\2\0\1", question)):
        talk.datagram(0, dns(200 + at, questions, counts=(2, 0, 0, 0)))
    talk.datagram(0, dns(300, question + b"\0\0)\x10\0\0\0\0\0\0\0", counts=(1, 0, 0, 1)))
    for at, flags in enumerate((0x2800, 0xA800, 0x7800, 0x0900)):
        talk.datagram(0, dns(400 + at, question, flags))
    for payload in (dns(500, b"", counts=(0, 0, 0, 0)), dns(501, b"")[:8], b"\0\1\1", b"\0"):
        talk.datagram(0, payload)
    for identifier in (0, 7):
        for sides in ([0, 0, 1, 1, 0], [1, 1, 0, 1], [0, 6, 0, 1, 6, 1]):
            talk = made.new(53, handshake=False)
            wait = 0.1
            for side in sides:
                if side > 1:
                    wait = float(side)
                    continue
                talk.datagram(side, dns(identifier, question, 0x8180 if side else 0x100), after=wait)
                wait = 0.1
    for port in (5353, 5355, 32_021, 500):
        talk = made.new(port, handshake=False)
        for flags, counts in (
            (0x100, (1, 0, 0, 0)),
            (0x8180, (1, 0, 0, 0)),
            (0x2800, (1, 0, 0, 0)),
            (0x100, (2, 0, 0, 0)),
        ):
            talk.datagram(0, dns(1, question[:-2] + b"\x80\1", flags, counts))
            talk.datagram(1, dns(2, question, flags, counts))
    query = over_tcp(dns(1, question))
    answer = over_tcp(dns(1, question, 0x8180))
    pieces = [query + query, query[:2], query[2:7], query[7:] + query[:1], query[1:], b"\0\0" + query]
    made.say([*[(0, piece) for piece in pieces], (1, answer), (1, answer), (0, b"\0\1x" + query)], 53)


def modbus_messages(made: Captures) -> None:
    """One, several, half and malformed messages over TCP, whole ones over UDP, and what is no Modbus."""
    read = b"\3\0\0\0\1"
    long = modbus(3, b"\x10" + b"x" * 240)
    made.say([(0, modbus(1, read) + modbus(2, read)), (1, modbus(1, b"\3\2\0\1") + modbus(2, b"\x83\2"))], 502)
    made.say(
        [(0, long[:100]), (0, long[100:]), (0, modbus(4, read) + modbus(5, read)[:8]), (0, modbus(5, read)[8:])], 502
    )
    for words in (b"", b"\7", b"\x83", b"\3", b"\x83\1"):
        for side in (0, 1):
            made.say([(side, modbus(6, words) + modbus(7, read)), (side, modbus(8, read) + modbus(9, words))], 502)
    made.say([(0, b"\0\1\0\1\0\6\1\3\0\0\0\1"), (0, b"\0\1\0\0\0\1\1zz"), (0, b"\0\1\0\0\0\0\1zz"), (0, GET)], 502)
    talk = made.new(502, handshake=False)
    for words in (read, b"\3", b"\x83", b"\x83\1"):
        talk.datagram(0, modbus(1, words))
    talk.datagram(0, modbus(1, read) + modbus(2, read))


def everything_at_random(made: Captures) -> None:
    """Random conversations of all protocols on which random things happen."""
    for seed in range(240):
        start = made.conversations[-1].time + 1 if made.conversations else 1.0
        made.conversations.append(random_conversation(Random(seed), 40_000 + seed, start))


MAKERS: list[Callable[[Captures], None]] = [
    http_heads,
    http_bodies,
    http_codings,
    http_switches,
    http_pieces,
    tcp_repetitions,
    mqtt_messages,
    dns_messages,
    modbus_messages,
    everything_at_random,
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_application_columns(make: Callable[[Captures], None], tmp_path: Path) -> None:
    made = Captures()
    make(made)
    report = compare([write_capture(tmp_path / "made.pcap", made.conversations)])
    present = sum(count for column, count in report.present.items() if not is_header(column))
    unexplained = {column: lines for column, lines in report.examples.items() if not is_header(column)}
    known = {reason: count for (reason, column), count in report.known.items() if not is_header(column)}
    assert report.files == 1
    assert present > 30
    assert unexplained == {}
    assert known == {}
