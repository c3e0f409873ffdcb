"""Feature batches to files: CSV exactly as `tshark -n -T fields` prints it, Parquet with real types."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from offramp.capture.features.arrow_schema import OCCURRENCE_TYPE, OCCURRENCES
from offramp.capture.features.rendering import join_occurrences, render_column
from offramp.capture.schema import COLUMNS, SCHEMA_VERSION, Column, Kind
from offramp.errors import writing
from offramp.escape import CONTROLS, escaped


def profile_columns(profile: str) -> list[Column]:
    """Return the columns of a profile in the schema's order: Edge-IIoTset's first, then the stream's own."""
    return [column for column in COLUMNS if profile == "full" or column.stream]


def render_batch(batch: pa.RecordBatch) -> list[pa.Array]:
    """Return each column of a batch as strings, further occurrences joined by commas; null where a field is absent."""
    names = batch.schema.names
    extras = None
    if OCCURRENCES in names and batch[OCCURRENCES].null_count < batch.num_rows:
        extras = batch[OCCURRENCES].to_pylist()
        taken = {extra["column"] for row in extras if row for extra in row}
    rendered: list[pa.Array] = []
    for index, column in enumerate(COLUMNS):
        if column.name not in names:
            continue
        cells = render_column(column, batch[column.name])
        if extras is not None and index in taken:
            cells = pa.array(join_occurrences(cells.to_pylist(), extras, index), pa.string())
        rendered.append(cells)
    return rendered


def write_csv(batches: Iterable[pa.RecordBatch], path: Path, profile: str = "full", *, raw: bool = False) -> int:
    """Write batches as `tshark -T fields -E header=y -E separator=, -E quote=d -E occurrence=a` would; return the rows.

    As in tshark, quotes inside a cell are not doubled and tabs and line ends are written as two characters. raw: other
    control characters as on the wire, as tshark writes them; else escaped. Raises OfframpError where the file cannot be
    written.
    """
    rows = 0
    with writing(path), path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(",".join(column.name for column in profile_columns(profile)) + "\n")
        for batch in batches:
            file.writelines(_csv_lines(batch, raw))
            rows += batch.num_rows
    return rows


def _csv_lines(batch: pa.RecordBatch, raw: bool) -> list[str]:
    """Return a batch as lines of CSV."""
    cells = [_quote(array) for array in render_batch(batch)]
    joined = pc.binary_join_element_wise(*cells, ",", null_handling="replace", null_replacement="")
    return [line + "\n" for line in (joined if raw else escape_cells(joined)).to_pylist()]


_CONTROL = "[" + "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in CONTROLS) + "]"
"""As offramp.escape has it, in RE2's way of writing, which is many times as fast over a column."""


def escape_cells(cells: pa.Array) -> pa.Array:
    """Return strings with their control characters escaped."""
    unsafe = pc.match_substring_regex(cells, _CONTROL)
    if not pc.any(unsafe).as_py():
        return cells
    return pc.replace_with_mask(
        cells, pc.fill_null(unsafe, False), pa.array([escaped(text) for text in cells.filter(unsafe).to_pylist()])
    )


def _quote(cells: pa.Array) -> pa.Array:
    """Return cells in double quotes; an absent or empty one stays empty."""
    if cells.null_count == len(cells):
        return cells
    full = pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)
    return pc.binary_join_element_wise('"', full, '"', "")


def parquet_schema(profile: str) -> pa.Schema:
    """Return the schema of a Parquet file: addresses as text, frame.time as timestamp, the rest as on the wire."""
    fields = [pa.field(column.name, parquet_type(column)) for column in profile_columns(profile)]
    if profile == "full":
        fields.append(pa.field(OCCURRENCES, OCCURRENCE_TYPE))
    return pa.schema(fields, metadata={"schema_version": SCHEMA_VERSION, "profile": profile})


def write_parquet(batches: Iterable[pa.RecordBatch], path: Path, profile: str = "full") -> int:
    """Write batches as Parquet, one row group a batch; return the rows. Raises OfframpError as `write_csv` does."""
    rows = 0
    schema = parquet_schema(profile)
    with writing(path), pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(typed_batch(batch, schema))
            rows += batch.num_rows
    return rows


def parquet_type(column: Column) -> pa.DataType:
    """Return the Parquet type of a column."""
    if column.kind is Kind.IPV4:
        return pa.dictionary(pa.int32(), pa.string())
    if column.kind in (Kind.TEXT, Kind.IPV6):
        return pa.string()
    if column.kind is Kind.BYTES:
        return pa.binary()
    if column.kind is Kind.TIME:
        return pa.timestamp("ns", "UTC")
    if column.kind is Kind.SECONDS:
        return pa.duration("ns")
    if column.kind in (Kind.BOOL, Kind.PRESENT):
        return pa.bool_()
    if column.kind is Kind.NANOSECONDS:
        return pa.int64()
    return {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}[column.bits]


def parquet_array(column: Column, array: pa.Array) -> pa.Array:
    """Return a column of wire type with its type in a Parquet file."""
    if column.kind in (Kind.IPV4, Kind.IPV6, Kind.TEXT):
        array = render_column(column, array)
    if column.kind is Kind.IPV4:
        array = array.dictionary_encode()
    return array.cast(parquet_type(column))


def typed_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a feature batch with the types of a Parquet file (see parquet_schema)."""
    arrays = [parquet_array(column, batch[column.name]) for column in COLUMNS if column.name in schema.names]
    if OCCURRENCES in schema.names:
        arrays.append(batch[OCCURRENCES])
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
