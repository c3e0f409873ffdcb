"""What a packet costs does not hang on its content: steps are counted by the kernels, and bounded a byte received."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from offramp.capture.dissect.conversation.flow_table import KEY_WORDS, new_secret
from offramp.capture.dissect.conversation.state import CHUNKS, FREE_CHUNKS
from offramp.capture.dissect.dissector import Dissector
from tests.fuzz.costs import MAX_COST, climb
from tests.fuzz.grammars import GRAMMARS, QUESTION, QUESTIONS, Grammar
from tests.fuzz.mutations import block_of, datagram, ethernet, ipv4, segment

TRIES = 40
NS = 1_000_000_000


def over_tcp(parts: Iterable[bytes], port: int = 80) -> list[bytes]:
    """Return the frames of one side of a conversation, a segment for each part."""
    out, sequence = [segment(b"", port, 0, 2, 4000)], 1
    for part in parts:
        out.append(segment(part, port, sequence, 0x18, 4000))
        sequence += len(part)
    return [ethernet(ipv4(each, 6)) for each in out]


def dissected(
    packets: list[bytes], times: np.ndarray | None = None, **options: Any
) -> tuple[Dissector, list[dict[str, Any]]]:
    """Return the dissector that took the packets, and their rows."""
    dissector = Dissector("full", **options)
    block = block_of(packets)
    block = block if times is None else replace(block, time_ns=times)
    return dissector, [row for batch in dissector.dissect(block) for row in batch.to_pylist()]


def names(questions: bytes) -> list[str]:
    """Return the names that a message of these questions shows."""
    message = QUESTIONS + questions
    _, rows = dissected([ethernet(ipv4(datagram(message, 53, 4000), 17))])
    further = [each["value"] for each in rows[0]["occurrences"] or () if not each["value"].isdigit()]
    return [rows[0]["dns.qry.name"].decode(), *further] if rows[0]["dns.qry.name"] else []


@pytest.mark.parametrize("grammar", GRAMMARS, ids=lambda each: each.name.replace(" ", "-"))
def test_no_input_found_takes_more_steps_a_byte_than_allowed(grammar: Grammar) -> None:
    steps, dearest = climb(grammar, random.Random(7), TRIES)
    assert 0 < steps <= MAX_COST, dearest


def test_a_chain_of_labels_is_not_walked_round_and_round() -> None:
    chain = b"\1a" * 365 + b"\xc0\x0c" + QUESTION
    found = names(chain + (b"\xc0\x0c" + QUESTION) * 100)
    assert found == ["<Name too long>"] * 101


def test_a_pointer_leads_back_before_all_that_was_read() -> None:
    loops = "<Name contains a pointer that loops>"
    assert names(b"\xc0\x0c" + QUESTION) == [loops]
    assert names(b"\1a\xc0\x0c" + QUESTION) == [loops]
    assert names(b"\xc0\x12" + QUESTION + b"\1b\0" + QUESTION) == [loops, "b"]  # forward
    assert names(b"\xc3\xff" + QUESTION) == []  # beyond the message: malformed
    three = b"\1a\2bc\0" + QUESTION + b"\1d\xc0\x0e" + QUESTION + b"\1e\xc0\x16" + QUESTION
    assert names(three) == ["a.bc", "d.bc", "e.d.bc"]


def test_names_of_253_characters_are_shown_and_longer_ones_not() -> None:
    label = b"\x3f" + b"x" * 63
    assert [len(name) for name in names(label * 3 + b"\x3d" + b"y" * 61 + b"\0" + QUESTION)] == [253]
    assert names(label * 3 + b"\x3e" + b"y" * 62 + b"\0" + QUESTION + b"\1z\0" + QUESTION) == ["<Name too long>", "z"]


def test_the_names_of_one_message_have_a_bound_that_is_counted() -> None:
    """Questions of two bytes that each spell a name of 253 characters: the first are shown, and the cut is told."""
    name = b"\x01a" * 126 + b"\0"
    message = QUESTIONS + name + QUESTION + (b"\xc0\x0c" + QUESTION) * 9000
    dissector, rows = dissected(over_tcp([struct.pack(">H", len(message)) + message], 53))
    shown = 1 + sum(each["value"].startswith("a.") for each in rows[-1]["occurrences"])
    assert 4000 < shown < 9000
    assert dissector.ledger.notes["dns_names_cut"] == 1
    dissector, rows = dissected(over_tcp([struct.pack(">H", 4096) + message[:4096]], 53))
    assert "dns_names_cut" not in dissector.ledger.notes or dissector.ledger.notes["dns_names_cut"] <= 1


CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
DRIPS: dict[str, tuple[bytes, Callable[[int], bytes]]] = {
    "behind a head": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000, lambda n: b"X" * n),
    "a line without an end": (b"GET /" + b"y" * 12_000, lambda n: b"y" * n),
    "lines of a head": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000, lambda n: b"Z:\r\n" * (n // 4)),
    "half line ends": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000, lambda n: b"Z\rQ\r" * (n // 4)),
    "behind chunks": (CHUNKED + b"1\r\nX\r\n" * 2000, lambda n: b"f" * n),
    "small chunks": (CHUNKED, lambda n: b"1\r\nX\r\n" * (n // 6)),
    "a long chunk line": (
        CHUNKED + b"1\r\nX\r\n" * 2000 + b"1;", lambda n: b"e" * n,
    ),
    "long chunk lines": (
        CHUNKED + b"1\r\nX\r\n" * 2000,
        lambda n: (b"1;" + b"e" * 150 + b"\r\nX\r\n") * (n // 157),
    ),
    "a trailer": (
        CHUNKED + b"1\r\nX\r\n" * 2000 + b"0\r\nT: ", lambda n: b"t" * n,
    ),
    "a body of known length": (b"POST / HTTP/1.1\r\nContent-Length: 90000\r\n\r\n" + b"x" * 12_000, lambda n: b"x" * n),
    "a body until the end": (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 12_000, lambda n: b"x" * n),
}  # fmt: skip
"""What comes at once, and what then comes byte by byte."""


@pytest.mark.parametrize("name", DRIPS)
def test_what_came_before_is_not_read_again_for_each_segment(name: str) -> None:
    first, then = DRIPS[name]
    steps = []
    for count in (600, 1200, 2400):
        dissector, _ = dissected(over_tcp([first, *(bytes([byte]) for byte in then(count))]))
        steps.append(dissector.steps)
    assert steps[2] - steps[1] < 2.5 * (steps[1] - steps[0]) + 1000
    assert steps[2] - steps[1] < 1200 * 400  # an eighth of what the bound allows for the 55 bytes of such a segment


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 2047, 2048, 2049])
def test_heads_and_chunks_in_pieces_give_what_they_give_at_once(end: bytes, size: int) -> None:
    head = end.join([b"POST /a?b HTTP/1.1", b"Host: h", b"X: " + b"x" * 3000, b"Transfer-Encoding: chunked", b"", b""])
    chunk = b"5;" + b"e" * 300 + b"\r\nhello\r\n"
    whole, rest = head + chunk * 20, [b"0\r\n\r\n", b"GET /next HTTP/1.1\r\nHost: n\r\n\r\n"]
    columns = ("http.request.method", "http.request.full_uri", "http.file_data", "http.request.uri.query")

    def shown(parts: list[bytes]) -> list[list[object]]:
        dissector, rows = dissected(over_tcp([*parts, *rest]))
        assert int(dissector._applications.counters[FREE_CHUNKS]) == CHUNKS
        return [[row[name] for row in rows if row[name] is not None] for name in columns]

    assert shown([whole[at : at + size] for at in range(0, len(whole), size)]) == shown([whole])


def test_a_message_with_a_chunk_line_beyond_all_bounds_is_given_up_and_counted() -> None:
    parts = [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;", *[b"e" * 100] * 50]
    dissector, _ = dissected(over_tcp(parts))
    assert dissector.ledger.notes["message_given_up"] == 1


def test_an_early_segment_far_away_takes_no_memory() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n"
    frames = over_tcp([head])
    frames += [ethernet(ipv4(segment(b"x", 80, 8_000_000, 0x18, 4000), 6))]
    dissector, _ = dissected(frames)
    assert int(dissector._applications.counters[FREE_CHUNKS]) >= CHUNKS - 1
    assert dissector.ledger.notes["message_given_up"] == 1


def traffic(count: int, seed: int = 3) -> list[bytes]:
    """Return packets of many conversations, IPv4 and IPv6, TCP and UDP, both ways."""
    rng = random.Random(seed)
    out = []
    for _ in range(count):
        near, host = rng.randrange(1024, 1400), rng.randrange(1, 40)
        if rng.random() < 0.5:
            out.append(
                ethernet(ipv4(segment(b"GET / HTTP/1.1\r\n\r\n", 80, rng.randrange(99), 0x18, near), 6, host=host))
            )
        elif rng.random() < 0.7:
            out.append(ethernet(ipv4(datagram(b"x", 9, near), 17, host=host)))
        else:
            ends = bytes(15) + bytes([host]) + bytes(15) + b"\xfe"
            out.append(ethernet(struct.pack(">IHBB", 0x60000000, 9, 17, 1) + ends + datagram(b"x", 9, near), 0x86DD))
    return out


def test_rows_do_not_depend_on_the_secret() -> None:
    """With another secret, and with one that puts all conversations into one place, everything comes out the same."""
    packets = traffic(6000)
    none = np.zeros(1 + KEY_WORDS, np.int64)
    found = [dissected(packets, secret=secret, max_flows=1024) for secret in (new_secret(), new_secret(), none)]
    assert found[0][0].ledger.notes["flow_evicted"] > 0
    assert found[0][1] == found[1][1] == found[2][1]
    assert found[0][0].ledger == found[1][0].ledger == found[2][0].ledger


def test_who_knows_the_secret_makes_the_table_choose_another() -> None:
    packets = [
        ethernet(ipv4(segment(b"", 443, 0, 2, 1024 + at % 60_000), 6, host=1 + at // 60_000)) for at in range(4000)
    ]
    known, _ = dissected(packets, secret=np.zeros(1 + KEY_WORDS, np.int64))
    unknown, _ = dissected(packets)
    assert known._flows.counters[8:].any()  # another secret than the one given
    assert unknown.steps < 10 * len(packets)
    assert known.steps < unknown.steps + 256 * 257


def flows(numbers: Iterable[int]) -> list[bytes]:
    """Return a packet of each conversation of a number."""
    return [ethernet(ipv4(datagram(b"x", 9, 1024 + number), 17)) for number in numbers]


def test_idle_conversations_leave_from_half_full_on_and_are_counted() -> None:
    dissector, rows = dissected(
        flows([*range(600), *range(2000, 2100), 0]), np.repeat([0, 400 * NS], [600, 101]), max_flows=1024
    )
    assert dissector.ledger.notes["flow_idle_forgotten"] == 600
    assert rows[-1]["udp.stream"] == 700
    assert "flow_evicted" not in dissector.ledger.notes


def test_none_leaves_before_that_however_idle_it_is() -> None:
    dissector, rows = dissected(flows([*range(400), 0]), np.repeat([0, 10**6 * NS], [400, 1]), max_flows=1024)
    assert rows[-1]["udp.stream"] == 0
    assert "flow_idle_forgotten" not in dissector.ledger.notes


def test_a_packet_of_the_future_makes_no_conversation_idle() -> None:
    times = np.zeros(621, np.int64)
    times[510] = 10**9 * NS
    dissector, rows = dissected(flows([*range(620), 0]), times, max_flows=1024)
    assert rows[-1]["udp.stream"] == 0
    assert "flow_idle_forgotten" not in dissector.ledger.notes


def fragment(name: int, offset: int) -> bytes:
    """Return the first or the second half of a datagram."""
    part = (datagram(b"y" * 8, 9, 4000)[:8], b"y" * 8)[offset]
    return ethernet(ipv4(part, 17, offset=(0x2000, 1)[offset], name=name))


@pytest.mark.parametrize(("waiting", "lost"), [(60, 0), (100, 100)], ids=["few", "many"])
def test_fragments_that_waited_for_a_minute_leave_where_many_wait(waiting: int, lost: int) -> None:
    packets = [fragment(name, 0) for name in range(waiting)] + [fragment(500, 0), fragment(0, 1)]
    dissector, rows = dissected(packets, np.repeat([0, 70 * NS], [waiting, 2]))
    assert dissector.ledger.notes["ip_fragment_lost"] == lost
    assert (rows[-1]["udp.srcport"] == 4000) is (lost == 0)


def test_a_packet_ends_four_datagrams_one_within_the_other_and_no_more() -> None:
    def nested(depth: int) -> list[bytes]:
        inner = ipv4(datagram(b"x" * 24, 9, 4000), 17)
        first = []
        for level in range(depth):
            inner += bytes(-len(inner) % 8)
            first.append(ethernet(ipv4(inner[:16], 4, offset=0x2000, name=100 + level)))
            inner = ipv4(inner[16:], 4, offset=2, name=100 + level)
        return [*first, ethernet(inner)]

    assert [dissected(nested(depth))[1][-1]["udp.dstport"] for depth in (1, 2, 4, 5)] == [9, 9, 9, None]


def test_what_is_not_followed_is_told_by_its_number() -> None:
    packets = [ethernet(b"\0" * 40, 0x88E5)] * 5 + [ethernet(ipv4(b"\0" * 20, 103))] * 3
    packets += [
        ethernet(ipv4(datagram(b"\0" * 20, 1701, 1701), 17)),
        ethernet(ipv4(struct.pack(">HH", 0, 0x6400) + bytes(9), 47)),
    ]
    dissector, rows = dissected(packets)
    assert dissector.ledger.unfollowed == {
        "ether_type_0x88e5": 5, "ip_protocol_103": 3, "udp_port_1701_tunnel": 1, "gre_protocol_0x6400": 1,
    }  # fmt: skip
    assert rows[-1]["ip.proto"] == 47


def test_however_many_kinds_are_not_followed_few_have_a_name() -> None:
    packets = [ethernet(b"\0" * 40, 0xA000 + kind % 500) for kind in range(1000)]
    dissector, _ = dissected(packets)
    assert len(dissector.ledger.unfollowed) == 17
    assert dissector.ledger.unfollowed.total() == 1000
    assert dissector.ledger.unfollowed["other_kinds"] > 900
