"""Sparse packets: each closes a window of bins, so memory must follow what is held, not what comes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from offramp.capture.message.decode import MAX_ROWS, SCHEMA, RefusedError, decode_message
from offramp.capture.message.encode import MAX_NS, FeatureHeaders, covered_ns, encode_batch, encode_parts, times_of
from offramp.stream.bins.state import OUT_ROWS, LinkConfig
from offramp.stream.channels import BIN_NS, WINDOW_BINS
from offramp.stream.links.bundle_consumer import BundleConsumer
from offramp.stream.links.link_consumer import LinkConsumer
from offramp.stream.links.link_consumers import LinkConsumers
from offramp.stream.pipeline.meeting import Meeting, Sink
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.windows.windows import PORTION_ROWS, Windows
from offramp.stream.worker.message_batch import OPEN_ROWS, MessageBatch
from offramp.stream.worker.micro_batch import MicroBatches
from tests.support.fake_predictor import FakePredictor
from tests.support.feature_batches import BASE, ip, make_batch
from tests.support.pipelines import SITE, learned
from tests.support.places import ROOT

APART_NS = 630_000_000
"""Just within a window: no packet lets a series end."""


def sparse_batch(rows: int, apart_ns: int = APART_NS) -> pa.RecordBatch:
    times = (BASE + np.arange(rows) * apart_ns).tolist()
    batch = make_batch(
        rows, frame__time_epoch=times, frame__len=[100] * rows, ip__proto=[17] * rows,
        ip__src_host=[ip("10.0.0.5")] * rows, ip__dst_host=[ip("192.0.2.1")] * rows, udp__srcport=[5000] * rows,
        udp__dstport=[53] * rows,
    )  # fmt: skip
    return pa.RecordBatch.from_arrays([batch.column(field.name).cast(field.type) for field in SCHEMA], schema=SCHEMA)


def message(batch: pa.RecordBatch, sequence: int = 0) -> tuple[list[tuple[str, bytes]], bytes]:
    headers = FeatureHeaders("lab", "a", 1, sequence, batch.num_rows, *times_of(batch))
    return headers.pairs(), encode_batch(batch)


def test_windows_of_a_batch_come_in_portions_that_say_the_same(normaliser_state: dict[str, NDArray[Any]]) -> None:
    batch = sparse_batch(600)
    whole = Windows(LinkConfig(1e7, 1e7), normaliser_state).update(batch)
    sizes, rows = [], []
    for windowed in Windows(LinkConfig(1e7, 1e7), normaliser_state).portions(batch):
        sizes.append(sum(len(each.x) for each in windowed.rows))
        rows += windowed.rows
    assert sum(sizes) > 599 * (WINDOW_BINS - 2)
    assert max(sizes) < PORTION_ROWS + OUT_ROWS
    for name in ("x", "spectrum"):
        ours, theirs = ([getattr(row, name) for row in each] for each in (rows, whole.rows))
        np.testing.assert_array_equal(np.concatenate(ours), np.concatenate(theirs))


def test_a_message_covers_a_bounded_time(tmp_path: Path) -> None:
    """What an agent sends is cut, what is sent all the same is refused; a silence counts as a second."""
    batch = sparse_batch(1_000)
    parts = [part for part, _ in encode_parts(batch, 1 << 20)]
    assert sum(part.num_rows for part in parts) == 1_000
    assert all(covered_ns(part) <= MAX_NS for part in parts)
    headers, value = message(sparse_batch(MAX_ROWS, 639_000_000))
    assert len(value) < 1 << 20
    with pytest.raises(RefusedError, match="cover more than 20 s") as refused:
        decode_message(b"uplink", headers, value)
    assert refused.value.reason == "span"
    hour_apart = sparse_batch(2, 3_600 * 10**9)
    assert [part.num_rows for part, _ in encode_parts(hour_apart, 1 << 20)] == [2]
    assert decode_message(b"uplink", *message(hour_apart)) is not None


def test_rows_without_a_time_are_taken_as_such() -> None:
    batch = sparse_batch(4, 1_000_000)
    column = batch.schema.get_field_index("frame.time_epoch")
    for odd in ([None, BASE, -5, 1 << 62], [None] * 4):
        times = pa.array(odd, pa.int64())
        columns = [times if place == column else each for place, each in enumerate(batch.columns)]
        altered = pa.RecordBatch.from_arrays(columns, schema=batch.schema)
        assert times_of(altered) == ((BASE, BASE) if BASE in odd else (0, 0))
        taken = decode_message(b"uplink", *message(altered))
        assert taken is not None
        consumer = LinkConsumer("uplink", lambda name: pipeline(name))
        consumer.feed(taken, 0)
        assert (consumer.pipeline.ledger.rows, consumer.pipeline.ledger.untimed) == (4, 3 if BASE in odd else 4)
        assert consumer.pipeline.ledger.balances()


def pipeline(name: str, sink: Sink | None = None, meeting: Meeting | None = None) -> Pipeline:
    return Pipeline(SITE, name, FakePredictor(), learned(), meeting, sink=sink)


def test_a_worker_holds_few_windows_however_sparse_its_messages() -> None:
    parts = [part for part, _ in encode_parts(sparse_batch(512), 1 << 20)]
    records = []
    for offset, part in enumerate(parts):
        headers, value = message(part, offset)
        records.append(SimpleNamespace(partition=0, offset=offset, key=b"uplink", value=value, headers=headers))

    def make_run(link: str, sink: Sink | None) -> BundleConsumer:
        return BundleConsumer.of(SITE, link, lambda name, meeting: pipeline(name, sink, meeting))

    batch = MessageBatch(records, LinkConsumers({"uplink": "uplink"}, make_run), "lab", horizon_ms=500)
    held: list[int] = []
    opens = batch.to_steps

    def watched() -> Any:
        steps = opens()
        held.append(sum(step.rows for step in steps))
        return steps

    batch.to_steps = watched  # type: ignore[method-assign]
    MicroBatches(None, 1)._work([batch])  # type: ignore[arg-type]
    assert batch.done
    assert len(held) > 1
    assert max(held) < OPEN_ROWS + 2 * MAX_NS // BIN_NS
    alone = LinkConsumer("uplink", lambda name: pipeline(name))
    for offset, record in enumerate(records):
        taken = decode_message(record.key, record.headers, record.value)
        assert taken is not None
        alone.feed(replace(taken), offset)
    consumer = batch.consumers.consumers["uplink"]
    assert consumer.pipeline.ledger.as_dict() == alone.pipeline.ledger.as_dict()
    assert not any(outcome.refused for outcome in batch.outcomes)


SPARSE = r"""
import re, sys
import numpy as np
from offramp.capture.block import Interface, PacketBlock
from offramp.capture.sources.source import ListSource
from offramp.decision.site import default_site
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_predictor
from offramp.stream.local.replay import Replay


