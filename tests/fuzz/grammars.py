"""The grammars of the search for dear inputs: how a protocol's messages begin, and the words that fill them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz.mutations import datagram, ethernet, ipv4


def _as_it_is(body: bytes) -> bytes:
    return body


@dataclass(frozen=True)
class Grammar:
    """A protocol: what carries it, its beginning, its words; close: what is mended in the whole (lengths before it)."""

    name: str
    carrier: str
    begin: bytes
    words: tuple[bytes, ...]
    port: int = 0
    linktype: int = 1
    close: Callable[[bytes], bytes] = _as_it_is


def _be(form: str, *numbers: int) -> bytes:
    return struct.pack(f">{form}", *numbers)


def _length_before(body: bytes) -> bytes:
    return _be("H", min(len(body), 65_535)) + body


def _in_ipv4(protocol: int) -> Callable[[bytes], bytes]:
    return lambda body: ethernet(ipv4(body[:65_000], protocol))


def _in_ipv6(first: int) -> Callable[[bytes], bytes]:
    return lambda body: ethernet(_be("IHBB", 0x60000000, min(len(body), 65_535), first, 1) + bytes(32) + body, 0x86DD)


def _with_options(body: bytes) -> bytes:
    options = body[:40].ljust(40, b"\1")
    return ethernet(_be("BBHHHBBHII", 0x4F, 0, 60, 7, 0, 64, 6, 0, 1, 2) + options)


def _quoted(body: bytes) -> bytes:
    """Return packets in one another as ICMP errors quote them."""
    inner = body[:1400]
    for _ in range(40):
        inner = ipv4(_be("BBHI", 3, 1, 0, 0) + inner, 1)
    return ethernet(inner)


def _nested_fragments(body: bytes) -> bytes:
    """Return a whole datagram of one fragment, within another, and so on."""
    inner = body[:1400]
    for depth in range(20):
        inner = ipv4(inner + bytes(-len(inner) % 8), 4 if depth else 17, offset=0x2000)
        inner = ipv4(inner, 4)
    return ethernet(inner)


QUESTIONS = _be("HHHHHH", 1, 0x100, 0xFFFF, 0, 0, 0)
RECORDS = _be("HHHHHH", 1, 0x0100, 1, 0xFFFF, 0xFFFF, 0xFFFF)
QUESTION = _be("HH", 1, 1)
NAMES = (
    b"\1a",
    b"\x3f" + b"b" * 63,
    b"\0",
    b"\xc0\x0c",
    b"\xc0\x0e",
    b"\xc0\x10",
    b"\xc1\0",
    b"\xff\xff",
    b"\xc0\0",
    b"\x40",
    QUESTION,
    b"\xc0\x0c" + QUESTION,
    b"\0" + QUESTION,
    b"\xc0\x0c" + QUESTION + bytes(6),
    b"\xc0\x10" + QUESTION,
)
HEAD = b"GET / HTTP/1.1\r\n"
LINES = (
    b"X: y\r\n",
    b"A:\n",
    b"a:\r",
    b"X",
    b"\r\n",
    b"\n",
    b"\r",
    b"GET / HTTP/1.1\r\n",
    b"AAA :\n",
    b"SSTP_DUPLEX_POST :\n",
    b"Host: h\r\n",
    b"Referer: r\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 99999999\r\n",
    b"~~~~~~:\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: x,x,x,x,x,x\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"\r\n\r\n",
    b"Content-Encoding: gzip\r\n",
    b" " * 40,
    b"GET /\xff\xff\xff\xff?\xff HTTP/1.1\r\n",
)
CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = (
    b"1\r\nX\r\n",
    b"1\nX\r\n",
    b"0001\r\nX\r\n",
    b"1;e=" + b"v" * 130 + b"\r\nX\r\n",
    b"1;e=" + b"v" * 5000,
    b"ffff\r\n",
    b"0\r\n",
    b"T: v\r\n",
    b"\r\n",
    b" " * 100,
    b"0" * 100,
    b"2\r\nab\r\n",
    b"-1\r\n",
    b"7fffffff\r\n",
    b"v" * 50,
)
CONNECT = b"\x10\x0e\0\4MQTT\5\2\0\x3c\0\0\1c"
ALIASED = b"\x30\x85\4" + _be("H", 510) + b"t" * 510 + b"\3\x23\0\1x"
MQTT = (
    b"\xc0\0",
    b"\x30\6\0\0\3\x23\0\1",
    b"\x30\3\0\1t",
    b"\x82\6\0\1\0\1t\0",
    b"\xa2\x80\x80\1\0\1",
    b"\0\0",
    b"\x30\xff\xff\3",
    b"\x30\7\0\1t\3\x01\x01\x01",
    ALIASED,
    b"\x80",
    b"\x30",
    b"\x26\0\0\0\0",
    b"\x1f\0\0",
)
MODBUS = (_be("HHHBB", 1, 0, 2, 1, 3), _be("HHHBB", 1, 0, 2, 1, 0x83), _be("HHH", 1, 0, 65_535), b"\0")
SAMPLED = ipv4(datagram(QUESTIONS + b"\xc0\x0c\0\1\0\1", 5353, 5353), 17)
RECORD = _be("IIIIII", 1, 16 + len(SAMPLED), 11, 1500, 0, 1400) + SAMPLED
SAMPLE = _be("IIIIIIIIII", 1, 32 + len(RECORD), 1, 0, 1, 1, 0, 1, 1, 1)
SFLOW = (
    SAMPLE,
    RECORD,
    SAMPLE + RECORD,
    SAMPLE[:4] + _be("I", 0) + SAMPLE[8:36] + _be("I", 0xFFFF),
    SAMPLE[:4] + _be("I", 4096) + SAMPLE[8:36] + _be("I", 0xFFFF),
    RECORD[:4] + _be("I", 16) + RECORD[8:],
    SAMPLED,
    _be("II", 1, 0),
    _be("III", 1, 0, 0xFFFF),
    _be("III", 1, 4, 0xFFFF),
    _be("II", 2, 0),
    _be("I", 11),
    _be("IIIIII", 1, 16, 11, 1500, 0, 0xFFFF),
    QUESTION,
    b"\0" + QUESTION,
)
DATAGRAM = datagram(b"", 9, 9)
RADIOTAP = (b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\x88\0\0\0", bytes(16), b"\x80\0")
SUBFRAME = bytes(12) + _be("H", 36) + b"\xaa\xaa\3\0\0\0\x08\0" + ipv4(datagram(b"", 5353, 5353), 17)

GRAMMARS = (
    Grammar("dns questions", "datagrams", QUESTIONS, NAMES, 53),
    Grammar("mdns questions", "datagrams", QUESTIONS, NAMES, 5353),
    Grammar("dns records", "datagrams", RECORDS, NAMES, 53),
    Grammar("dns in fragments", "fragments", QUESTIONS, NAMES, 53),
    Grammar("dns over tcp", "segments", QUESTIONS, NAMES, 53, close=_length_before),
    Grammar("http head", "segments", HEAD, LINES, 80),
    Grammar("http answer", "segments", b"HTTP/1.1 200 OK\r\n", LINES, 80),
    Grammar("http on no port", "segments", HEAD, LINES, 9999),
    Grammar("http chunks", "segments", CHUNKED, CHUNKS, 80),
    Grammar("http bodies", "segments", b"", (b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nX", *LINES, *CHUNKS), 80),
    Grammar("ssdp", "datagrams", b"M-SEARCH * HTTP/1.1\r\n", LINES, 1900),
    Grammar("mqtt", "segments", CONNECT, MQTT, 1883),
    Grammar("mqtt aliases", "segments", CONNECT + ALIASED, MQTT, 1883),
    Grammar("modbus", "segments", b"", MODBUS, 502),
    Grammar("socks", "segments", b"\5\1\0", (b"\5\1\0\1\0\0\0\0\0\x50", HEAD, *LINES), 1080),
    Grammar("sflow", "datagrams", _be("IIIIIII", 5, 1, 0, 0, 0, 0, 0xFFFF), SFLOW, 6343),
    Grammar("sflow in fragments", "fragments", _be("IIIIIII", 5, 1, 0, 0, 0, 0, 0xFFFF), SFLOW, 6343),
    Grammar(
        "ipv6 headers",
        "frames",
        b"",
        (
            _be("BBHI", 0, 0, 0, 0),
            _be("BBHI", 60, 0, 0x0100, 0),
            _be("BBHI", 60, 0, 0, 0),
            _be("BBHI", 43, 0, 0, 0),
            _be("BBHI", 44, 0, 0, 7),
            _be("BBHI", 51, 0, 0, 0),
            _be("BBHI", 60, 1, 0, 0),
            bytes(8),
        ),
        close=_in_ipv6(0),
    ),
    Grammar(
        "icmpv6 redirect",
        "frames",
        b"\x89" + bytes(39),
        (b"\1\1" + bytes(6), b"\4\1" + bytes(6), b"\0\1"),
        close=_in_ipv6(58),
    ),
    Grammar(
        "ipv4 options",
        "frames",
        b"",
        (b"\1", b"\x83\3\4", b"\x44\4\5\0", b"\x07\3\4", b"\x94\4\0\0", b"\0", b"\x82\2"),
        close=_with_options,
    ),
    Grammar(
        "gre routes",
        "frames",
        _be("HHI", 0x4000, 0x800, 0),
        (_be("HBB", 1, 0, 0), _be("HBB", 1, 0, 4), bytes(4)),
        close=_in_ipv4(47),
    ),
    Grammar(
        "mpls and tags", "frames", b"\2" * 12 + b"\x88\x47", (bytes(4), b"\0\0\1\0", b"\x81\0\0\1", b"\x88\xa8\0\1")
    ),
    Grammar(
        "ip in ip", "frames", b"", (ipv4(b"", 4), ipv4(b"", 41), ipv4(b"", 47), _be("HH", 0, 0x800)), close=_in_ipv4(4)
    ),
    Grammar("icmp quotations", "frames", b"", (DATAGRAM, QUESTIONS, *NAMES), close=_quoted),
    Grammar("nested fragments", "frames", b"", (DATAGRAM, ipv4(b"", 4, offset=1), bytes(8)), close=_nested_fragments),
    Grammar(
        "gtp extensions",
        "datagrams",
        b"\x34\xff\0\0\0\0\0\0\0\0\0\x85",
        (b"\1\0\0\x85", b"\2" + bytes(6) + b"\x85"),
        2152,
    ),
    Grammar("radiotap", "frames", b"\0\0\xff\x0f\xff\xff\xff\xff", RADIOTAP, linktype=127),
    Grammar(
        "a-msdu",
        "frames",
        b"\x88\0" + bytes(22) + b"\x80\0",
        (SUBFRAME, bytes(14), bytes(12) + b"\xff\xff"),
        linktype=105,
    ),
    Grammar("nflog", "frames", b"\2\0\0\0", (b"\4\0\1\0", b"\0\4\0\1", b"\4\0\x09\0", b"\x09\0\x09\0"), linktype=239),
    Grammar("frames of nothing", "frames", b"", (b"", b"\0", b"\2" * 14, b"\x45")),
)
