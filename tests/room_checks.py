"""What holds of every room that kernels ask for: checks on shares so small that interpreted kernels reach them at once.

Run by `python -m tests.room_mutants` under NUMBA_DISABLE_JIT=1, first as they are, then with each room check of the
sources taken out in turn. Interpreted, a store beyond an array raises; all else that a missing check does is asserted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from capture import application_state, batches, dissector, emit, flow_table, fragments, mqtt, reassembly
from capture.dissector import Dissector
from capture.emit import EXTRAS, NOTE_OCCURRENCES_CUT, NOTE_TEXT_CUT, SHOWN, TEXT
from capture.flow_table import FREE, KEY_WORDS, SECRET
from capture.record_scan import ABSURD, FULL, LARGEST_BLOCK, LARGEST_PACKET, MORE, scan_pcap, scan_pcapng
from capture.schema import INDEX
from stream import bins
from stream.bin_state import SERIES, BinOut, LinkShape, new_bin_out
from stream.channels import Counter
from stream.normaliser import BUCKETS, Normaliser
from stream.packets import IPV4_MAPPED, Packets
from tests.fuzz.growth import (
    Grown,
    apart,
    chunked,
    ends_together,
    far_uri,
    fragmented,
    nested_fragments,
    over_tcp,
    publish,
    questions,
    stream,
    unsubscribe,
)
from tests.fuzz.mutations import block_of, datagram, ethernet, ipv4, segment

SMALL = {
    emit: {"MOST_OCCURRENCES": 20, "MOST_TEXT": 600, "MOST_SHOWN": 200, "BATCH_OCCURRENCES": 30, "BATCH_TEXT": 700,
           "BATCH_SHOWN": 300},
    fragments: {"SCRATCH_RESERVE": 2500},
    dissector: {"SCRATCH_RESERVE": 2500},
    reassembly: {"MAX_MESSAGE": 5000},
    application_state: {"CHUNKS": 4},
}  # fmt: skip
COLUMN, BODY, TOPIC = INDEX["mqtt.msgtype"], INDEX["http.file_data"], INDEX["mqtt.topic"]
PINGS = b"\xc0\0"

Check = Callable[[], None]
CHECKS: list[tuple[str, Check]] = []


def check(module: str) -> Callable[[Check], Check]:
    """Enter a check, with the module whose rooms it is about first of all."""

    def enter(function: Check) -> Check:
        CHECKS.append((module, function))
        return function

    return enter


@contextmanager
def constants(changes: dict[Any, dict[str, int]]) -> Iterator[None]:
    """Change constants of modules for a while; interpreted kernels read them at each call."""
    before = {module: {name: getattr(module, name) for name in names} for module, names in changes.items()}
    try:
        for module, names in changes.items():
            for name, value in names.items():
                setattr(module, name, value)
        yield
    finally:
        for module, names in before.items():
            for name, value in names.items():
                setattr(module, name, value)


class Found:
    """What a dissector with small shares makes of packets: per row its cells and occurrences, and what was counted."""

    def __init__(self, grown: Grown, *, separately: bool = False) -> None:
        self.rows: list[dict[str, Any]] = []
        self.batches = 0
        self.texts: list[int] = []
        worker = Dissector("full", max_flows=1024)
        worker._spare[0].text[:] = 65
        parts = [[each] for each in grown.packets] if separately else [grown.packets]
        for number, part in enumerate(parts):
            for filled in worker.fill(block_of(part, linktype=grown.linktype, first_number=number + 1)):
                self.batches += 1
                assert self.batches <= 2 * len(grown.packets) + 2, "a batch without rows, again and again"
                self.texts.append(int(filled.table.cursor[TEXT]))
                self.rows += worker.build(filled).to_pylist()
        self.notes = worker.ledger.notes
        self.free = int(worker._flows.counters[FREE])

    def counts(self) -> list[int]:
        """Return the number of further occurrences of each row."""
        return [len(row["occurrences"] or ()) for row in self.rows]

    def cells(self, name: str) -> list[Any]:
        """Return the cells of a column that are there."""
        return [row[name] for row in self.rows if row[name] is not None]


def grant(out: emit.Table) -> emit.Table:
    """Begin a row, which has room."""
    assert emit.begin_row(out)
    return out


@check("capture.emit")
def each_row_has_its_share_of_the_list() -> None:
    out, granted = emit.new_table(4), []
    for row in range(3):
        granted.append(bool(emit.begin_row(out)))
        for value in range(26 if granted[-1] else 0):
            emit.put(out, row, COLUMN, value)
    assert granted == [True, True, False]
    assert out.extra_value[:40].tolist() == [*range(1, 21)] * 2
    assert out.extra_row[:40].tolist() == [0] * 20 + [1] * 20
    assert (out.cursor[EXTRAS], out.notes[NOTE_OCCURRENCES_CUT]) == (40, 10)


@check("capture.emit")
def each_row_has_its_share_of_the_block() -> None:
    out = emit.new_table(4)
    for row in range(2):
        grant(out)
        for size in (1000, 80, 80, 80, 40, 1):
            emit.put_span(out, row, BODY, 7, size, 0)
    assert (out.extra_value[:6] & 0xFFFFFF).tolist() == [80, 80, 40] * 2
    assert (out.cursor[SHOWN], out.notes[NOTE_OCCURRENCES_CUT]) == (400, 4)
    assert not emit.begin_row(out)
    out = emit.new_table(4)
    for row, size in ((0, 200), (1, 100)):
        grant(out)
        emit.put_span(out, row, BODY, 7, 1, 0)
        emit.put_span(out, row, BODY, 7, size, 0)
    grant(out)


@check("capture.emit")
def each_row_has_its_share_of_the_text() -> None:
    out, granted = emit.new_table(4), []
    out.text[:] = 255
    for row in range(3):
        granted.append(bool(emit.begin_row(out)))
        if granted[-1]:
            start = int(out.cursor[TEXT])
            emit.copy_text(out, start, np.full(590, 1, np.uint8), 0, 590)
            for step in range(590, 610):
                emit.set_text(out, start + step, 2)
            emit.copy_text(out, start + 602, np.full(9, 3, np.uint8), 0, 9)
            emit.put_text(out, row, BODY, 610, 0)
            assert out.values[BODY, row] == 1 << 62 | start << 24 | 600
    assert granted == [True, True, False]
    assert out.text[:1200].tolist() == ([1] * 590 + [2] * 10) * 2
    assert set(out.text[1200:].tolist()) == {255}
    assert (out.cursor[TEXT], out.notes[NOTE_TEXT_CUT]) == (1200, 2)


@check("capture.emit")
def text_that_is_kept_is_not_written_again() -> None:
    out = grant(emit.new_table(2))
    out.text[:] = 0
    assert emit.take_text(out, 10) == 10
    emit.set_text(out, 9, 1)
    emit.copy_text(out, 8, np.ones(4, np.uint8), 0, 4)
    emit.set_text(out, 10, 1)
    emit.copy_text(out, 11, np.ones(9, np.uint8), 5, 2)
    assert out.text[:16].tolist() == [0] * 10 + [1] * 3 + [0] * 3
    emit.drop_text(out, 20)
    assert out.cursor[TEXT] == 10
    emit.drop_text(out, 4)
    assert out.cursor[TEXT] == 4
    assert out.notes[NOTE_TEXT_CUT] == 0


@check("capture.emit")
def text_without_a_place_in_the_list_is_not_kept() -> None:
    out = grant(emit.new_table(2))
    for _ in range(25):
        emit.put_text(out, 0, BODY, 3, 0)
    assert (out.cursor[TEXT], out.notes[NOTE_OCCURRENCES_CUT]) == (63, 4)


@check("capture.emit")
def no_cell_is_longer_than_its_length_can_tell() -> None:
    with constants({emit: {"LARGEST_CELL": 50}}):
        out = grant(emit.new_table(2))
        emit.put_span(out, 0, BODY, 1, 51, 0)
        assert out.values[BODY, 0] == 1 << 24 | 50
        assert emit.span(2, 49) == 2 << 24 | 49
        emit.put_text(out, 0, TOPIC, 51, 0)
        assert out.values[TOPIC, 0] == 1 << 62 | 50
        assert (out.cursor[TEXT], out.notes[NOTE_TEXT_CUT]) == (50, 1)
        assert emit.take_text(out, 50) == 50
        assert out.notes[NOTE_TEXT_CUT] == 1


@check("capture.emit")
def a_row_is_full_when_a_share_is_used_up() -> None:
    out = grant(emit.new_table(2))
    assert not emit.row_full(out)
    for value in range(20):
        emit.put(out, 0, COLUMN, value)
    assert not emit.row_full(out)
    emit.put(out, 0, COLUMN, 20)
    assert emit.row_full(out)
    assert out.notes[NOTE_OCCURRENCES_CUT] == 1
    out = grant(emit.new_table(2))
    emit.take_text(out, 599)
    assert not emit.row_full(out)
    emit.take_text(out, 1)
    assert emit.row_full(out)
    assert out.notes[NOTE_TEXT_CUT] == 1


@check("capture.emit")
def bytes_are_copied_as_far_as_both_go() -> None:
    source, target = np.ones(3, np.uint8), np.zeros(5, np.uint8)
    emit.copy_bytes(source, target)
    assert target.tolist() == [1, 1, 1, 0, 0]
    emit.copy_bytes(np.full(9, 2, np.uint8), target)
    assert target.tolist() == [2] * 5


@check("capture.rows")
def what_a_row_shows_hangs_on_its_packet_alone() -> None:
    parts, at = [segment(b"", 1883, 0, 2, 4000)], 1
    for size in (40, 3, 700, 1, 12, 700, 700, 5):
        parts.append(segment(PINGS * size, 1883, at, 0x18, 4000))
        at += 2 * size
    packets = Grown([ethernet(ipv4(part, 6)) for part in parts])
    together, apart = Found(packets), Found(packets, separately=True)
    assert together.counts() == [0, 20, 6, 20, 0, 20, 20, 20, 12]
    assert together.rows == apart.rows
    assert together.notes == apart.notes == {"occurrences_cut": 10}
    assert 1 < together.batches < len(parts)


@check("capture.dns")
def questions_end_with_the_row() -> None:
    found = Found(over_tcp(b"\x0f\xff" + questions(680, b"\1n\0"), 53, 1500))
    assert max(found.counts()) == 0
    found = Found(Grown([ethernet(ipv4(datagram(questions(200, b"\3abc\0"), 53, 4000), 17))]))
    assert (found.counts(), found.texts) == ([20], [24])
    assert found.notes == {"occurrences_cut": 2}
    long = (b"\x3f" + b"n" * 63) * 3 + b"\0"
    found = Found(Grown([ethernet(ipv4(datagram(questions(200, long), 53, 4000), 17))]))
    assert (found.counts(), found.texts, found.notes) == ([9], [600], {"text_cut": 2})


@check("capture.mqtt")
def topics_end_with_the_row() -> None:
    found = Found(over_tcp(unsubscribe(100), 1883))
    assert (found.counts(), found.notes) == ([0, 20], {"occurrences_cut": 1})
    found = Found(over_tcp(unsubscribe(8, 60), 1883, 300))
    assert (found.counts(), found.texts, found.notes) == ([0, 0, 2], [600], {"text_cut": 2})


@check("capture.tcp_stream")
def messages_end_with_the_row() -> None:
    found = Found(over_tcp(PINGS * 700, 1883))
    assert (found.counts(), found.notes) == ([0, 20], {"occurrences_cut": 2})


@check("capture.rows")
def samples_end_with_the_row() -> None:
    payload = apart(PINGS * 5, 12, 1883)
    found = Found(Grown([ethernet(ipv4(datagram(payload, 6343, 4000), 17))]))
    assert (found.counts(), found.notes) == ([20], {"occurrences_cut": 10})


@check("capture.flow_table")
def a_table_whose_searches_are_long_gets_another_secret() -> None:
    with constants({flow_table: {"MOST_PROBES": 3}}):
        known = Dissector("stream", secret=np.zeros(1 + KEY_WORDS, np.int64))
        known.dissect(block_of([ethernet(ipv4(datagram(b"x", 9, 4000 + at), 17)) for at in range(9)]))
        assert known._flows.counters[SECRET:].any()


@check("capture.reassembly")
def a_message_without_room_is_not_shown() -> None:
    found = Found(over_tcp(publish(600), 1883, 300))
    assert (found.cells("mqtt.msg"), found.notes) == ([], {"text_cut": 1})
    assert found.texts[-1] == 0
    found = Found(over_tcp(publish(280), 1883, 150))
    assert ([len(each) for each in found.cells("mqtt.msg")], found.notes) == ([280], {})
    answer = b"HTTP/1.1 200 O:K\r\n\r\n" + b"b" * 600
    parts = [b"", answer[:300], answer[300:]]
    ends = [0, 0, 300]
    frames = [
        ethernet(ipv4(segment(part, 80, 1 + ends[at] - (at == 0), 0x1010 | (2, 0, 1)[at], 4000), 6))
        for at, part in enumerate(parts)
    ]
    found = Found(Grown(frames))
    assert (found.cells("http.response"), found.notes) == ([], {"text_cut": 1})
    assert found.cells("http.file_data") == []
    short = b"HTTP/1.1 200 OK\r\n\r\n" + b"b" * 90
    parts = [segment(b"", 80, 0, 0x1002, 4000), segment(short[:60], 80, 1, 0x1010, 4000)]
    found = Found(Grown([ethernet(ipv4(each, 6)) for each in (*parts, segment(short[60:], 80, 61, 0x1011, 4000))]))
    assert (found.cells("http.response"), found.notes) == ([1], {})


@check("capture.reassembly")
def a_message_beyond_its_bound_is_given_up() -> None:
    found = Found(over_tcp(publish(4900), 1883, 1000))
    assert found.notes == {"text_cut": 1}
    found = Found(over_tcp(publish(5100), 1883, 1000))
    assert found.notes == {"message_given_up": 1}
    answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"b" * 6000
    frames = [segment(b"", 80, 0, 0x1002, 4000)]
    frames += [segment(answer[at : at + 1000], 80, 1 + at, 0x1010, 4000) for at in range(0, 6000, 1000)]
    assert Found(Grown([ethernet(ipv4(each, 6)) for each in frames])).notes == {"message_given_up": 1}


@check("capture.reassembly")
def early_stretches_are_bounded() -> None:
    whole = publish(4000)
    places = [0, *range(200, 4000, 200)]
    frames = [segment(b"", 1883, 0, 2, 4000)]
    frames += [segment(whole[at : at + 100], 1883, 1 + at, 0x18, 4000) for at in places]
    assert Found(Grown([ethernet(ipv4(each, 6)) for each in frames])).notes == {"message_given_up": 1}
    whole = publish(180)
    places = [0, 40, 20, *range(60, 200, 20)]
    frames = [segment(whole[at : at + 20], 1883, 1 + at, 0x18, 4000) for at in places]
    found = Found(Grown([ethernet(ipv4(each, 6)) for each in (segment(b"", 1883, 0, 2, 4000), *frames)]))
    assert ([len(each) for each in found.cells("mqtt.msg")], found.notes) == ([180], {})


@check("capture.reassembly")
def chunks_of_the_arena_are_bounded() -> None:
    frames = []
    for near in range(4000, 4006):
        frames.append(segment(b"", 1883, 0, 2, near))
        frames += [segment(publish(4500)[at : at + 1000], 1883, 1 + at, 0x18, near) for at in (0, 1000, 2000)]
    frames += [segment(publish(4500)[at : at + 1000], 1883, 1 + at, 0x18, 4005) for at in (3000, 4000)]
    with constants({emit: {"MOST_TEXT": 10_000, "BATCH_TEXT": 10_000}}):
        found = Found(Grown([ethernet(ipv4(each, 6)) for each in frames]))
    assert ([len(each) for each in found.cells("mqtt.msg")], found.notes) == ([4500], {"message_given_up": 5})
    talks = [stream(publish(280), 1883, 150, near=near) for near in (4000, 4001)]
    frames = [ethernet(each) for pair in zip(*talks, strict=True) for each in pair]
    found = Found(Grown(frames))
    assert ([len(each) for each in found.cells("mqtt.msg")], found.notes) == ([280, 280], {})
    with constants({application_state: {"CHUNKS": 2}}):
        assert Found(over_tcp(publish(4900), 1883, 1000)).notes == {"message_given_up": 1}


@check("capture.reassembly")
def a_chunk_line_is_looked_at_within_its_room() -> None:
    apps = application_state.new_applications(4)
    table = grant(emit.new_table(2))
    room = application_state.LINE
    data = (np.arange(room + 200) % 251).astype(np.uint8)
    reassembly.begin(table, apps, 0, data, 0, len(data), 1, reassembly.SEGMENT, 0)
    assert reassembly.peek(apps, 0, 10, 1 << 20) == room
    assert apps.line.tolist() == data[10 : 10 + room].tolist()
    assert reassembly.peek(apps, 0, 10, 7) == 7
    assert (reassembly.peek(apps, 0, room + 190, room), reassembly.peek(apps, 0, room + 200, room)) == (10, 0)
    found = Found(over_tcp(chunked(30), 80, 90))
    assert [len(each) for each in found.cells("http.file_data")] == [30]


@check("capture.mqtt")
def an_alias_keeps_what_it_has_room_for() -> None:
    apps, topic = application_state.new_applications(4), np.full(600, 116, np.uint8)
    mqtt.keep_alias(apps, topic, 0, 600, 1, 5)
    out = grant(emit.new_table(2))
    mqtt.put_alias(out, apps, 0, 1, 5)
    assert out.values[TOPIC, 0] == 1 << 62 | application_state.ALIAS_BYTES
    mqtt.keep_alias(apps, topic, 0, 9, 1, 5)
    mqtt.put_alias(grant(out), apps, 1, 1, 5)
    assert out.values[TOPIC, 1] & 0xFFFFFF == 9


@check("capture.http")
def long_targets_are_cut() -> None:
    found = Found(Grown([ethernet(ipv4(segment(far_uri(400), 80, 1, 0x18, 4000), 6))]))
    assert ([len(each) for each in found.cells("http.request.full_uri")], found.notes) == ([600], {"text_cut": 1})


@check("capture.fragments")
def what_a_packet_completes_has_its_share_of_the_scratch() -> None:
    for early in (0, 1):
        frames = fragmented(datagram(b"z" * 900, 9, 4000), size=600, name=9)[: 1 if early else 2]
        found = Found(Grown(frames + nested_fragments(4, 1200).packets))
        assert found.notes["ip_reassembled"] == 2 + (1 - early), found.notes
        assert found.notes["ip_fragment_lost"] == 1
    whole = ipv4(datagram(b"z" * 900, 9, 4000), 17)
    assert Found(Grown([ethernet(whole)])).notes == {}


@check("capture.fragments")
def no_fragment_goes_beyond_a_datagram() -> None:
    frames = [ethernet(ipv4(bytes(size), 17, offset=offset)) for offset, size in ((8190, 24), (8191, 8), (8190, 16))]
    assert Found(Grown(frames)).notes == {"ip_fragment": 3, "ip_fragment_lost": 1}


@check("capture.flow_table")
def conversations_have_room_before_each_row() -> None:
    frames = [ethernet(ipv4(segment(b"", 80, 0, 2, near), 6)) for near in range(1000, 2000)]
    found = Found(Grown(frames))
    assert found.cells("tcp.stream") == [*range(1000)]
    assert found.free >= 0
    assert found.notes == {"flow_evicted": 224}


@check("capture.batches")
def offsets_stay_within_arrow() -> None:
    with constants({batches: {"_MOST": 100}}):
        values = np.array([60, 5, 60, 7]) | (3 << 24)
        starts, body = np.zeros(5, np.int32), np.zeros(100, np.uint8)
        batches.pack_lengths(values, starts, np.zeros(1, np.uint8))
        assert starts.tolist() == [0, 60, 65, 100, 100]
        batches.pack_bytes(values, starts, body, np.arange(80, dtype=np.uint8), np.zeros(0, np.uint8))
        assert body.tolist() == [*range(3, 63), *range(3, 8), *range(3, 38)]


def link_packets(times_ns: list[int], sources: list[int], marks: int = 0) -> Packets:
    """Return packets of 100 bytes from devices of 10.0.0.0/8."""
    n = len(times_ns)
    address = np.zeros((n, 4), np.int64)
    address[:, 1] = (IPV4_MAPPED | 0x0A000000) + np.array(sources)
    address[:, 3] = IPV4_MAPPED | 0xC0000201
    return Packets(
        np.array(times_ns, np.int64), np.full(n, 100), address, np.full(n, 6), np.full(n, 80),
        np.full(n, marks, np.int64), np.full(n, np.nan),
    )  # fmt: skip


def small_out(rows: int) -> BinOut:
    """Return room for so many closed bins."""
    out = new_bin_out()
    return BinOut(out.used, *(array[:rows] for array in out[1:]))


def closed_in(room: int, packets: Packets, last_ns: int) -> list[tuple[int, int]]:
    """Return the bins and series of the rows that packets close, a clock at `last_ns` and the end, in so much room."""
    bins._ROOM.out = small_out(room)
    link = bins.Bins(LinkShape(1e7, 1e7, None, ("10.0.0.0/8",), device_share=0.0))
    found: list[tuple[int, int]] = []
    for step in (lambda: link.update(packets), lambda: link.advance(last_ns), link.close):
        for parts, closed in enumerate(step()):
            assert parts < 1000
            assert len(closed.series) <= room
            found += zip(closed.bin_number.tolist(), closed.series.tolist(), strict=True)
    return found


@check("stream.close_bins")
def closed_bins_are_handed_on_before_there_is_no_room() -> None:
    base = 1_700_000_000_000_000_000
    times = [base + each * 2_500_000 for each in range(40)] + [base + 300_000_000]
    packets = link_packets(times, [1 + each % 5 for each in range(41)])
    try:
        wanted = closed_in(3000, packets, base + 600_000_000)
        assert len(wanted) > 4 * SERIES
        assert closed_in(SERIES + 7, packets, base + 600_000_000) == wanted
        assert closed_in(SERIES, packets, base + 600_000_000) == wanted
        hour = 3600 * 10**9
        odd = link_packets([-3_000_000_000, 0, -2_000_000_000, -1_000_000_000, hour], [1] * 5)
        assert closed_in(SERIES + 7, odd, 2 * hour) == closed_in(6000, odd, 2 * hour)
    finally:
        del bins._ROOM.out


@check("stream.bins")
def marks_beyond_the_counters_count_nothing() -> None:
    link = bins.Bins(LinkShape(1e7, 1e7, None, ()))
    list(link.update(link_packets([1_700_000_000_000_000_000], [1], marks=(1 << 40) - 1)))
    counters = link.state.counters[:, 0].sum(axis=0)
    assert counters[Counter.SYN : Counter.RTT_SUM_MS].tolist() == [1.0] * 12
    assert counters[Counter.RTT_SUM_MS :].tolist() == [0.0] * 3


@check("stream.normaliser")
def every_value_has_a_bucket() -> None:
    learned = Normaliser(1)
    learned.update(np.array([[0.0], [1e-3], [3e38], [np.inf], [np.nan]], np.float32))
    assert learned.histogram[0].sum() == 4
    assert learned.histogram[0, BUCKETS - 1] == 2
    assert learned.histogram[0, 0] == 1
    assert np.flatnonzero(learned.histogram[0]).tolist() == [0, 1 + int(np.log(10.0) / np.log(1.05)), BUCKETS - 1]


SIZES: list[tuple[int, int]] = []
"""Bytes captured and on the wire of the packets that the last scan found."""


def record(size: int, there: int | None = None) -> bytes:
    """Return a pcap record whose header tells `size` bytes, of which `there` follow, and 4 GB on the wire."""
    return np.array([1, 2, size, 0xFFFFFFFF], "<u4").tobytes() + bytes(size if there is None else there)


def pcap_scan(data: bytes, room: int = 4) -> tuple[int, int, int]:
    """Return what scan_pcap does; what it found lies within the bytes."""
    offset, caplen, length, time = (np.zeros(room, np.int64) for _ in range(4))
    found = scan_pcap(np.frombuffer(data, np.uint8), 0, len(data), False, 1, 16, offset, caplen, length, time)
    assert all(at + kept <= len(data) for at, kept in zip(offset[: found[0]], caplen[: found[0]], strict=True))
    SIZES[:] = zip(caplen[: found[0]].tolist(), length[: found[0]].tolist(), strict=True)
    return found


@check("capture.record_scan")
def records_lie_within_what_was_read() -> None:
    assert pcap_scan(record(8) * 2) == (2, 48, MORE)
    assert SIZES == [(8, 0x7FFFFFFF)] * 2
    assert pcap_scan(np.array([1, 2, 0, 9], "<u4").tobytes()) == (1, 16, MORE)
    assert SIZES == [(0, 9)]
    assert pcap_scan(record(8) + record(8)[:15]) == (1, 24, MORE)
    assert pcap_scan(record(8) + record(8, 7)) == (1, 24, MORE)
    assert pcap_scan(record(8) * 4, room=3) == (3, 72, FULL)
    assert pcap_scan(record(LARGEST_PACKET)) == (1, 16 + LARGEST_PACKET, MORE)
    assert pcap_scan(record(8) + record(LARGEST_PACKET + 1)) == (1, 24, ABSURD)


def block(kind: int, body: bytes, total: int | None = None) -> bytes:
    """Return a pcapng block; total: the length that it tells instead of its own."""
    body += bytes(-len(body) % 4)
    size = np.array([len(body) + 12 if total is None else total], "<u4").tobytes()
    return np.array([kind], "<u4").tobytes() + size + body + size


def enhanced(size: int, which: int = 0, there: int | None = None) -> bytes:
    """Return an enhanced packet block that tells `size` bytes, of which `there` are in it."""
    return block(6, np.array([which, 0, 0, size, size], "<u4").tobytes() + bytes(size if there is None else there))


def simple(size: int, there: int | None = None) -> bytes:
    """Return a simple packet block."""
    return block(3, np.array([size], "<u4").tobytes() + bytes(size if there is None else there))


def pcapng_scan(data: bytes, room: int = 4, interfaces: int = 1, snap: int = 0) -> tuple[int, int, int]:
    """Return what scan_pcapng does; what it found lies within the bytes."""
    offset, caplen, length, time, interface = (np.zeros(room, np.int64) for _ in range(5))
    table = np.array([[snap, 6, 0]] * interfaces, np.int64).reshape(-1, 3)
    bytes_ = np.frombuffer(data, np.uint8)
    found = scan_pcapng(bytes_, 0, len(data), False, 0, table, offset, caplen, length, time, interface)
    assert all(at + kept <= len(data) for at, kept in zip(offset[: found[0]], caplen[: found[0]], strict=True))
    assert all(0 <= each < max(1, interfaces) for each in interface)
    SIZES[:] = zip(caplen[: found[0]].tolist(), length[: found[0]].tolist(), strict=True)
    return found


@check("capture.record_scan")
def blocks_lie_within_what_was_read() -> None:
    good = enhanced(8)
    assert pcapng_scan(good * 2) == (2, 80, MORE)
    assert pcapng_scan(good * 4, room=3) == (3, 120, FULL)
    assert pcapng_scan(good + good[:11]) == (1, 40, MORE)
    assert pcapng_scan(good + good[:39]) == (1, 40, MORE)
    assert pcapng_scan(good + block(6, b"", 8)) == (1, 40, ABSURD)
    assert pcapng_scan(good + block(5, b"", LARGEST_BLOCK)) == (1, 40, MORE)
    assert pcapng_scan(good + block(5, b"", LARGEST_BLOCK + 1)) == (1, 40, ABSURD)
    assert pcapng_scan(good + block(5, b"")) == (1, 52, MORE)
    assert pcapng_scan(good + block(6, bytes(16))) == (1, 40, ABSURD)
    assert pcapng_scan(good + block(6, b"")) == (1, 40, ABSURD)
    assert pcapng_scan(good + block(5, b"", 0)) == (1, 40, ABSURD)
    assert pcapng_scan(good + enhanced(9, there=8)) == (1, 40, ABSURD)
    assert pcapng_scan(good + enhanced(8, which=1)) == (1, 40, ABSURD)
    assert pcapng_scan(enhanced(LARGEST_PACKET)) == (1, 32 + LARGEST_PACKET, MORE)
    assert pcapng_scan(good + enhanced(LARGEST_PACKET + 1)) == (1, 40, ABSURD)
    assert pcapng_scan(simple(8)) == (1, 24, MORE)
    assert pcapng_scan(simple(8), interfaces=0) == (0, 0, ABSURD)
    assert pcapng_scan(good + block(3, b"")) == (1, 40, ABSURD)
    assert pcapng_scan(simple(99, there=8)) == (1, 24, MORE)
    assert SIZES == [(8, 99)]
    assert pcapng_scan(simple(4, there=8)) == (1, 24, MORE)
    assert SIZES == [(4, 4)]
    assert pcapng_scan(simple(8), snap=96) == (1, 24, MORE)
    assert SIZES == [(8, 8)]
    assert pcapng_scan(simple(8), snap=6) == (1, 24, MORE)
    assert SIZES == [(6, 8)]
    assert pcapng_scan(simple(LARGEST_PACKET)) == (1, 16 + LARGEST_PACKET, MORE)
    assert pcapng_scan(good + simple(LARGEST_PACKET + 1)) == (1, 40, ABSURD)
    assert pcapng_scan(good + simple(LARGEST_PACKET + 1), snap=96) == (2, 56 + LARGEST_PACKET + 4, MORE)


@check("capture.application")
def messages_that_end_in_one_frame_share_its_room() -> None:
    found = Found(ends_together([publish(280), publish(280), publish(280)], 1883))
    assert sorted(len(each) for each in found.cells("mqtt.msg")) == [280]


def run(first: str = "") -> str:
    """Run all checks on small shares, those of a module first; return which one failed and how, or nothing."""
    with constants(SMALL):
        for _, function in sorted(CHECKS, key=lambda each: each[0] != first):
            try:
                function()
            except Exception as error:
                return f"{function.__name__}: {type(error).__name__}: {error}"
    return ""
