"""Feature messages: what goes in comes out; what is hostile is refused, in bounded memory, whatever it is."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offramp.capture.features.arrow_schema import batch_schema
from offramp.capture.ledger import CaptureLedger
from offramp.capture.message import decode as wire
from offramp.capture.message.decode import RefusedError, decode_batch, decode_headers, decode_message
from offramp.capture.message.encode import (
    HEADER_NAMES,
    MAX_SAMPLING,
    OPTIONAL_HEADERS,
    FeatureHeaders,
    encode_batch,
    encode_parts,
    ledger_of,
    sampling_of,
    times_of,
)
from offramp.errors import ContractError
from tests.support.random_batches import SCHEMA, bomb, random_batch


def headers_of(batch: pa.RecordBatch, **more: Any) -> FeatureHeaders:
    first, last = times_of(batch)
    return FeatureHeaders("lab", "tap-1", 7, 0, batch.num_rows, first, last, CaptureLedger(3, 3).as_dict(), **more)


@given(st.integers(1, 300), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_what_goes_in_comes_out(rows: int, seed: int) -> None:
    batch = random_batch(rows, seed)
    headers = headers_of(batch)
    message = decode_message(b"uplink", headers.pairs(), encode_batch(batch))
    assert message is not None
    assert message.headers == headers
    assert message.link == "uplink"
    assert message.batch is not None
    assert message.batch.replace_schema_metadata(None).equals(batch)
    assert ledger_of(message.batch) == CaptureLedger(3, 3)


@given(st.integers(1, 2_000), st.integers(8_000, 60_000))
@settings(max_examples=20, deadline=None)
def test_parts_are_small_enough_and_make_the_whole(rows: int, limit: int) -> None:
    batch = random_batch(rows)
    try:
        parts = list(encode_parts(batch, limit))
    except ContractError:
        assert len(encode_batch(batch.slice(0, 1))) > limit - 200
        return
    assert all(len(value) <= limit for _, value in parts)
    decoded = [decode_batch(value, "a") for _, value in parts]
    assert pa.Table.from_batches(decoded).combine_chunks().equals(pa.Table.from_batches([batch]).combine_chunks())


def test_a_row_too_large_for_a_message_is_said() -> None:
    with pytest.raises(ContractError, match="limit of a message is 1000"):
        list(encode_parts(random_batch(5), 1_000))


def test_unknown_columns_are_ignored_and_missing_ones_refused_with_the_agents_name() -> None:
    batch = random_batch(20)
    more = batch.append_column("offramp.new", pa.array(range(20)))
    assert decode_batch(encode_batch(more), "tap-1").equals(batch)
    shuffled = batch.select(SCHEMA.names[::-1])
    assert decode_batch(encode_batch(shuffled), "tap-1").equals(batch)
    with pytest.raises(RefusedError, match=r"tap-1.*'frame\.len' is missing") as missing:
        decode_batch(encode_batch(batch.drop_columns(["frame.len"])), "tap-1")
    assert missing.value.reason == "columns"
    at = SCHEMA.names.index("frame.len")
    wrong = batch.set_column(at, "frame.len", batch.column("frame.len").cast(pa.uint64()))
    with pytest.raises(RefusedError, match="expected uint32"):
        decode_batch(encode_batch(wrong), "tap-1")
    twice = batch.append_column("frame.len", batch.column("frame.len"))
    with pytest.raises(RefusedError, match="twice"):
        decode_batch(encode_batch(twice), "tap-1")


def test_a_full_batch_is_read_as_a_stream_batch() -> None:
    full = pa.RecordBatch.from_arrays(
        [pa.nulls(3, field.type) for field in batch_schema("full")], schema=batch_schema("full")
    )
    assert decode_batch(encode_batch(full), "a").schema == SCHEMA


@pytest.mark.parametrize("name", HEADER_NAMES)
def test_a_missing_or_garbled_header_is_refused(name: str) -> None:
    batch = random_batch(2)
    value, pairs = encode_batch(batch), headers_of(batch).pairs()
    missing = [pair for pair in pairs if pair[0] != name]
    if name in OPTIONAL_HEADERS:
        message = decode_message(b"l", missing, value)
        assert message is not None
        assert getattr(message.headers, name) == OPTIONAL_HEADERS[name]
    else:
        with pytest.raises(RefusedError, match=name):
            decode_message(b"l", missing, value)
    if name not in ("site", "agent"):
        garbled = [(key, b"\xff{" if key == name else text) for key, text in pairs]
        with pytest.raises(RefusedError):
            decode_message(b"l", garbled, value)


@given(st.lists(st.tuples(st.sampled_from([*HEADER_NAMES, "other"]), st.binary(max_size=30)), max_size=14))
def test_any_headers_are_read_or_refused(pairs: list[tuple[str, bytes]]) -> None:
    with contextlib.suppress(RefusedError):
        assert decode_headers(pairs).rows >= 0


def test_headers_are_held_against_the_rows() -> None:
    batch = random_batch(5)
    value, right = encode_batch(batch), headers_of(batch)
    for change in ({"rows": 4}, {"last_time_ns": right.last_time_ns + 1}, {"end": True}, {"rows": 0}):
        wrong = FeatureHeaders(**{**{name: getattr(right, name) for name in HEADER_NAMES}, **change})
        with pytest.raises(RefusedError) as refusal:
            decode_message(b"l", wrong.pairs(), value)
        assert refusal.value.reason == "rows"
    for key in (None, b"", b"\xff"):
        with pytest.raises(RefusedError, match="key"):
            decode_message(key, right.pairs(), value)
    assert decode_message(b"l", right.pairs(), value, site="elsewhere") is None


@pytest.mark.parametrize("sampling", [1, 64, 0, 1 << 17])
def test_what_a_row_stands_for_reaches_the_pipeline_within_bounds(sampling: int) -> None:
    batch = random_batch(3)
    headers = headers_of(batch, sampling=sampling)
    if not 1 <= sampling <= MAX_SAMPLING:
        with pytest.raises(RefusedError, match="sampling"):
            decode_message(b"l", headers.pairs(), encode_batch(batch))
        return
    message = decode_message(b"l", headers.pairs(), encode_batch(batch))
    assert message is not None
    assert sampling_of(message.batch) == sampling


def test_a_message_without_rows_may_say_the_time() -> None:
    message = decode_message(b"l", FeatureHeaders("lab", "tap-1", 7, 3, 0, clock_ns=5).pairs(), b"")
    assert message is not None
    assert (message.batch, message.headers.clock_ns, message.headers.end) == (None, 5, False)


def test_an_end_has_no_rows() -> None:
    end = FeatureHeaders("lab", "tap-1", 7, 3, 0, end=True)
    message = decode_message(b"l", end.pairs(), None)
    assert message is not None
    assert message.batch is None
    assert message.headers.end


@given(st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damage_is_refused_or_gives_rows_of_the_schema(data: st.DataObject) -> None:
    value = bytearray(DAMAGED)
    if data.draw(st.booleans()):
        value = value[: data.draw(st.integers(0, len(value)))]
    for _ in range(data.draw(st.integers(0, 6))):
        if value:
            at = data.draw(st.integers(0, len(value) - 1))
            value[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, value[at] ^ 1, value[at] ^ 0x40]))
    try:
        batch = decode_batch(bytes(value), "a")
    except RefusedError:
        return
    assert batch.schema.equals(SCHEMA)
    assert batch.num_rows <= wire.MAX_ROWS


DAMAGED = encode_batch(random_batch(40))


@pytest.mark.parametrize("value", [b"", b"garbage", b"\xff\xff\xff\xff\xff\xff\xff\x7f" * 4, bytes(5_000)])
def test_garbage_is_refused(value: bytes) -> None:
    with pytest.raises(RefusedError) as refusal:
        decode_batch(value, "a")
    assert refusal.value.reason == "arrow"


def test_a_compression_bomb_is_refused_before_it_is_unpacked() -> None:
    value = bomb()
    assert len(value) < 200_000
    pool = pa.default_memory_pool()
    before, peak = pool.bytes_allocated(), []
    tracemalloc.start()
    with pytest.raises(RefusedError, match="unpacks to") as refusal:
        decode_batch(value, "a")
    peak.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert refusal.value.reason == "size"
    assert pool.bytes_allocated() - before < 1 << 20
    assert peak[0] < 4 << 20


def test_a_hostile_declared_length_is_refused() -> None:
    batch = random_batch(64)
    value = bytearray(encode_batch(batch))
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(bytes(value)))
    reader.read_next_message()
    body = reader.read_next_message().body.to_pybytes()
    at = bytes(value).index(body[:64])
    seen = 0
    for place in range(at, at + len(body) - 8, 8):
        declared = struct.unpack_from("<q", value, place)[0]
        if 0 < declared <= 64 * 16:
            hostile = bytearray(value)
            struct.pack_into("<q", hostile, place, 1 << 40)
            try:  # most such numbers are lengths, some are cells
                decode_batch(bytes(hostile), "a")
            except RefusedError as refusal:
                seen += refusal.reason == "size"
    assert seen > 20


def test_too_many_rows_are_refused() -> None:
    rows = wire.MAX_ROWS + 1
    arrays = [pa.nulls(rows, field.type) for field in SCHEMA]
    with pytest.raises(RefusedError, match="rows") as refusal:
        decode_batch(encode_batch(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)), "a")
    assert refusal.value.reason == "size"


def test_more_than_one_batch_or_a_dictionary_is_refused() -> None:
    batch = random_batch(3)
    words = batch.append_column("word", pa.array(["a", "b", "a"]).dictionary_encode())
    with pytest.raises(RefusedError, match="dictionary"):
        decode_batch(encode_batch(words), "a")
