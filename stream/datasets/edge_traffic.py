"""What an evaluation's report shows of Edge-IIoTset's files: counted by attack type while they are read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offramp.capture.edge_iiotset.layout import LABEL_COLUMNS
from offramp.capture.edge_iiotset.reader import EdgeReader
from offramp.inference.evaluation.edge import EdgeTraffic

ADDRESSES = ("arp.src.proto_ipv4", "arp.dst.proto_ipv4")
VALUES = ("tcp.len", "tcp.ack", "udp.time_delta", "http.content_length", "dns.qry.name.len", "mqtt.len")
SAME = {"OS_Fingerprinting": "Fingerprinting"}
"""A class that the per-attack files spell otherwise than the whole set."""
MAX_PACKETS = 50_000
"""Values kept of a column and an attack type."""


def edge_traffic(files: Sequence[str]) -> EdgeTraffic:
    """Read files of Edge-IIoTset, repaired as by `offramp edge-iiotset`. Raise InputError for what is none of them."""
    rows: Counter[str] = Counter()
    addresses: dict[str, dict[str, Counter[str]]] = {name: defaultdict(Counter) for name in ADDRESSES}
    values: dict[str, dict[str, list[np.ndarray]]] = {name: defaultdict(list) for name in VALUES}
    reader = EdgeReader(files)
    for batch in reader.read():
        kinds = batch.column(LABEL_COLUMNS[1]).cast(pa.string()).fill_null("unlabelled")
        for spelled in pc.unique(kinds).to_pylist():
            mine, kind = batch.filter(pc.equal(kinds, spelled)), SAME.get(spelled, spelled)
            rows[kind] += mine.num_rows
            for name in ADDRESSES:
                for found in pc.value_counts(mine.column(name).drop_null()).to_pylist():
                    addresses[name][str(found["values"])][kind] += found["counts"]
            for name in VALUES:
                values[name][kind].append(numbers(mine.column(name).drop_null()))
    return EdgeTraffic(
        dict(rows),
        {name: {a: dict(k) for a, k in counts.items()} for name, counts in addresses.items()},
        {
            name: {kind: np.concatenate(parts)[:MAX_PACKETS] for kind, parts in kinds.items()}
            for name, kinds in values.items()
        },
        reader.report.dropped.total(),
    )


def numbers(column: pa.Array) -> np.ndarray:
    """Return a column's values as float64; times in seconds."""
    if pa.types.is_duration(column.type):
        return np.asarray(column.cast(pa.int64()).to_numpy(zero_copy_only=False), np.float64) / 1e9
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
