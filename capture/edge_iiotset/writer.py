"""Feature batches to a CSV file in the style of Edge-IIoTset's authors, without their faults."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from offramp.capture.edge_iiotset.layout import EDGE_HEADER, EDGE_TABLE, EdgeColumn, label_cells
from offramp.capture.features.files import escape_cells, render_batch
from offramp.capture.schema import INDEX
from offramp.errors import writing


def write_edge_csv(batches: Iterable[pa.RecordBatch], path: Path, label: str, *, raw: bool = False) -> int:
    """Write batches of the full profile with the columns and labels of Edge-IIoTset; return the rows.

    A cell with a comma in it (a time, several occurrences) stands in quotes, so no row is shifted, and a time is whole.
    raw: control characters as on the wire; else escaped.
    Raises ConfigError for a label that is no name, OfframpError where the file cannot be written.
    """
    labels = ",".join(label_cells(label))
    rows = 0
    with writing(path), path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(",".join(EDGE_HEADER) + "\n")
        for batch in batches:
            file.writelines(f"{line},{labels}\n" for line in _lines(batch, raw))
            rows += batch.num_rows
    return rows


def _lines(batch: pa.RecordBatch, raw: bool) -> list[str]:
    """Return a batch's 61 columns as lines of CSV without their ends."""
    rendered = render_batch(batch)
    cells = [_quoted(_cells(column, rendered[INDEX[column.name]])) for column in EDGE_TABLE]
    joined = pc.binary_join_element_wise(*cells, ",")
    lines: list[str] = (joined if raw else escape_cells(joined)).to_pylist()
    return lines


def _cells(column: EdgeColumn, rendered: pa.Array) -> pa.Array:
    """Return a column's cells; each different one is worked out once."""
    if rendered.null_count == len(rendered):
        return pa.repeat(pa.scalar(column.missing), len(rendered))
    unique = rendered.dictionary_encode()
    words = pa.array([column.cell(word) for word in unique.dictionary.to_pylist()], pa.string())
    return pc.fill_null(words.take(unique.indices), column.missing)


def _quoted(cells: pa.Array) -> pa.Array:
    """Return cells in quotes where CSV needs them, quotes inside doubled, as pandas does."""
    needed = pc.match_substring_regex(cells, '[,"\r\n]')
    if not pc.any(needed).as_py():
        return cells
    doubled = pc.replace_substring(cells, '"', '""')
    return pc.if_else(needed, pc.binary_join_element_wise('"', doubled, '"', ""), cells)
