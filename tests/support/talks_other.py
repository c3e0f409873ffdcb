"""Conversations that a dissector is tried on: TCP's repetitions, MQTT, DNS and Modbus."""

from __future__ import annotations

from tests.support.conversations import Captures
from tests.support.messages import GET, POST, connect, dns, modbus, mqtt, over_tcp, text, variable


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
    talk.segment(0, GET[:9], "S", sequence=0)
    talk.segment(1, b"", "SA", sequence=0, acknowledged=10)
    talk.segment(0, GET[9:], sequence=10, acknowledged=1)
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
        b"\4a\xc2\x85z",
        b"\5a\xe2\x80\x8bz",
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
