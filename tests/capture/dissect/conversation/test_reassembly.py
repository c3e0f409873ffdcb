"""Messages over many segments: put together in bounded memory, given up with a count, decoded within bounds."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from offramp.capture.dissect.content_coding import inflate, unbrotli
from offramp.capture.dissect.conversation.state import CHUNK, CHUNKS, FREE_CHUNKS
from offramp.capture.dissect.dissector import Dissector
from offramp.capture.sources.file.files import open_captures
from tests.support.conversations import Captures, Conversation, write_capture
from tests.support.messages import GET

SEGMENT = 60_000


def dissect(path: Path, dissector: Dissector) -> pa.Table:
    batches = [batch for block in open_captures([str(path)]).read() for batch in dissector.dissect(block)]
    return pa.Table.from_batches(batches)


def free_chunks(dissector: Dissector) -> int:
    return int(dissector._applications.counters[FREE_CHUNKS])


def send_body(talk: Conversation, head: bytes, size: int) -> None:
    """Send a response of `size` bytes of body in large segments."""
    talk.send(0, GET)
    talk.send(1, head)
    for at in range(0, size, SEGMENT):
        talk.send(1, b"x" * min(SEGMENT, size - at))


def test_a_long_message_is_put_together_and_its_memory_freed(tmp_path: Path) -> None:
    made, size = Captures(), 3_000_000
    send_body(made.new(), b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, size)
    dissector = Dissector("full")
    rows = dissect(write_capture(tmp_path / "made.pcap", made.conversations), dissector)
    bodies = [len(body) for body in rows["http.file_data"].to_pylist() if body is not None]
    assert bodies == [size]
    assert free_chunks(dissector) == CHUNKS
    assert dissector.ledger.notes["message_given_up"] == 0


@pytest.mark.parametrize("head", [b"Content-Length: 20000000\r\n", b""], ids=["length", "until the end"])
def test_a_message_beyond_the_bound_is_given_up_and_counted(tmp_path: Path, head: bytes) -> None:
    made = Captures()
    talk = made.new()
    send_body(talk, b"HTTP/1.1 200 OK\r\n" + head + b"\r\n", 20_000_000)
    talk.send(1, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "FPA")
    dissector = Dissector("full")
    rows = dissect(write_capture(tmp_path / "made.pcap", made.conversations), dissector)
    assert dissector.ledger.notes["message_given_up"] == 1
    assert free_chunks(dissector) == CHUNKS
    # what follows a message of known length is looked at again, what follows one until the end is part of it
    assert rows["http.response"].null_count == len(rows) - bool(head)


def test_many_waiting_messages_share_the_memory(tmp_path: Path) -> None:
    """The oldest of too many messages are given up; the newest are put together."""
    made = Captures()
    count, size = 40, 1_200_000
    assert count * size > CHUNKS * CHUNK
    for _ in range(count):
        send_body(made.new(), b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (size + 1), size)
    for talk in reversed(made.conversations):
        talk.time = made.conversations[-1].time + 1
        talk.send(1, b"y")
    dissector = Dissector("full")
    rows = dissect(write_capture(tmp_path / "made.pcap", made.conversations), dissector)
    complete = len(rows) - rows["http.response"].null_count
    given_up = dissector.ledger.notes["message_given_up"]
    assert given_up > 0
    assert complete + given_up == count
    assert complete >= CHUNKS * CHUNK // size - 1
    assert free_chunks(dissector) == CHUNKS


def test_a_new_conversation_frees_what_the_old_one_waited_for(tmp_path: Path) -> None:
    made = Captures()
    send_body(made.new(), b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n", 600_000)
    dissector = Dissector("full")
    dissect(write_capture(tmp_path / "made.pcap", made.conversations), dissector)
    assert free_chunks(dissector) < CHUNKS
    again = Conversation(40_000, 80, start=1e6)
    again.segment(0, b"", "S", sequence=77)
    dissect(write_capture(tmp_path / "again.pcap", [again]), dissector)
    assert free_chunks(dissector) == CHUNKS


def test_decoded_bodies_are_bounded_and_the_cut_is_counted(tmp_path: Path) -> None:
    """A bomb of 64 MB in 64 kB gives no more than a cell holds."""
    bomb = gzip.compress(bytes(64 << 20), mtime=0)
    made = Captures()
    talk = made.new()
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    talk.send(0, GET)
    talk.send(1, head + bomb[:50_000])
    talk.send(1, bomb[50_000:])
    dissector = Dissector("full")
    rows = dissect(write_capture(tmp_path / "made.pcap", made.conversations), dissector)
    assert rows["http.file_data"].drop_null()[0].as_buffer().size == (1 << 24) - 1
    assert dissector.ledger.notes["decoded_body_cut"] == 1


def test_the_stream_profile_decodes_nothing(tmp_path: Path) -> None:
    made = Captures()
    packed = gzip.compress(b"text" * 100)
    made.say(
        [
            (0, GET),
            (1, b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed),
        ]
    )
    path = write_capture(tmp_path / "made.pcap", made.conversations)
    assert "http.file_data" not in dissect(path, Dissector("stream")).schema.names
    assert dissect(path, Dissector("full"))["http.file_data"].drop_null().to_pylist() == [b"text" * 100]


def test_inflate_knows_the_three_wrappings() -> None:
    plain = bytes(np.arange(256, dtype=np.uint8)) * 300
    bare = zlib.compressobj(wbits=-15)
    packings = [gzip.compress(plain), zlib.compress(plain), bare.compress(plain) + bare.flush()]
    assert [inflate(packed, 1 << 20) for packed in packings] == [plain] * 3
    assert [inflate(packed, 100) for packed in packings] == [plain[:100]] * 3
    assert inflate(b"", 100) is None
    assert inflate(b"no such data", 100) is None


def test_unbrotli_takes_whole_data_only() -> None:
    plain = b"words and words and words"
    packed = pa.compress(plain, codec="brotli", asbytes=True)
    assert unbrotli(packed, 100) == plain
    assert unbrotli(packed[:-3], 100) is None
    assert unbrotli(b"no such data", 100) is None
