"""What holds of the rooms of the dissection: of the table, of messages put together, of fragments, of conversations."""

from __future__ import annotations

import numpy as np

from offramp.capture.dissect import batches
from offramp.capture.dissect.application import mqtt
from offramp.capture.dissect.conversation import flow_table, reassembly
from offramp.capture.dissect.conversation import state as application_state
from offramp.capture.dissect.conversation.flow_table import KEY_WORDS, SECRET
from offramp.capture.dissect.dissector import Dissector
from offramp.capture.dissect.packet import table as emit
from offramp.capture.dissect.packet.notes import NOTE_OCCURRENCES_CUT, NOTE_TEXT_CUT
from offramp.capture.dissect.packet.table import EXTRAS, SHOWN, TEXT
from offramp.capture.schema import INDEX
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
from tests.support.room_shares import Found, check, constants, grant

COLUMN, BODY, TOPIC = INDEX["mqtt.msgtype"], INDEX["http.file_data"], INDEX["mqtt.topic"]
PINGS = b"\xc0\0"


@check("offramp.capture.dissect.packet.table")
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


@check("offramp.capture.dissect.packet.table")
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


@check("offramp.capture.dissect.packet.table")
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


@check("offramp.capture.dissect.packet.table")
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


@check("offramp.capture.dissect.packet.table")
def text_without_a_place_in_the_list_is_not_kept() -> None:
    out = grant(emit.new_table(2))
    for _ in range(25):
        emit.put_text(out, 0, BODY, 3, 0)
    assert (out.cursor[TEXT], out.notes[NOTE_OCCURRENCES_CUT]) == (63, 4)


@check("offramp.capture.dissect.packet.table")
def no_cell_is_longer_than_its_length_can_tell() -> None:
    with constants({emit: {"MAX_CELL": 50}}):
        out = grant(emit.new_table(2))
        emit.put_span(out, 0, BODY, 1, 51, 0)
        assert out.values[BODY, 0] == 1 << 24 | 50
        assert emit.span(2, 49) == 2 << 24 | 49
        emit.put_text(out, 0, TOPIC, 51, 0)
        assert out.values[TOPIC, 0] == 1 << 62 | 50
        assert (out.cursor[TEXT], out.notes[NOTE_TEXT_CUT]) == (50, 1)
        assert emit.take_text(out, 50) == 50
        assert out.notes[NOTE_TEXT_CUT] == 1


@check("offramp.capture.dissect.packet.table")
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


@check("offramp.capture.dissect.packet.table")
def bytes_are_copied_as_far_as_both_go() -> None:
    source, target = np.ones(3, np.uint8), np.zeros(5, np.uint8)
    emit.copy_bytes(source, target)
    assert target.tolist() == [1, 1, 1, 0, 0]
    emit.copy_bytes(np.full(9, 2, np.uint8), target)
    assert target.tolist() == [2] * 5


@check("offramp.capture.dissect.row_loop")
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


@check("offramp.capture.dissect.application.dns")
def questions_end_with_the_row() -> None:
    found = Found(over_tcp(b"\x0f\xff" + questions(680, b"\1n\0"), 53, 1500))
    assert max(found.counts()) == 0
    found = Found(Grown([ethernet(ipv4(datagram(questions(200, b"\3abc\0"), 53, 4000), 17))]))
    assert (found.counts(), found.texts) == ([20], [24])
    assert found.notes == {"occurrences_cut": 2}
    long = (b"\x3f" + b"n" * 63) * 3 + b"\0"
    found = Found(Grown([ethernet(ipv4(datagram(questions(200, long), 53, 4000), 17))]))
    assert (found.counts(), found.texts, found.notes) == ([9], [600], {"text_cut": 2})


@check("offramp.capture.dissect.application.mqtt")
def topics_end_with_the_row() -> None:
    found = Found(over_tcp(unsubscribe(100), 1883))
    assert (found.counts(), found.notes) == ([0, 20], {"occurrences_cut": 1})
    found = Found(over_tcp(unsubscribe(8, 60), 1883, 300))
    assert (found.counts(), found.texts, found.notes) == ([0, 0, 2], [600], {"text_cut": 2})


@check("offramp.capture.dissect.application.tcp_stream")
def messages_end_with_the_row() -> None:
    found = Found(over_tcp(PINGS * 700, 1883))
    assert (found.counts(), found.notes) == ([0, 20], {"occurrences_cut": 2})


@check("offramp.capture.dissect.row_loop")
def samples_end_with_the_row() -> None:
    payload = apart(PINGS * 5, 12, 1883)
    found = Found(Grown([ethernet(ipv4(datagram(payload, 6343, 4000), 17))]))
    assert (found.counts(), found.notes) == ([20], {"occurrences_cut": 12})


@check("offramp.capture.dissect.conversation.flow_table")
def a_table_whose_searches_are_long_gets_another_secret() -> None:
    with constants({flow_table: {"MAX_PROBES": 3}}):
        known = Dissector("stream", secret=np.zeros(1 + KEY_WORDS, np.int64))
        known.dissect(block_of([ethernet(ipv4(datagram(b"x", 9, 4000 + at), 17)) for at in range(9)]))
        assert known._flows.counters[SECRET:].any()


@check("offramp.capture.dissect.conversation.reassembly")
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


