"""Write the features of captures to a file: one row a packet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from capture.block import PacketSource
from capture.dissectors import PacketDissector, open_dissector
from capture.feature_files import write_csv, write_parquet
from capture.files import open_captures
from offramp_errors import InputError, OfframpError
from stream.console import Bar, console_bar
from stream.prefetch import prefetch
from stream.replay import capture_lines

WRITERS = {".csv": write_csv, ".parquet": write_parquet}


def run_features(files: tuple[str, ...], out: Path, profile: str, strict: bool, dissector: str) -> None:
    """Run `offramp features`: all packets of `files` to `out`, the ledger to standard error."""
    if out.suffix not in WRITERS:
        raise InputError(f"-o {out}: the name must end in .csv or .parquet")
    if not out.parent.is_dir():
        raise InputError(f"-o {out}: there is no folder {out.parent}")
    source = open_captures(files)
    with (
        open_dissector(dissector, profile, agent="features") as chosen,
        console_bar(source.progress, "dissecting") as bar,
        closing(prefetch(_batches(source, chosen, bar))) as batches,
    ):
        WRITERS[out.suffix](batches, out, profile)
    for damage in source.damages:
        print(f"warning: {damage}", file=sys.stderr)
    print("\n".join(["ledger", *capture_lines(chosen.ledger), f"written to {out}"]), file=sys.stderr)
    if source.damages and strict:
        raise OfframpError(f"{len(source.damages)} damaged place(s) in the input, and --strict was asked for")


def _batches(source: PacketSource, dissector: PacketDissector, bar: Bar) -> Iterator[pa.RecordBatch]:
    for block in source.read():
        yield from dissector.dissect(block)
        bar.update()
