"""The table of a timeline: a row for each closed bin of a link, command and mark; one schema for all who read it.

`COLUMNS` is the one source: the schema, the rows and docs/timeline.md are derived from it. A bin's row is made once it
is known what came true of its forecast, so the rows depend on the packets alone: not on the cut into batches, nor on
whether a packet or a live link's clock closed a bin.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from offramp.decision.command import Command
from offramp.decision.site import Site
from offramp.inference.forecast import CLASSES, QUANTILES
from offramp.inference.serving.predictor import Predictor
from offramp.stream.channels import BIN_NS
from offramp.stream.pipeline.came_true import came_true_ms
from offramp.stream.pipeline.timeline import ActedMark, LinkTimeline

VERSION = "1"
"""Of the schema: changes where a column goes, or tells something else; columns and kinds that come do not change it."""

VERSION_KEY, RUN_KEY = b"offramp.timeline.version", b"offramp.timeline.run"
"""Keys of the schema's metadata: the version, and as JSON what ran: site, mode, links, model."""

BIN, COMMAND, MARK = "bin", "command", "mark"
ALL = (BIN, COMMAND, MARK)
SILENCE, HOLE, TIME_BACK = "silence", "hole", "time_back"


Column = NDArray[Any] | Sequence[str | None]


class TimelineColumn(NamedTuple):
    """A column: its name, type, the kinds of rows that have it, and what it tells."""

    name: str
    type: pa.DataType
    kinds: tuple[str, ...]
    tells: str


_QUANTILES = [f"q{round(share * 100)}_ms" for share in QUANTILES]
COLUMNS = (
    TimelineColumn("kind", pa.string(), ALL, "`bin`, `command`, `mark`; pass over rows of a kind that you do not know"),
    TimelineColumn("link", pa.string(), ALL, "the link's name in the site file"),
    TimelineColumn(
        "time", pa.timestamp("ns", "UTC"), ALL,
        "end of the bin; of a command, the bin it was decided at; of a mark, the first bin that it counts for",
    ),
    TimelineColumn("load_up", pa.float32(), (BIN,), "share of the capacity that came in, from the devices"),
    TimelineColumn("load_down", pa.float32(), (BIN,), "the same towards the devices"),
    TimelineColumn("queue_ms", pa.float32(), (BIN,), "delay of the virtual queue at the end of the bin"),
    TimelineColumn("queue_max_ms", pa.float32(), (BIN,), "largest delay of the virtual queue in the bin"),
    *(TimelineColumn(name, pa.float32(), (BIN,), f"forecast: probability of the class {name}") for name in CLASSES),
    *(
        TimelineColumn(name, pa.float32(), (BIN,), f"forecast: quantile {share:g} of the largest delay in the horizon")
        for name, share in zip(_QUANTILES, QUANTILES, strict=True)
    ),
    TimelineColumn("horizon_ms", pa.int32(), (BIN,), "how far the forecast reaches beyond `time`"),
    TimelineColumn(
        "came_true_ms", pa.float32(), (BIN,),
        "largest delay of the virtual queue in the horizon, as it turned out; null where that is not known: before the "
        "end, before a hole",
    ),
    TimelineColumn("quality", pa.float32(), (BIN,), "share of the packets that can be vouched for, as in commands"),
    TimelineColumn(
        "gap", pa.string(), (BIN,),
        "what lies between this bin and the link's one before, where it does not follow on: `silence` (no packets, the "
        "queue ran dry), `hole` (packets were lost in a row: nothing is known), `time_back` (the packets' time went "
        "back: another recording); else null",
    ),
    TimelineColumn("open_moves", pa.int32(), (BIN,), "flows and devices that are moved once the bin is decided"),
    TimelineColumn("moved_bps", pa.float32(), (BIN,), "bits per second that they had when they were chosen"),
    TimelineColumn(
        "supposed_load_up", pa.float32(), (BIN,),
        "`load_up` as it would be if the moves told before were carried out; where moved flows are not seen (`enforce` "
        "with the tap behind the point of steering) as it is",
    ),
    TimelineColumn("supposed_load_down", pa.float32(), (BIN,), "the same towards the devices"),
    TimelineColumn("supposed_queue_ms", pa.float32(), (BIN,), "`queue_ms` as it would be"),
    TimelineColumn(
        "supposed_path_ms", pa.float32(), (BIN,),
        "the longest queue of the paths and nodes that the moved flows would go to, 0 where nothing is moved",
    ),
    TimelineColumn("command", pa.string(), (COMMAND,), "the command's body as JSON, as in the decision topic"),
    TimelineColumn(
        "mark", pa.string(), (MARK,),
        "what changed (a capacity, a path, a node) as JSON, as `--marks` takes it; a tap puts in as its `time` when it "
        "began to count",
    ),
)  # fmt: skip

FORECAST_COLUMNS = ("link", "time", "load_up", "load_down", "queue_ms", *CLASSES, *_QUANTILES)


