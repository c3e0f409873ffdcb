"""Find copies of captures: the same traffic renamed, moved in time, cut short, with other addresses or link type.

A capture's content is the set of its shingles: hashes of eight packets in a row, without times, addresses and numbers
that depend on earlier packets. Two captures are copies where the smaller shares enough of its shingles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

SHINGLE = 8
COLUMNS = (
    "ip.proto", "tcp.srcport", "tcp.dstport", "tcp.flags", "tcp.len", "udp.srcport", "udp.dstport", "arp.opcode",
    "icmp.seq_le", "http.content_length", "http.response", "dns.qry.name.len", "dns.qry.type", "mqtt.msgtype",
    "mqtt.len", "mqtt.topic_len", "mbtcp.len", "mbtcp.trans_id", "mbtcp.unit_id",
)  # fmt: skip
"""What a packet is hashed by: no time, address or link header; nothing relative to a conversation's first packet."""

FACTOR = np.uint64(0x9E3779B97F4A7C15)


def mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return well-spread bits (the finaliser of SplitMix64)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    out: NDArray[np.uint64] = value ^ (value >> np.uint64(31))
    return out


def packet_keys(batch: pa.RecordBatch) -> NDArray[np.uint64]:
    """Return a hash of each packet of a feature batch: uint64 [n]."""
    out = np.zeros(batch.num_rows, np.uint64)
    for name in COLUMNS:
        column = batch.column(name)
        if column.null_count < len(column):
            filled = pc.fill_null(column.cast(pa.int64()), -1)
            out = mixed(out * FACTOR + filled.to_numpy(zero_copy_only=False).view(np.uint64))
        else:
            out = mixed(out * FACTOR - np.uint64(1))
    return out


def content(keys: NDArray[np.uint64], size: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a capture's shingles, sorted and unique; size: int64 [n], only its differences, as link headers vary."""
    count = len(keys) - SHINGLE
    if count < 1:
        return np.empty(0, np.uint64)
    one = mixed(keys[1:] * FACTOR + np.diff(size).astype(np.int64).view(np.uint64))
    out = np.zeros(count, np.uint64)
    for offset in range(SHINGLE):
        out = mixed(out * FACTOR + one[offset : offset + count])
    return np.unique(out)


def copies(contents: Sequence[NDArray[np.uint64]], bound: float) -> dict[int, tuple[int, float]]:
    """Return for each copy the index of its original (the largest of its kind) and the share of its shingles there."""
    common = shared_counts(contents)
    order = sorted(range(len(contents)), key=lambda index: (-len(contents[index]), index))
    found: dict[int, tuple[int, float]] = {}
    for place, index in enumerate(order):
        larger = {other for other in order[:place] if other not in found}
        shares = [(count / len(contents[index]), -other) for other, count in common[index].items() if other in larger]
        share, other = max(shares, default=(0.0, 0))
        if share >= bound:
            found[index] = (-other, share)
    return found


def shared_counts(contents: Sequence[NDArray[np.uint64]]) -> list[dict[int, int]]:
    """Return for each content how many shingles it shares with which others."""
    owner = np.repeat(np.arange(len(contents)), [len(each) for each in contents])
    if not len(owner):
        return [{} for _ in contents]
    _, shingle = np.unique(np.concatenate(contents), return_inverse=True)
    from scipy.sparse import csr_array  # the base does without SciPy, and needs no duplicates

    has = csr_array((np.ones(len(owner), np.int64), (owner, shingle)), shape=(len(contents), int(shingle.max()) + 1))
    common = csr_array(has @ has.T)
    rows = [slice(common.indptr[row], common.indptr[row + 1]) for row in range(len(contents))]
    return [dict(zip(common.indices[at].tolist(), common.data[at].tolist(), strict=True)) for at in rows]
