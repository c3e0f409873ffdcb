"""Batches of random cells, and one that unpacks to half a gigabyte."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from offramp.capture.features.arrow_schema import batch_schema
from offramp.capture.schema import COLUMNS, Kind
from tests.support.feature_batches import BASE

SCHEMA = batch_schema("stream")


def random_batch(rows: int, seed: int = 1) -> pa.RecordBatch:
    """Rows of random cells in every column, a third of them absent, times in order."""
    rng = np.random.default_rng(seed)
    arrays = []
    for column in COLUMNS:
        if not column.stream:
            continue
        kind = SCHEMA.field(column.name).type
        mask = rng.random(rows) < 0.3
        if column.name in ("frame.time_epoch", "frame.len"):
            mask[:] = False
        if column.name == "frame.time_epoch":
            cells = (BASE + np.cumsum(rng.integers(0, 10**6, rows))).tolist()
        elif column.kind in (Kind.TEXT, Kind.BYTES):
            cells = [rng.bytes(int(rng.integers(0, 9))) for _ in range(rows)]
        elif column.kind is Kind.IPV6:
            cells = [rng.bytes(16) for _ in range(rows)]
        else:
            cells = rng.integers(0, np.iinfo(kind.to_pandas_dtype()).max, rows, endpoint=True, dtype=np.uint64).tolist()
        cells = [None if gone else cell for cell, gone in zip(cells, mask, strict=True)]
        arrays.append(pa.array(cells, kind))
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def bomb() -> bytes:
    """A message of some kilobytes whose unknown column unpacks to half a gigabyte of zeros."""
    rows = 8
    whole = random_batch(rows).append_column("bomb", pa.array([bytes(1 << 26)] * rows, pa.large_binary()))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, whole.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(whole)
    value: bytes = sink.getvalue().to_pybytes()
    return value