def markdown() -> str:
    """Return the columns as the table of docs/timeline.md."""
    lines = ["| column | type | rows | tells |", "|---|---|---|---|"]
    for column in COLUMNS:
        kinds = "all" if column.kinds == ALL else ", ".join(column.kinds)
        lines.append(f"| `{column.name}` | {column.type} | {kinds} | {column.tells} |")
    return "\n".join(lines)


def timeline_schema(site: Site, model: Predictor) -> pa.Schema:
    """Return the schema, whose metadata tells of what the timeline is."""
    links = {
        link.name: {
            "capacity_up_bps": link.capacity_bps,
            "capacity_down_bps": link.capacity_down_bps,
            "budget_ms": link.budget_ms,
        }
        for link in site.links
    }
    run = {"site": site.name, "mode": site.mode, "links": links, "model": model.name, "model_sha": model.sha}
    return pa.schema(
        [(column.name, column.type) for column in COLUMNS],
        metadata={VERSION_KEY: VERSION, RUN_KEY: json.dumps(run, sort_keys=True)},
    )


class Bins(NamedTuple):
    """Bins of a link, in order: as `timeline.LinkTimeline` and `timeline.BinContext` have them."""

    time_ns: NDArray[np.int64]
    load_up: NDArray[np.float32]
    load_down: NDArray[np.float32]
    end_ms: NDArray[np.float32]
    largest_ms: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    quantiles_ms: NDArray[np.float32]
    quality: NDArray[np.float32]
    open_moves: NDArray[np.int32]
    moved_bps: NDArray[np.float32]
    supposed_up: NDArray[np.float32]
    supposed_down: NDArray[np.float32]
    supposed_ms: NDArray[np.float32]
    supposed_path_ms: NDArray[np.float32]

    @classmethod
    def of(cls, line: LinkTimeline) -> Bins:
        """Return the bins of a timeline. Raises ValueError where it has no context."""
        if line.context is None:
            raise ValueError("a timeline without context has no rows")
        beside = line.context
        return cls(
            line.time_ns, line.load_up, line.load_down, line.bin_end_ms, beside.largest_ms, line.probabilities,
            line.quantiles_ms, beside.quality, beside.open_moves, beside.moved_bps, beside.supposed_up,
            beside.supposed_down, beside.supposed_ms, beside.supposed_path_ms,
        )  # fmt: skip


