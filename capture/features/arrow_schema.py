"""The Arrow schema of feature batches, from the table of columns: what a message, a file and a dissector agree on."""

from __future__ import annotations

from functools import cache

import pyarrow as pa

from offramp.capture.schema import COLUMNS, SCHEMA_VERSION, Column, Kind

OCCURRENCES = "occurrences"
OCCURRENCE_TYPE = pa.list_(pa.struct([("column", pa.uint8()), ("value", pa.string())]))
_SIGNED = (Kind.TIME, Kind.SECONDS, Kind.NANOSECONDS)


@cache
def wire_type(column: Column) -> pa.DataType:
    """Return the Arrow type of a column in a feature batch."""
    if column.kind is Kind.IPV6:
        return pa.binary(16)
    if column.kind in (Kind.TEXT, Kind.BYTES):
        return pa.binary()
    if column.kind in _SIGNED:
        return pa.int64()
    return {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}[column.bits]


def batch_schema(profile: str) -> pa.Schema:
    """Return the Arrow schema of a profile, `full` or `stream`."""
    fields = [pa.field(column.name, wire_type(column)) for column in COLUMNS if profile == "full" or column.stream]
    if profile == "full":
        fields.append(pa.field(OCCURRENCES, OCCURRENCE_TYPE))
    return pa.schema(fields)


def told_schema(profile: str, *, site: str, link: str, agent: str) -> pa.Schema:
    """Return the schema of a dissector's batches: a profile's, with their origin as metadata.

    Raises ValueError for another profile than `full` and `stream`.
    """
    if profile not in ("full", "stream"):
        raise ValueError(f"profile must be full or stream, not {profile!r}")
    metadata = {"site": site, "link": link, "agent": agent, "schema_version": SCHEMA_VERSION, "profile": profile}
    return batch_schema(profile).with_metadata(metadata)
