"""Write the features of captures to a file: one row a packet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from offramp.capture.block import PacketBlock
from offramp.capture.dissect.dissector import Dissector
from offramp.capture.dissectors import PacketDissector, open_dissector
from offramp.capture.edge_iiotset.layout import NORMAL, label_cells
from offramp.capture.edge_iiotset.writer import write_edge_csv
from offramp.capture.features.files import write_csv, write_parquet
from offramp.capture.sources.file.files import open_captures
from offramp.capture.sources.source import PacketSource
from offramp.cli.progress import Bar, console_bar
from offramp.errors import ConfigError, InputError, OfframpError
from offramp.kernels import announce_compiling
from offramp.stream.local.dissecting import dissected
from offramp.stream.local.prefetch import prefetch
from offramp.stream.local.replay import capture_lines

EDGE = "edge-iiotset"
Writer = Callable[[Iterable[pa.RecordBatch], Path], int]


@dataclass(frozen=True, slots=True)
class FeatureOptions:
    """What `offramp features` was asked for; `label` is None where it was not named; raw: controls as on the wire."""

    files: tuple[str, ...]
    out: Path
    profile: str = "full"
    strict: bool = False
    dissector: str = "fast"
    layout: str = "tshark"
    label: str | None = None
    raw: bool = False


def run_features(options: FeatureOptions) -> None:
    """Run `offramp features`: all packets of the files to a file, the ledger to standard error."""
    write = _writer(options)
    announce_compiling()
    source = open_captures(options.files)
    with (
        open_dissector(options.dissector, options.profile, agent="features") as dissector,
        console_bar(source.progress, "dissecting") as bar,
        closing(prefetch(_batches(source, dissector, bar))) as batches,
    ):
        write(batches, options.out)
    for damage in source.damages:
        print(f"warning: {damage}", file=sys.stderr)
    print("\n".join(["ledger", *capture_lines(dissector.ledger), f"written to {options.out}"]), file=sys.stderr)
    if source.damages and options.strict:
        raise OfframpError(f"{len(source.damages)} damaged place(s) in the input, and --strict was asked for")


def _writer(options: FeatureOptions) -> Writer:
    """Return what writes the file asked for, or say what does not go together."""
    out = options.out
    if out.suffix not in (".csv", ".parquet"):
        raise InputError(f"-o {out}: the name must end in .csv or .parquet")
    if not out.parent.is_dir():
        raise InputError(f"-o {out}: there is no folder {out.parent}")
    if options.layout == EDGE:
        if out.suffix != ".csv":
            raise ConfigError(f"--layout {EDGE} is one of CSV files: -o {out} must end in .csv")
        if options.profile != "full":
            raise ConfigError(f"--layout {EDGE} has all 61 columns: leave out --profile {options.profile}")
        label = NORMAL if options.label is None else options.label
        label_cells(label)
        return partial(write_edge_csv, label=label, raw=options.raw)
    if options.label is not None:
        raise ConfigError(f"--label {options.label}: only --layout {EDGE} has a column for it")
    if out.suffix == ".csv":
        return partial(write_csv, profile=options.profile, raw=options.raw)
    if options.raw:
        raise ConfigError(f"--raw is of CSV files, Parquet holds all characters as they are: leave it out for {out}")
    return partial(write_parquet, profile=options.profile)


def _batches(source: PacketSource, dissector: PacketDissector, bar: Bar) -> Iterator[pa.RecordBatch]:
    """Yield the feature batches of a source; the fast path reads and fills in threads of its own."""
    if isinstance(dissector, Dissector):
        fast = dissector
        for _, batch in dissected(_blocks(source, bar), lambda _: fast):
            yield batch
        return
    for _, block in _blocks(source, bar):
        yield from dissector.dissect(block)


def _blocks(source: PacketSource, bar: Bar) -> Iterator[tuple[str, PacketBlock]]:
    for block in source.read():
        yield source.name, block
        bar.update()
