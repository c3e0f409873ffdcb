"""The front door in Python: captures to feature rows, and to forecasts, commands and ledger, as objects or frames.

    import offramp

    rows = offramp.features("capture.pcap")
    for batch in rows: ...          # pyarrow.RecordBatch, some thousand packets each
    rows.frame()                    # all of them, as a pandas.DataFrame

    found = offramp.replay("capture.pcap", site="site.toml")
    found.commands, found.forecasts, found.ledger

Frames need pandas: pip install 'offramp[frames]'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from offramp.capture.dissectors import open_dissector
from offramp.capture.features.files import parquet_schema, typed_batch
from offramp.capture.ledger import CaptureLedger
from offramp.capture.sources.file.files import open_captures
from offramp.decision.command import Command, commands_frame
from offramp.decision.site import Site, load_or_default
from offramp.errors import ConfigError
from offramp.extras import require
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_backend
from offramp.stream.local.link_choice import LinkChoice
from offramp.stream.local.marks import read_marks
from offramp.stream.local.replay import Replay
from offramp.stream.pipeline.ledger import StreamLedger
from offramp.stream.pipeline.timeline import LinkTimeline
from offramp.stream.pipeline.timeline_table import BIN, FORECAST_COLUMNS, timeline_schema, timeline_table

if TYPE_CHECKING:
    import pandas as pd

File = str | PathLike[str]
Derive = Mapping[str, Callable[[pa.RecordBatch], Any]]
"""Columns by name, each by a function of a batch: pyarrow.Array, numpy.ndarray or a list, one value a row."""


class Features:
    """The feature rows of captures, in their order; each going through reads the captures from their beginning.

    `ledger` accounts for the packets, and `faults` tells what could not be read, of the last time that they were gone
    through.
    """

    def __init__(self, files: Sequence[str], profile: str, dissector: str, derive: Derive) -> None:
        self._files, self._profile, self._dissector, self._derive = files, profile, dissector, derive
        self.ledger = CaptureLedger()
        self.faults: list[str] = []

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yield batches of some thousand rows: times as timestamps, addresses as text, the rest as numbers and bytes.

        Raises InputError where a file cannot be read.
        """
        source, schema = open_captures(self._files), parquet_schema(self._profile)
        with open_dissector(self._dissector, self._profile, agent="features") as dissector:
            self.ledger = dissector.ledger
            for block in source.read():
                for batch in dissector.dissect(block):
                    yield self._derived(typed_batch(batch, schema))
        self.faults = [str(each) for each in source.faults]

    def table(self) -> pa.Table:
        """Return all rows as one table; a capture of a million packets takes half a gigabyte."""
        batches = list(self)
        return pa.Table.from_batches(batches, batches[0].schema if batches else parquet_schema(self._profile))

    def frame(self) -> pd.DataFrame:
        """Return all rows as a frame. Raises MissingExtraError where pandas is not installed."""
        require("a frame", "pandas")
        frame: pd.DataFrame = self.table().to_pandas()
        return frame

    def _derived(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        for name, derive in self._derive.items():
            column = derive(batch)
            if len(column) != len(batch):
                raise ConfigError(f"derive {name!r}: gave {len(column)} values for a batch of {len(batch)} rows")
            batch = batch.append_column(name, column if isinstance(column, pa.Array) else pa.array(column))
        return batch


def features(*files: File, profile: str = "full", dissector: str = "fast", derive: Derive | None = None) -> Features:
    """Return the feature rows of captures: Edge-IIoTset's 61 columns, as tshark has them, and the stream's own.

    files: pcap or pcapng, also .gz and .zst, in this order; profile: `full`, or `stream` without payload and text;
    dissector: `fast`, `reference` (tshark through pyshark, slowly) or `scapy` (headers only, slowly); derive: further
    columns. Nothing is read before the rows are asked for.
    """
    return Features([fspath(file) for file in files], profile, dissector, derive or {})


@dataclass(frozen=True)
class Ledger:
    """What became of all packets, rows and bins: the account of a capture, and that of the stream behind it."""

    capture: CaptureLedger
    stream: StreamLedger

    def __str__(self) -> str:
        """Return it as `offramp replay` prints it."""
        from offramp.cli.show.ledger_text import capture_lines

        return "\n".join([*capture_lines(self.capture), *self.stream.lines()])


@dataclass
class Replayed:
    """What a replay gave: commands in the order they were decided, forecasts bin by bin, and the account.

    warnings: what of packets and site does not fit together, and what could not be read.
    """

    commands: list[Command]
    ledger: Ledger
    warnings: list[str]
    _timelines: list[LinkTimeline] = field(repr=False)
    _schema: pa.Schema = field(repr=False)
    _horizon_ms: int = field(repr=False)

    def timeline_table(self) -> pa.Table:
        """Return what `offramp replay --timeline` writes: a row for each bin of each link, and for each command.

        docs/timeline.md tells the columns; they are link by link in the order of their names.
        """
        return timeline_table(self._timelines, self._schema, self._horizon_ms)

    def forecast_table(self) -> pa.Table:
        """Return of the timeline a row for each bin of each link: its time, loads, queue and forecast.

        link; time: its end; load_up, load_down: shares of the capacity; queue_ms: of the virtual queue at the bin's
        end; Normal, Medium, High: probabilities; q50_ms, q90_ms, q99_ms: quantiles of the largest delay within the
        model's horizon.
        """
        table = self.timeline_table()
        return table.filter(pc.equal(table["kind"], BIN)).select(FORECAST_COLUMNS)

    @cached_property
    def forecasts(self) -> pd.DataFrame:
        """The forecasts as a frame. Raises MissingExtraError where pandas is not installed."""
        require("a frame", "pandas")
        frame: pd.DataFrame = self.forecast_table().to_pandas()
        return frame

    def frame(self) -> pd.DataFrame:
        """Return the commands as a frame, a row each; nested members have names such as `action.type`."""
        return commands_frame(command.to_dict() for command in self.commands)


def replay(
    *files: File, site: File | Site | None = None, model: File | None = None, backend: str = "compiled",
    dissector: str = "fast", link: str = "", marks: File | None = None,
) -> Replayed:  # fmt: skip
    """Replay captures through the whole pipeline, as `offramp replay` does: the same commands, byte for byte.

    site: of site.toml or an object, else one link of 100 Mbit/s with a buffer of 250 ms; model: artifact folder, else
    the shipped one; link: the link that all packets are of; marks: a file of JSON lines, which capacity, path or node
    changes, and when (docs/replay.md). Raises OfframpError for what cannot be read or does not go together.
    """
    described = site if isinstance(site, Site) else load_or_default(None if site is None else Path(site))
    artifact = load_artifact(DEFAULT_ARTIFACT if model is None else Path(model))
    warnings = [described.assumed()] if site is not None and described.assumed() else []
    timelines: list[LinkTimeline] = []
    predictor = open_backend(backend, artifact)
    running = Replay(
        open_captures([fspath(file) for file in files]), described, artifact, predictor, sink=timelines.append,
        choice=LinkChoice(described, link, warnings.append), dissector=dissector,
        marks=read_marks(None if marks is None else Path(marks), described),
    )  # fmt: skip
    commands = list(running.run())
    warnings += [*map(str, running.source.faults), *running.batches.warnings()]
    if ahead := running.mark_counts()[1]:
        warnings.append(f"{marks}: {ahead} marks were not acted on: nothing was decided behind them")
    return Replayed(
        commands, Ledger(running.capture_ledger(), running.stream_ledger()), warnings, timelines,
        timeline_schema(described, predictor), predictor.horizon_ms,
    )  # fmt: skip
