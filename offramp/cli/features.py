"""`offramp features`: the features of captures as a file, one row a packet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offramp.cli.door import OneOf
from offramp.cli.options import Captures, DissectorName, Strict
from offramp.errors import ConfigError, InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from offramp.capture.block import PacketBlock
    from offramp.capture.sources.source import PacketSource
    from offramp.cli.show.progress import Bar

    Writer = Callable[[Iterable[pa.RecordBatch], Path], int]

EDGE = "edge-iiotset"


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """What `offramp features` was asked for; `label` is None where it was not named."""

    files: Captures
    out: Annotated[Path, typer.Option("--out", "-o", help="where to write: .csv or .parquet")]
    profile: Annotated[
        str,
        OneOf(("full", "stream")),
        typer.Option("--profile", help="full: payload and text too; stream: none"),
    ] = "full"
    dissector: DissectorName = "fast"
    layout: Annotated[
        str,
        OneOf(("tshark", EDGE)),
        typer.Option(
            "--layout",
            help="CSV as tshark prints it, or as in Edge-IIoTset's own files",
        ),
    ] = "tshark"
    label: Annotated[
        str | None,
        typer.Option("--label", help=f"with --layout {EDGE}: Attack_type of all rows (Normal otherwise)"),
    ] = None
    strict: Strict = False
    raw: Annotated[
        bool, typer.Option("--raw", help="in CSV: control characters as on the wire, as tshark writes them")
    ] = False


def features(options: FeatureOptions) -> None:
    """Write one row a packet with Edge-IIoTset's 61 columns, as tshark prints them, and the stream's own.

    Example: offramp features capture.pcap -o features.csv
    """
    from offramp.capture.dissectors import open_dissector
    from offramp.capture.sources.file.files import open_captures
    from offramp.cli.show.ledger_text import capture_lines, hold_strict, warn
    from offramp.cli.show.progress import console_bar
    from offramp.kernels import announce_compiling
    from offramp.stream.local.dissecting import dissected
    from offramp.stream.local.prefetch import prefetch

    write = _writer(options)
    announce_compiling()
    source = open_captures(options.files)
    with (
        open_dissector(options.dissector, options.profile, agent="features") as dissector,
        console_bar(source.progress, "dissecting") as bar,
        closing(prefetch(dissected(_blocks(source, bar), lambda _: dissector))) as batches,
    ):
        write((batch for _, batch in batches), options.out)
    for fault in source.faults:
        warn(str(fault))
    print("\n".join(["ledger", *capture_lines(dissector.ledger), f"written to {options.out}"]), file=sys.stderr)
    if options.strict:
        hold_strict(source)


def _writer(options: FeatureOptions) -> Writer:
    """Return what writes the file asked for, or say what does not go together."""
    from offramp.capture.edge_iiotset.layout import NORMAL, label_cells
    from offramp.capture.edge_iiotset.writer import write_edge_csv
    from offramp.capture.features.files import write_csv, write_parquet

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


def _blocks(source: PacketSource, bar: Bar) -> Iterator[tuple[str, PacketBlock]]:
    for block in source.read():
        yield source.name, block
        bar.update()
