"""Odd rows of Edge-IIoTset's files, one by one: read as they stand, repaired, or dropped with a reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache

from offramp.capture.edge_iiotset.cells import is_missing, parse_cell
from offramp.capture.edge_iiotset.repair import COLUMN_COUNT, MAX_LOST, MISFIT, Reading, fits, readings
from offramp.capture.edge_iiotset.report import EdgeReport
from offramp.capture.features.row_batches import Row, Value
from offramp.capture.schema import EDGE_COLUMNS, Kind

NOTHING_LEFT = "nothing left in the row: its values were lost when the file was made"
NO_ORDER = "cells fit no order of the columns"
_MAX_UNREADABLE = 2


class EdgeRows:
    """Reads odd rows, and learns from them how far the rows of each class of attack are shifted."""

    def __init__(self, report: EdgeReport) -> None:
        self._report = report
        self._costs: dict[str, list[float]] = defaultdict(lambda: [0.0] * (MAX_LOST + 1))
        self._fits = cache(fits)
        self._readings = cache(readings)

    def learn(self, cells: Sequence[str], kind: str) -> None:
        """Learn from a row before its batch is read: rows of one class were shifted alike, and some are ambiguous."""
        costs = self._costs[kind]
        for lost, reading in enumerate(self._read(cells)):
            costs[lost] += min(reading.cost, 2 * MISFIT)

    def row(self, cells: Sequence[str], kind: str) -> Row | None:
        """Return a row's values, or None where it is dropped; the report says what was done."""
        values = _as_they_stand(cells)
        if values is not None and 0 in values:
            self._report.whole += 1
            return values
        if all(is_missing(cell) for cell in cells):
            self._report.dropped[NOTHING_LEFT] += 1
            return None
        found = self._read(cells)
        costs = self._costs[kind]
        best = min(found, key=lambda reading: reading.cost)
        usual = found[costs.index(min(costs))]
        chosen = usual if usual.cost < best.cost + MISFIT / 2 else best
        return self._enter(cells, chosen)

    def _read(self, cells: Sequence[str]) -> list[Reading]:
        """Return the readings of a row; rows whose cells look alike are read once."""
        return self._readings(tuple(self._fits(cell) for cell in cells))

    def _enter(self, cells: Sequence[str], reading: Reading) -> Row | None:
        """Return the values of a row as a reading has them."""
        by_column: dict[int, list[str]] = {}
        for cell, column in zip(cells, reading.columns, strict=True):
            by_column.setdefault(column, []).append(cell)
        row: Row = {}
        unreadable = []
        for index, parts in sorted(by_column.items()):
            if all(is_missing(part) for part in parts):
                continue
            values = _values(index, parts) if index < COLUMN_COUNT else None
            if values is None:
                unreadable.append(EDGE_COLUMNS[min(index, COLUMN_COUNT - 1)].name)
            else:
                row[index] = values
        if len(unreadable) > _MAX_UNREADABLE or (unreadable and reading.columns[0] != 0) or not row:
            self._report.dropped[NO_ORDER] += 1
            return None
        self._report.unreadable.update(unreadable)
        if unreadable and reading.columns[-1] == COLUMN_COUNT - 1:
            self._report.whole += 1
        else:
            self._report.repaired[_reason(reading.columns)] += 1
        return row


def _as_they_stand(cells: Sequence[str]) -> Row | None:
    """Return a row's values where every cell can stand in its own column."""
    row: Row = {}
    for index, cell in enumerate(cells):
        if not is_missing(cell):
            values = parse_cell(EDGE_COLUMNS[index], cell)
            if values is None:
                return None
            row[index] = values
    return row


def _values(index: int, parts: list[str]) -> list[Value] | None:
    """Return the values of a column that took one or more cells; a missing one among them is zero."""
    column = EDGE_COLUMNS[index]
    if column.kind is Kind.PORTS:
        return parse_cell(column, ",".join(part or "0" for part in parts))
    values: list[Value] = []
    for part in parts:
        if not is_missing(part):
            found = parse_cell(column, part)
            if found is None:
                return None
            values += found
        elif column.kind not in (Kind.TEXT, Kind.BYTES, Kind.IPV4, Kind.TIME):
            values.append(0)
    return values


def _reason(columns: Sequence[int]) -> str:
    """Return what was wrong with a row, from the columns of its cells."""
    if columns[0] > 0:
        first, last = EDGE_COLUMNS[0].name, EDGE_COLUMNS[columns[0] - 1].name
        lost = first if columns[0] == 1 else f"{first} to {last}"
        return f"shifted to the left: {lost} lost"
    several = [index for index in range(COLUMN_COUNT) if columns.count(index) > 1]
    return f"shifted to the right: several cells for {', '.join(EDGE_COLUMNS[index].name for index in several)}"
