"""Messages made to hurt, by the hundred, at a real worker: its memory stays where it was, and it decides as before."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
from kafka import KafkaProducer

from bench.service import site_file
from offramp.capture.message.decode import MAX_UNPACKED
from offramp.capture.message.encode import FeatureHeaders, encode_batch, times_of
from offramp.kafka import KafkaSettings
from tests.integration.throttle import memory_of
from tests.support.random_batches import bomb, random_batch
from tests.support.workers import (
    SOAK,
    Decisions,
    WorkerProcess,
    demo_batches,
    expected,
    publisher_of,
    workers,
)

ROUNDS = 40 if SOAK else 4


PARTITIONS = 2


def lying(value: bytes) -> bytes:
    """The message with the declared sizes of its buffers made a terabyte each."""
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(value))
    reader.read_next_message()
    body = reader.read_next_message().body.to_pybytes()
    at, out = value.index(body[:64]), bytearray(value)
    for place in range(at, at + len(body) - 8, 8):
        if 0 < struct.unpack_from("<q", value, place)[0] <= 64 * 16:
            struct.pack_into("<q", out, place, 1 << 40)
    return bytes(out)


def filled(size: int) -> tuple[bytes, FeatureHeaders]:
    """A message of a known column of text that unpacks to `size` bytes of zeros, and its headers."""
    batch = random_batch(64)
    at = batch.schema.get_field_index("http.request.method")
    text = pa.array([bytes(size // 64)] * 64, batch.schema.field(at).type)
    batch = batch.set_column(at, batch.schema.field(at), text)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes(), FeatureHeaders("lab", "evil", 9, 0, 64, *times_of(batch))


def replaced(headers: FeatureHeaders, **more: bytes) -> list[tuple[str, bytes]]:
    return [(name, more.get(name, text)) for name, text in headers.pairs()]


def poison() -> list[tuple[bytes, list[tuple[str, bytes]], str]]:
    """Values with their headers, and the reason to refuse them."""
    batch = random_batch(64)
    value, good = encode_batch(batch), FeatureHeaders("lab", "evil", 9, 0, 64, *times_of(batch))
    large, headers = filled(MAX_UNPACKED + (1 << 20))
    rng = np.random.default_rng(1)
    deep = b'{"captured":' + b"[" * 400_000
    return [
        (bomb(), good.pairs(), "size"),
        (large, headers.pairs(), "size"),
        (lying(value), good.pairs(), "size"),
        *((value[: int(rng.integers(0, len(value) - 300))], good.pairs(), "arrow") for _ in range(4)),
        (rng.bytes(900_000), good.pairs(), "arrow"),
        (value, replaced(good, ledger=b"{" + b" " * 900_000 + b"}"), "headers"),
        (value, replaced(good, ledger=deep), "headers"),
        (value, replaced(good, rows=b"9" * 900_000), "headers"),
        (value, replaced(good, agent=b"a" * 900_000, schema_version=b"0"), "version"),
        (b"", [(f"x{number}", b"y" * 20) for number in range(20_000)], "headers"),
    ]


def test_memory_stays_where_it_was(topics: KafkaSettings, tmp_path: Path) -> None:
    """The most memory ever grows by less than two messages may unpack to, though each bomb holds 512 MB."""
    site, path = site_file(1, tmp_path)
    kinds = poison()
    fitting, fits = filled(MAX_UNPACKED - (1 << 20))
    parts = [batch.slice(at, 300) for batch in demo_batches(300) for at in range(0, batch.num_rows, 300)]
    decisions, dead = Decisions(topics), Decisions(topics, "dead-letters")
    raw = KafkaProducer(**topics.client_arguments(), max_request_size=2 << 20)
    out = publisher_of(topics)
    with workers(WorkerProcess(topics, path, tmp_path / "w.log", "--no-forecasts")) as running:
        pid = running[0].process.pid
        for part in parts[: len(parts) // 2]:
            out.publish("uplink0", part)
        decisions.wait_until(3)
        before = memory_of(pid, "VmHWM")
        for number in range(ROUNDS):
            for value, headers, _ in kinds:
                raw.send(topics.topic("features"), value, b"uplink0", headers)
            raw.send(topics.topic("features"), fitting, b"elsewhere", fits.pairs())
            raw.flush()
            dead.wait_until((number + 1) * (len(kinds) + 1))
        most = memory_of(pid, "VmHWM")
        for part in parts[len(parts) // 2 :]:
            out.publish("uplink0", part)
        out.end("uplink0")
        assert out.close()
        decisions.wait_for(expected(site))
        told = running[0].stop()
    for each in (raw, dead, decisions):
        each.close()
    print(f"most resident: {before >> 20} MB before, {most >> 20} MB after {ROUNDS} rounds of {len(kinds) + 1}")
    reasons = [dict(record.headers)["dead_reason"].decode() for record in dead.records]
    for reason in {reason for _, _, reason in kinds}:
        assert reasons.count(reason) == ROUNDS * sum(each == reason for _, _, each in kinds), reason
    assert reasons.count("link") == ROUNDS
    assert max(len(record.value or b"") for record in dead.records) < 1 << 20
    assert "Traceback" not in told
    assert most - before < 2 * MAX_UNPACKED