class TimelineRows:
    """The rows of one link. `update` takes its timelines in order; `settled` and `close` return each row once.

    A row is settled once a bin with packets at or beyond its horizon is closed. A time that ends (with the input, at a
    hole, where the packets' time goes back) ends with its last bin that has packets: how many idle ones were closed
    behind it is the clock's affair. waiting: bins that are not settled.
    """

    def __init__(self, schema: pa.Schema, horizon_ms: int) -> None:
        self._schema, self._horizon_ms = schema, horizon_ms
        self.waiting = 0
        self._link = ""
        self._step = 0
        self._parts: list[Bins] = []
        self._commands: list[Command] = []
        self._marks: list[ActedMark] = []
        self._ended: list[pa.RecordBatch] = []
        self._gap = ""
        self._last_ns = 0

    def update(self, line: LinkTimeline) -> None:
        """Take closed bins of the link, the commands that they caused, and the marks that count from them on."""
        self._link = line.link
        if line.step != self._step or line.behind_hole:
            if self._last_ns or self.waiting:
                self._ended += self._settle(ends=True)
                self._gap = HOLE if line.step == self._step else TIME_BACK
            self._step, self._last_ns = line.step, 0
        self._parts.append(Bins.of(line))
        self._commands += line.commands
        self._marks += line.marks
        self.waiting += len(line.time_ns)

    def settled(self) -> list[pa.RecordBatch]:
        """Return the rows of which all is known, in order."""
        return self._taken() + self._settle(ends=False)

    def close(self) -> list[pa.RecordBatch]:
        """Return the rows that are left: the end of the input."""
        return self._taken() + self._settle(ends=True)

    def _taken(self) -> list[pa.RecordBatch]:
        ended, self._ended = self._ended, []
        return ended

    def _settle(self, *, ends: bool) -> list[pa.RecordBatch]:
        """Return the rows that are known of the time at hand, or where that ends all of its rows."""
        known, found = 0, list[pa.RecordBatch]()
        if self._parts:
            bins = Bins._make(np.concatenate(column) for column in zip(*self._parts, strict=True))
            number = bins.time_ns // BIN_NS
            busy = np.flatnonzero((bins.load_up > 0) | (bins.load_down > 0))
            last = int(number[busy[-1]]) if len(busy) else -1
            horizon = self._horizon_ms * 1_000_000 // BIN_NS
            came_true = came_true_ms(number, bins.largest_ms, bins.end_ms, horizon, last + 1)
            known = int(np.searchsorted(number, last if ends else last - horizon, "right"))
            found = self._rows(Bins._make(column[:known] for column in bins), came_true[:known], ends=ends)
            self._parts = [Bins._make(column[known:] for column in bins)]
        if ends:
            self._parts = []
        self.waiting = sum(len(part.time_ns) for part in self._parts)
        return found

    def _rows(self, bins: Bins, came_true: NDArray[np.float32], *, ends: bool) -> list[pa.RecordBatch]:
        """Return bins as rows, with the commands and marks up to the last of them, or all.

        A mark stands before the first bin that it counts for, a command behind the bin at which it was decided.
        """
        count = len(bins.time_ns)
        if not count and not ends:
            return []
        until_ns = int(bins.time_ns[-1]) if count else 0
        told = [command for command in self._commands if ends or command.not_before_ns <= until_ns]
        marks = [mark for mark in self._marks if ends or mark.time_ns <= until_ns]
        self._commands = self._commands[len(told) :]
        self._marks = self._marks[len(marks) :]
        rows = self._bin_rows(bins, came_true)
        if not told and not marks:
            return [rows]
        behind = np.searchsorted(bins.time_ns, [command.not_before_ns for command in told], "right")
        before = np.searchsorted(bins.time_ns, [mark.time_ns for mark in marks], "left")
        order = np.argsort(np.concatenate([np.arange(count), behind - 0.5, before - 0.5]), kind="stable")
        whole = pa.Table.from_batches([rows, self._command_rows(told), self._mark_rows(marks)])
        found: list[pa.RecordBatch] = pc.take(whole, _array(pa.int64(), order)).combine_chunks().to_batches()
        return found

    def _bin_rows(self, bins: Bins, came_true: NDArray[np.float32]) -> pa.RecordBatch:
        count = len(came_true)
        columns: dict[str, Column] = {
            "kind": [BIN] * count, "link": [self._link] * count,
            "time": bins.time_ns, "load_up": bins.load_up, "load_down": bins.load_down,
            "queue_ms": bins.end_ms, "queue_max_ms": bins.largest_ms,
            **dict(zip(CLASSES, bins.probabilities.T, strict=True)),
            **dict(zip(_QUANTILES, bins.quantiles_ms.T, strict=True)),
            "horizon_ms": np.full(count, self._horizon_ms, np.int32), "came_true_ms": came_true,
            "quality": bins.quality, "gap": self._gaps(bins.time_ns),
            "open_moves": bins.open_moves, "moved_bps": bins.moved_bps,
            "supposed_load_up": bins.supposed_up, "supposed_load_down": bins.supposed_down,
            "supposed_queue_ms": bins.supposed_ms, "supposed_path_ms": bins.supposed_path_ms,
        }  # fmt: skip
        return self._batch(columns, count)

    def _gaps(self, time_ns: NDArray[np.int64]) -> Sequence[str | None]:
        """Return what lies before each bin."""
        found: list[str | None] = [None] * len(time_ns)
        if len(time_ns):
            before = np.concatenate([[self._last_ns or time_ns[0] - BIN_NS], time_ns[:-1]])
            for at in np.flatnonzero(time_ns - before > BIN_NS).tolist():
                found[at] = SILENCE
            if self._gap:
                found[0], self._gap = self._gap, ""
            self._last_ns = int(time_ns[-1])
        return found

    def _command_rows(self, commands: list[Command]) -> pa.RecordBatch:
        count = len(commands)
        columns: dict[str, Column] = {
            "kind": [COMMAND] * count, "link": [self._link] * count,
            "time": np.array([command.not_before_ns for command in commands], np.int64),
            "command": [command.to_json() for command in commands],
        }  # fmt: skip
        return self._batch(columns, count)

    def _mark_rows(self, marks: list[ActedMark]) -> pa.RecordBatch:
        count = len(marks)
        columns: dict[str, Column] = {
            "kind": [MARK] * count, "link": [self._link] * count,
            "time": np.array([mark.time_ns for mark in marks], np.int64), "mark": [mark.mark for mark in marks],
        }  # fmt: skip
        return self._batch(columns, count)

    def _batch(self, columns: dict[str, Column], rows: int) -> pa.RecordBatch:
        """Return columns as a batch of the schema; those that are not given are null."""
        arrays = [
            _array(field.type, columns[field.name]) if field.name in columns else pa.nulls(rows, field.type)
            for field in self._schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


def _array(kind: pa.DataType, column: Column) -> pa.Array:
    """Return numbers, NaN as null, or texts as an array; by their buffers, as `pa.array` would load pandas first."""
    if isinstance(column, np.ndarray):
        cells, absent = [pa.py_buffer(np.ascontiguousarray(column))], np.isnan(column)
    else:
        texts = [(text or "").encode() for text in column]
        ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        cells, absent = [pa.py_buffer(ends), pa.py_buffer(b"".join(texts))], np.array([each is None for each in column])
    there = pa.py_buffer(np.packbits(~absent, bitorder="little")) if absent.any() else None
    return pa.Array.from_buffers(kind, len(column), [there, *cells])


def timeline_table(lines: list[LinkTimeline], schema: pa.Schema, horizon_ms: int) -> pa.Table:
    """Return the rows of timelines as one table: link by link in the order of their names, each in its own order."""
    links: dict[str, TimelineRows] = {}
    for line in lines:
        links.setdefault(line.link, TimelineRows(schema, horizon_ms)).update(line)
    return pa.Table.from_batches([batch for link in sorted(links) for batch in links[link].close()], schema)
