"""Encode feature batches as messages: Arrow IPC streams with compressed buffers, and the headers that go with them.

`decode` reads them. A message holds one record batch of the `stream` profile, or none where it passes a clock or the
end of a link.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offramp.capture.block import END_OF_TIME_NS
from offramp.capture.ledger import CaptureLedger
from offramp.capture.schema import SCHEMA_VERSION
from offramp.errors import ContractError
from offramp.hops import HEADER, Hops, decode_hops, encode_hops

COMPRESSION = "lz4"
"""Arrow's own buffer compression, so that any Arrow reader opens a message; lz4 costs a third of zstd's time."""

MAX_SAMPLING = 1 << 16
"""Packets that a row may stand for."""


MAX_NS, SILENCE_NS = 20_000_000_000, 1_000_000_000
"""Event time that a message may cover, with silences counted as SILENCE_NS at most: a worker makes bins of all of it,
and holds what it makes of one message in memory. A full message of 410 packets/s or more covers less."""


@dataclass(frozen=True, slots=True)
class FeatureHeaders:
    """The headers of `offramp.features.v2`; their names are the fields'.

    agent_epoch: one session of an agent, or one recording; sequence: 0, 1, 2, ... of a link within an epoch;
    first_time_ns, last_time_ns: least and greatest time of the rows; ledger: `CaptureLedger.as_dict` of the packets
    since the message before; end: the link's last message of this epoch; sampling: how many packets each row stands
    for; clock_ns: of a live link without packets, else 0: all packets before this time have been published; hops: when
    the agent had the newest packets of the message; live: the packets came just now, so that an overloaded worker may
    shed the message rather than be late; link: whose packets they are, where that is not the key's last part.
    """

    site: str
    agent: str
    agent_epoch: int
    sequence: int
    rows: int
    first_time_ns: int = 0
    last_time_ns: int = 0
    ledger: Mapping[str, Any] = field(default_factory=dict)
    end: bool = False
    sampling: int = 1
    clock_ns: int = 0
    hops: Hops = field(default_factory=dict)
    live: bool = False
    link: str = ""
    schema_version: str = SCHEMA_VERSION

    def pairs(self) -> list[tuple[str, bytes]]:
        """Return the headers as Kafka takes them."""
        texts = {name: getattr(self, name) for name in HEADER_NAMES}
        texts["ledger"] = json.dumps(self.ledger, sort_keys=True, separators=(",", ":"))
        texts["end"], texts["live"] = int(self.end), int(self.live)
        return [*((name, str(text).encode()) for name, text in texts.items()), (HEADER, encode_hops(self.hops))]


HEADER_NAMES = tuple(name for name in FeatureHeaders.__dataclass_fields__ if name != HEADER)
OPTIONAL_HEADERS = {"sampling": 1, "clock_ns": 0, "live": 0, "link": ""}
"""Headers that may be missing, with what they say then."""


def encode_batch(batch: pa.RecordBatch) -> bytes:
    """Return a batch as an Arrow IPC stream with compressed buffers; the batch's metadata goes into headers instead."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=COMPRESSION, use_threads=False)
    plain = batch.replace_schema_metadata(None)
    with pa.ipc.new_stream(sink, plain.schema, options=options) as writer:
        writer.write_batch(plain)
    value: bytes = sink.getvalue().to_pybytes()
    return value


def encode_parts(batch: pa.RecordBatch, limit: int) -> Iterator[tuple[pa.RecordBatch, bytes]]:
    """Yield the batch with its bytes, or its halves in order, until each message is small enough.

    It is at most `limit` bytes and covers at most MAX_NS. The same batch gives the same parts. Raises ContractError
    where a single row is larger than that.
    """
    if covered_ns(batch) <= MAX_NS:
        value = encode_batch(batch)
        if len(value) <= limit:
            yield batch, value
            return
    if batch.num_rows <= 1:
        raise ContractError(f"a feature row takes {len(value)} bytes, the limit of a message is {limit}; raise it")
    half = batch.num_rows // 2
    yield from encode_parts(batch.slice(0, half), limit)
    yield from encode_parts(batch.slice(half), limit)


def times_of(batch: pa.RecordBatch) -> tuple[int, int]:
    """Return the least and the greatest time of a batch's rows in ns, (0, 0) where no row has one that can be.

    A time before 1970, or from END_OF_TIME_NS on, is of a clock that is wrong, and left out; the row still counts.
    """
    column = batch.column("frame.time_epoch")
    found = pc.min_max(column)
    least, greatest = found["min"].as_py() or 0, found["max"].as_py() or 0
    if least < 0 or greatest >= END_OF_TIME_NS:
        can_be = pc.and_(pc.greater_equal(column, 0), pc.less(column, END_OF_TIME_NS))
        found = pc.min_max(column.filter(can_be))
        least, greatest = found["min"].as_py() or 0, found["max"].as_py() or 0
    return least, greatest


def covered_ns(batch: pa.RecordBatch) -> int:
    """Return the event time that a batch's rows cover, silences (and leaps of a wrong clock) as SILENCE_NS at most."""
    time_ns = pc.fill_null(batch.column("frame.time_epoch"), 0).to_numpy(zero_copy_only=False)
    clipped = np.clip(time_ns, 0, END_OF_TIME_NS)
    return int(np.minimum(np.abs(np.diff(clipped)), SILENCE_NS).sum())


def sampling_of(batch: pa.RecordBatch) -> int:
    """Return how many packets each of a batch's rows stands for. Raises ContractError where that is not said right."""
    text = (batch.schema.metadata or {}).get(b"sampling", b"1")
    if not (len(text) <= 5 and text.isdigit() and 1 <= int(text) <= MAX_SAMPLING):
        raise ContractError(f"sampling: expected 1 to {MAX_SAMPLING}, found {text[:40]!r}")
    return int(text)


def batch_hops(batch: pa.RecordBatch) -> Hops:
    """Return when the agent had a batch's packets, from its metadata."""
    return decode_hops((batch.schema.metadata or {}).get(HEADER.encode()))


def ledger_of(batch: pa.RecordBatch) -> CaptureLedger:
    """Return the account of a batch's packets that the dissector put into its metadata."""
    text = (batch.schema.metadata or {}).get(b"ledger")
    return CaptureLedger.from_dict(json.loads(text)) if text else CaptureLedger()
