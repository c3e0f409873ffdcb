"""Edge-IIoTset's CSV files, faults included, to a table with real types and an account of every row.

Reads the per-attack files, the merged ones (DNN, ML) and cuts of them: all have the 61 columns, most the two labels.
The table has the types of the project's own Parquet files (`capture.features.files`), so that it can stand beside them.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from offramp.capture.edge_iiotset.cells import is_missing, parse_cell, time_of_day
from offramp.capture.edge_iiotset.layout import EDGE_HEADER, EDGE_TABLE, LABEL_COLUMNS
from offramp.capture.edge_iiotset.report import EdgeReport
from offramp.capture.edge_iiotset.rows import EdgeRows
from offramp.capture.edge_iiotset.zeros import with_zeros
from offramp.capture.features.arrow_schema import OCCURRENCES, batch_schema, wire_type
from offramp.capture.features.files import parquet_array, parquet_schema
from offramp.capture.features.rendering import render_text
from offramp.capture.features.row_batches import Row, rows_to_batches
from offramp.capture.schema import EDGE_COLUMNS, SCHEMA_VERSION, Column, Kind
from offramp.errors import InputError, writing

TIME_OF_DAY = "frame.time_of_day"
BLOCK_BYTES = 4 << 20
_NAMES = tuple(column.name for column in EDGE_TABLE)
_WIRE = batch_schema("full").remove_metadata()
_WIRE = pa.schema([_WIRE.field(name) for name in (*_NAMES, OCCURRENCES)])


def edge_schema() -> pa.Schema:
    """Return the schema of what is read: 61 columns and `occurrences` as in Parquet, time of day, the labels."""
    full = parquet_schema("full")
    fields = [full.field(name) for name in (*_NAMES, OCCURRENCES)]
    fields += [
        pa.field(TIME_OF_DAY, pa.time64("ns")),
        pa.field(LABEL_COLUMNS[0], pa.uint8()),
        pa.field(LABEL_COLUMNS[1], pa.dictionary(pa.int32(), pa.string())),
    ]
    return pa.schema(fields, metadata={"schema_version": SCHEMA_VERSION, "layout": "edge-iiotset"})


class EdgeReader:
    """Reads files in the order given; after `read` has ended, `report` accounts for every row."""

    def __init__(self, paths: Sequence[str | Path]) -> None:
        self.report = EdgeReport()
        self._paths = [Path(path) for path in paths]
        self._rows = EdgeRows(self.report)
        self._seen: set[int] = set()

    def read(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows that could be read, in order. Raises InputError for what is no file of the data set."""
        headers = [(path, read_header(path)) for path in self._paths]
        for path, names in headers:
            self.report.files += 1
            try:
                for block in self._blocks(path, names):
                    yield self._batch(block)
            except pa.ArrowInvalid as error:
                raise InputError(f"{path}: cannot be read as CSV: {error}") from error

    def _blocks(self, path: Path, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield a file's cells as text, block by block; rows of another length are dropped and counted."""

        def odd(row: pyarrow.csv.InvalidRow) -> str:
            self.report.rows += 1
            self.report.dropped[f"{row.actual_columns} cells, where {row.expected_columns} were expected"] += 1
            return "skip"

        convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
        parse = pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=odd)
        read = pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False)
        with path.open("rb") as file:
            whole = codecs.EncodedFile(file, "utf-8", "utf-8-sig", errors="replace")
            with pyarrow.csv.open_csv(pa.PythonFile(whole, "r"), read, parse, convert) as reader:
                yield from reader

    def _batch(self, block: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows of a block that can be read."""
        self.report.rows += block.num_rows
        self._count_duplicates(block)
        parsed = [_parsed(column, block.column(index)) for index, column in enumerate(EDGE_COLUMNS)]
        plain = np.logical_and.reduce([fine for _, fine in parsed])
        odd_rows, odd = self._odd(block, np.flatnonzero(~plain))
        self.report.whole += int(plain.sum())
        arrays = [cells.filter(pa.array(plain)) for cells, _ in parsed]
        usual = pa.record_batch([*arrays, pa.nulls(int(plain.sum()), _WIRE.field(OCCURRENCES).type)], schema=_WIRE)
        at = np.concatenate([np.flatnonzero(plain), np.array(odd_rows, np.int64)])
        table = pa.Table.from_batches([usual, *odd]).take(pa.array(np.argsort(at, kind="stable")))
        return self._typed(table, block.take(pa.array(np.sort(at))))

    def _odd(self, block: pa.RecordBatch, rows: np.ndarray) -> tuple[list[int], list[pa.RecordBatch]]:
        """Return the odd rows of a block that can be read: their places, and a batch of wire types if there are any."""
        table = block.take(pa.array(rows))
        cells = list(zip(*[table.column(index).to_pylist() for index in range(len(_NAMES))], strict=True))
        kinds = (
            table.column(LABEL_COLUMNS[1]).to_pylist() if LABEL_COLUMNS[1] in block.schema.names else [""] * len(rows)
        )
        for row, kind in zip(cells, kinds, strict=True):
            self._rows.learn(row, kind)
        found: list[Row] = []
        places: list[int] = []
        for place, row, kind in zip(rows.tolist(), cells, kinds, strict=True):
            values = self._rows.row(row, kind)
            if values is not None:
                found.append(values)
                places.append(place)
        return places, rows_to_batches(found, _WIRE, max(len(found), 1))

    def _typed(self, table: pa.Table, source: pa.RecordBatch) -> pa.RecordBatch:
        """Return rows of wire types as they go to Parquet, with what the two labels of their source say."""
        arrays = {name: table[name].combine_chunks() for name in table.schema.names}
        dates, clocks = self._times(arrays["frame.time"])
        arrays = with_zeros(arrays | {"frame.time": dates})
        typed = [_as_parquet(column, arrays[column.name]) for column in EDGE_COLUMNS]
        columns = [*typed, arrays[OCCURRENCES], clocks, *self._labels(source)]
        return pa.record_batch(columns, schema=edge_schema())

    def _times(self, cells: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Return nanoseconds since the epoch, where the date is whole, and the time of day."""
        said = [(None, None) if cell is None else time_of_day(cell) for cell in cells.to_pylist()]
        self.report.timeless += cells.null_count
        self.report.undated += sum(date is None for date, _ in said) - cells.null_count
        return pa.array([date for date, _ in said], pa.int64()), pa.array([clock for _, clock in said], pa.time64("ns"))

    def _labels(self, source: pa.RecordBatch) -> list[pa.Array]:
        """Return the columns of the labels, null where the file has none."""
        if LABEL_COLUMNS[0] not in source.schema.names:
            return [pa.nulls(source.num_rows, edge_schema().field(name).type) for name in LABEL_COLUMNS]
        marks = {"0": 0, "0.0": 0, "1": 1, "1.0": 1}
        labels = [marks.get(cell) for cell in source.column(LABEL_COLUMNS[0]).to_pylist()]
        if labels.count(None):
            self.report.unreadable[LABEL_COLUMNS[0]] += labels.count(None)
        return [pa.array(labels, pa.uint8()), source.column(LABEL_COLUMNS[1]).dictionary_encode()]

    def _count_duplicates(self, block: pa.RecordBatch) -> None:
        """Count the rows that are equal to an earlier one in every cell."""
        for line in pc.binary_join_element_wise(*block.columns, "\x1f").to_pylist():
            mark = hash(line)
            self.report.duplicates += mark in self._seen
            self._seen.add(mark)


def _as_parquet(column: Column, array: pa.Array) -> pa.Array:
    """Return a column as in a Parquet file; text was printed by tshark before, so only its line ends are escaped."""
    if column.kind is not Kind.TEXT:
        return parquet_array(column, array)
    return pa.array([None if cell is None else render_text(cell) for cell in array.to_pylist()], pa.string())


def read_header(path: Path) -> list[str]:
    """Return the column names of a file. Raises InputError where they are not those of Edge-IIoTset."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            names = next(csv.reader(file), [])
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror or error}") from error
    if any(name.startswith("network_feature_") for name in names):
        raise InputError(
            f"{path}: columns network_feature_1 and so on: this file goes by the name of Edge-IIoTset and holds random "
            "numbers; take the data set from its authors"
        )
    wanted = EDGE_HEADER if len(names) > len(_NAMES) else _NAMES
    for place, name in enumerate(wanted):
        if place >= len(names) or names[place] != name:
            found = repr(names[place][:40]) if place < len(names) else "nothing"
            raise InputError(f"{path}: column {place + 1} is {found}, where Edge-IIoTset has {name!r}")
    if len(names) > len(wanted):
        raise InputError(f"{path}: has {len(names)} columns, where Edge-IIoTset has {len(wanted)}")
    return names


def write_edge_parquet(paths: Sequence[str | Path], out: Path) -> EdgeReport:
    """Read files of the data set and write them as one Parquet file; return the account.

    Raises InputError for what is no file of the data set, OfframpError where the output cannot be written.
    """
    reader = EdgeReader(paths)
    for path in paths:
        read_header(Path(path))
    with writing(out), pq.ParquetWriter(out, edge_schema(), compression="zstd") as writer:
        for batch in reader.read():
            writer.write_batch(batch)
    return reader.report


def read_edge_table(paths: Sequence[str | Path]) -> tuple[pa.Table, EdgeReport]:
    """Read files of the data set into memory; `.to_pandas()` of the table gives a frame. Raises InputError."""
    reader = EdgeReader(paths)
    table = pa.Table.from_batches(list(reader.read()), schema=edge_schema())
    return table, reader.report


def _parsed(column: Column, cells: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Return a column's values in wire type, and bool [n]: whether a cell is missing or has one value of the column."""
    encoded = cells.dictionary_encode()
    words = encoded.dictionary.to_pylist()
    found = [None if is_missing(word) else parse_cell(column, word) for word in words]
    first = column is EDGE_COLUMNS[0]  # no packet is without a time
    fine = [
        (not first and is_missing(word)) or (values is not None and len(values) == 1)
        for word, values in zip(words, found, strict=True)
    ]
    values = pa.array([one[0] if one and len(one) == 1 else None for one in found], wire_type(column))
    indices = encoded.indices.to_numpy()
    return values.take(encoded.indices), np.array(fine, np.bool_)[indices]