frame = np.frombuffer(bytes(12) + b"\x08\x06" + bytes(46), np.uint8)
blocks = []
for number in range(int(sys.argv[1])):
    n = 8_192
    size, none = np.full(n, 60, np.int32), np.zeros(n, np.int32)
    times = 1_700_000_000_000_000_000 + (number * n + np.arange(n)) * 630_000_000
    none64, interfaces = np.zeros(n, np.int64), (Interface("x", 1),)
    blocks.append(PacketBlock(frame, none64, size, size, times, none, interfaces, number * n + 1))
replay = Replay(ListSource(blocks), default_site(), load_artifact(DEFAULT_ARTIFACT), open_predictor(DEFAULT_ARTIFACT))
list(replay.run())
# not ru_maxrss, which begins with what the process held that started this one
peak_kb = re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read()).group(1)
print(replay.stream_ledger().bins, int(peak_kb) >> 10)
"""


def test_a_replay_of_sparse_packets_takes_no_more_memory_than_another() -> None:
    """Its windows alone, held together, would be 940 MB for the two blocks."""
    done = subprocess.run(
        [sys.executable, "-c", SPARSE, "2"], cwd=ROOT, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    bins, peak_mb = map(int, done.stdout.split())
    assert bins > 2 * 8_191 * 63
    assert peak_mb < 500
