"""Tell zeros from missing values in Edge-IIoTset's files, where `0` is both, by the packet's other fields."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_TCP = ("tcp.srcport", "tcp.dstport", "tcp.flags")
_WITH: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        _TCP,
        (*_TCP, "tcp.ack", "tcp.ack_raw", "tcp.checksum", "tcp.flags.ack", "tcp.len", "tcp.seq"),
    ),
    (("udp.port",), ("udp.stream", "udp.time_delta")),
    (("mqtt.hdrflags", "mqtt.msgtype"), ("mqtt.len",)),
    (("mqtt.conflags",), ("mqtt.conflag.cleansess",)),
    (("mqtt.topic",), ("mqtt.topic_len",)),
    (("mbtcp.len",), ("mbtcp.trans_id", "mbtcp.unit_id")),
)
"""Where a packet has one of the first, tshark prints all of the second: they are zero then, and not missing."""


def with_zeros(arrays: dict[str, Any]) -> dict[str, Any]:
    """Return columns of wire type with zeros in place of nulls where the packet has the field."""
    out = dict(arrays)
    for marks, names in _WITH:
        there = pc.is_valid(arrays[marks[0]])
        for mark in marks[1:]:
            there = pc.or_(there, pc.is_valid(arrays[mark]))
        if pc.any(there).as_py():
            for name in names:
                absent = pc.and_(there, pc.is_null(out[name]))
                out[name] = pc.if_else(absent, pa.scalar(0, out[name].type), out[name])
    return out
