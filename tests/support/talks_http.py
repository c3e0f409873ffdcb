"""HTTP conversations that a dissector is tried on: heads, bodies, codings, changes of protocol, pieces."""

from __future__ import annotations

import gzip
import zlib

from tests.support.conversations import Captures, Said
from tests.support.messages import CHUNKED, GET, POST, WITH_LENGTH, connect

END: tuple[int, bytes] = (1, b"")


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
        b"00000000000000000003\r\nabc\r\n000000000000000000000\r\n\r\n",
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
    made.say([(0, GET), (0, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), (0, GET), (1, WITH_LENGTH)])
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
