"""Write the features of captures to a file: one row a packet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from capture.block import PacketBlock, PacketSource
from capture.dissector import Dissector
from capture.feature_files import write_csv, write_parquet
from capture.files import open_captures
from offramp_errors import InputError, OfframpError
from offramp_kernels import announce_compiling
from stream.console import Bar, console_bar
from stream.dissecting import dissected
from stream.prefetch import prefetch
from stream.replay import capture_lines

WRITERS = {".csv": write_csv, ".parquet": write_parquet}


def run_features(files: tuple[str, ...], out: Path, profile: str, strict: bool) -> None:
    """Run `offramp features`: all packets of `files` to `out`, the ledger to standard error."""
    if out.suffix not in WRITERS:
        raise InputError(f"-o {out}: the name must end in .csv or .parquet")
    if not out.parent.is_dir():
        raise InputError(f"-o {out}: there is no folder {out.parent}")
    announce_compiling()
    source = open_captures(files)
    dissector = Dissector(profile, agent="features")
    with console_bar(source.progress, "dissecting") as bar:
        batches = dissected(_blocks(source, bar), lambda _: dissector)
        WRITERS[out.suffix](prefetch(batch for _, batch in batches), out, profile)
    for damage in source.damages:
        print(f"warning: {damage}", file=sys.stderr)
    print("\n".join(["ledger", *capture_lines(dissector.ledger), f"written to {out}"]), file=sys.stderr)
    if source.damages and strict:
        raise OfframpError(f"{len(source.damages)} damaged place(s) in the input, and --strict was asked for")


def _blocks(source: PacketSource, bar: Bar) -> Iterator[tuple[str, PacketBlock]]:
    for block in source.read():
        yield "", block
        bar.update()
