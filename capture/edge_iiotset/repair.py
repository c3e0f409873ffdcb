"""Shifted rows of Edge-IIoTset: which column each cell belongs to, worked out from what the cells look like.

The authors let tshark print without quotes, so a time (it has a comma in it) and every field with several values took
several cells. pandas then took as many cells from the left of all rows of a file as its first row had too many, for an
index, and dropped them: the month and day everywhere; frame.time in DDoS_UDP; all before arp.hw.size in MITM. A row is
thus 61 cells of a longer one: from some column on, one or more cells a column, cut at the end. Among all such
readings the cheapest is taken: a cell that cannot stand in its column costs most, a second value in a column little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from offramp.capture.edge_iiotset.cells import is_missing, parse_cell, parse_port
from offramp.capture.schema import EDGE_COLUMNS, INDEX, Kind

COLUMN_COUNT = len(EDGE_COLUMNS)
MAX_LOST = 9
"""Columns that may be lost at the left."""

MISFIT = 4.0
_AGAIN, _AGAIN_MORE, _MIXED = 1.0, 0.1, 0.5
_MAX_EXTRA = 24
_BEAM = 2.5 * MISFIT
_EVERYWHERE = -1
_PORTS = INDEX["udp.port"]
_TCP = sum(1 << index for index, column in enumerate(EDGE_COLUMNS) if column.name.startswith("tcp."))
_UDP = sum(1 << index for index, column in enumerate(EDGE_COLUMNS) if column.name.startswith("udp."))
_ICMP = 1 << INDEX["icmp.checksum"]


class Reading(NamedTuple):
    """One way to read a row: its cost, and for each cell the column it belongs to (61: beyond the last)."""

    cost: float
    columns: tuple[int, ...]


def fits(cell: str) -> int:
    """Return in which columns a cell can stand, as bits; -1, which is all of them, where it is missing."""
    if is_missing(cell):
        return _EVERYWHERE
    bits = 0
    for index, column in enumerate(EDGE_COLUMNS):
        fitting = parse_port(cell) if column.kind is Kind.PORTS else parse_cell(column, cell)
        bits |= (fitting is not None) << index
    return bits


def readings(cells: Sequence[int]) -> list[Reading]:
    """Return the cheapest reading for each number of columns lost at the left; `cells`: 61 results of `fits`."""
    return [_cheapest(cells, lost) for lost in range(MAX_LOST + 1)]


class _Step(NamedTuple):
    """A state of the search: cost so far, and the way to it (column of the last cell, the step before)."""

    cost: float
    column: int
    before: _Step | None


def _cheapest(cells: Sequence[int], lost: int) -> Reading:
    """Return the cheapest reading that begins at column `lost` (shortest path over cells, columns and repetitions)."""
    steps = {(lost, 1): _Step(_misfit(cells[0], lost) + 0.01 * lost, lost, None)}
    for at in range(1, len(cells)):
        after: dict[tuple[int, int], _Step] = {}
        for (column, times), step in steps.items():
            onward = min(column + 1, COLUMN_COUNT)
            ports_open = column == _PORTS and times % 2 == 1 and cells[at - times] != _EVERYWHERE
            cost = step.cost + _misfit(cells[at], onward) + (MISFIT if ports_open else 0)
            _keep(after, (onward, 1), _Step(cost, onward, step))
            if 0 < column < COLUMN_COUNT and at - column + lost <= _MAX_EXTRA:
                again = 0.0 if ports_open else _repeat(cells[at - 1], cells[at], times)
                cost = step.cost + _misfit(cells[at], column) + again
                _keep(after, (column, times + 1), _Step(cost, column, step))
        worst = min(step.cost for step in after.values()) + _BEAM
        steps = {key: step for key, step in after.items() if step.cost <= worst}
    return _traced(cells, min(steps.values(), key=lambda step: step.cost))


def _keep(steps: dict[tuple[int, int], _Step], key: tuple[int, int], step: _Step) -> None:
    """Keep the cheapest way to a state."""
    if key not in steps or step.cost < steps[key].cost:
        steps[key] = step


def _misfit(cell: int, column: int) -> float:
    """Return what it costs that a cell stands in a column; every packet has a time."""
    if cell == _EVERYWHERE:
        return MISFIT if column == 0 else 0.0
    return 0.0 if column < COLUMN_COUNT and cell >> column & 1 else MISFIT


def _repeat(before: int, cell: int, times: int) -> float:
    """Return what a further value in a column costs; a missing one beside one that is not is less likely."""
    return _AGAIN + _AGAIN_MORE * times + (_MIXED if (before == _EVERYWHERE) != (cell == _EVERYWHERE) else 0)


def _traced(cells: Sequence[int], last: _Step) -> Reading:
    """Return the reading that ends in a step; TCP and UDP in one packet cost, but for an ICMP error."""
    columns: list[int] = []
    step: _Step | None = last
    while step is not None:
        columns.append(step.column)
        step = step.before
    columns.reverse()
    present = 0
    for cell, column in zip(cells, columns, strict=True):
        present |= (cell != _EVERYWHERE) << column
    both = present & _TCP and present & _UDP and not present & _ICMP
    return Reading(last.cost + (MISFIT / 2 if both else 0), tuple(columns))