@check("offramp.capture.dissect.conversation.reassembly")
def a_message_beyond_its_bound_is_given_up() -> None:
    found = Found(over_tcp(publish(4900), 1883, 1000))
    assert found.notes == {"text_cut": 1}
    found = Found(over_tcp(publish(5100), 1883, 1000))
    assert found.notes == {"message_given_up": 1}
    answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"b" * 6000
    frames = [segment(b"", 80, 0, 0x1002, 4000)]
    frames += [segment(answer[at : at + 1000], 80, 1 + at, 0x1010, 4000) for at in range(0, 6000, 1000)]
    assert Found(Grown([ethernet(ipv4(each, 6)) for each in frames])).notes == {"message_given_up": 1}


@check("offramp.capture.dissect.conversation.reassembly")
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


@check("offramp.capture.dissect.conversation.reassembly")
def chunks_of_the_arena_are_bounded() -> None:
    frames = []
    for near in range(4000, 4006):
        frames.append(segment(b"", 1883, 0, 2, near))
        frames += [segment(publish(4500)[at : at + 1000], 1883, 1 + at, 0x18, near) for at in (0, 1000, 2000)]
    frames += [segment(publish(4500)[at : at + 1000], 1883, 1 + at, 0x18, 4005) for at in (3000, 4000)]
    with constants({emit: {"MAX_TEXT": 10_000, "BATCH_TEXT": 10_000}}):
        found = Found(Grown([ethernet(ipv4(each, 6)) for each in frames]))
    assert ([len(each) for each in found.cells("mqtt.msg")], found.notes) == ([4500], {"message_given_up": 5})
    talks = [stream(publish(280), 1883, 150, near=near) for near in (4000, 4001)]
    frames = [ethernet(each) for pair in zip(*talks, strict=True) for each in pair]
    found = Found(Grown(frames))
    assert ([len(each) for each in found.cells("mqtt.msg")], found.notes) == ([280, 280], {})
    with constants({application_state: {"CHUNKS": 2}}):
        assert Found(over_tcp(publish(4900), 1883, 1000)).notes == {"message_given_up": 1}


@check("offramp.capture.dissect.conversation.reassembly")
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


@check("offramp.capture.dissect.application.mqtt")
def an_alias_keeps_what_it_has_room_for() -> None:
    apps, topic = application_state.new_applications(4), np.full(600, 116, np.uint8)
    mqtt.keep_alias(apps, topic, 0, 600, 1, 5)
    out = grant(emit.new_table(2))
    mqtt.put_alias(out, apps, 0, 1, 5)
    assert out.values[TOPIC, 0] == 1 << 62 | application_state.ALIAS_BYTES
    mqtt.keep_alias(apps, topic, 0, 9, 1, 5)
    mqtt.put_alias(grant(out), apps, 1, 1, 5)
    assert out.values[TOPIC, 1] & 0xFFFFFF == 9


@check("offramp.capture.dissect.application.http.message")
def long_targets_are_cut() -> None:
    found = Found(Grown([ethernet(ipv4(segment(far_uri(400), 80, 1, 0x18, 4000), 6))]))
    assert ([len(each) for each in found.cells("http.request.full_uri")], found.notes) == ([600], {"text_cut": 1})


@check("offramp.capture.dissect.network.fragments")
def what_a_packet_completes_has_its_share_of_the_scratch() -> None:
    for early in (0, 1):
        frames = fragmented(datagram(b"z" * 900, 9, 4000), size=600, name=9)[: 1 if early else 2]
        found = Found(Grown(frames + nested_fragments(4, 1200).packets))
        assert found.notes["ip_reassembled"] == 2 + (1 - early), found.notes
        assert found.notes["ip_fragment_lost"] == 1
    whole = ipv4(datagram(b"z" * 900, 9, 4000), 17)
    assert Found(Grown([ethernet(whole)])).notes == {}


@check("offramp.capture.dissect.network.fragments")
def no_fragment_goes_beyond_a_datagram() -> None:
    frames = [ethernet(ipv4(bytes(size), 17, offset=offset)) for offset, size in ((8190, 24), (8191, 8), (8190, 16))]
    assert Found(Grown(frames)).notes == {"ip_fragment": 3, "ip_fragment_lost": 1}


@check("offramp.capture.dissect.conversation.flow_table")
def conversations_have_room_before_each_row() -> None:
    frames = [ethernet(ipv4(segment(b"", 80, 0, 2, near), 6)) for near in range(1000, 2000)]
    found = Found(Grown(frames))
    assert found.cells("tcp.stream") == [*range(1000)]
    assert found.free >= 0
    assert found.notes == {"flow_evicted": 224}


@check("offramp.capture.dissect.batches")
def offsets_stay_within_arrow() -> None:
    with constants({batches: {"_MAX_OFFSET": 100}}):
        values = np.array([60, 5, 60, 7]) | (3 << 24)
        starts, body = np.zeros(5, np.int32), np.zeros(100, np.uint8)
        batches.pack_lengths(values, starts, np.zeros(1, np.uint8))
        assert starts.tolist() == [0, 60, 65, 100, 100]
        batches.pack_bytes(values, starts, body, np.arange(80, dtype=np.uint8), np.zeros(0, np.uint8))
        assert body.tolist() == [*range(3, 63), *range(3, 8), *range(3, 38)]


@check("offramp.capture.dissect.application.payloads")
def messages_that_end_in_one_frame_share_its_room() -> None:
    found = Found(ends_together([publish(280), publish(280), publish(280)], 1883))
    assert sorted(len(each) for each in found.cells("mqtt.msg")) == [280]
