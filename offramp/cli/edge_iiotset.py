"""`offramp edge-iiotset`: Edge-IIoTset's CSV files to one Parquet file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from offramp.errors import InputError


@dataclass(frozen=True, kw_only=True)
class EdgeOptions:
    """What `offramp edge-iiotset` was asked for."""

    files: Annotated[
        tuple[str, ...], typer.Argument(metavar="FILE...", help="Edge-IIoTset's CSV files: per attack, or merged")
    ]
    out: Annotated[Path, typer.Option("--out", "-o", help="where to write: .parquet")]


def edge_iiotset(options: EdgeOptions) -> None:
    """Read Edge-IIoTset's own CSV files, repair their shifted rows, and write one table with real types.

    Example: offramp edge-iiotset DNN-EdgeIIoT-dataset.csv -o edge.parquet
    """
    from offramp.capture.edge_iiotset.reader import write_edge_parquet

    out = options.out
    if out.suffix != ".parquet":
        raise InputError(f"-o {out}: the name must end in .parquet")
    if not out.parent.is_dir():
        raise InputError(f"-o {out}: there is no folder {out.parent}")
    report = write_edge_parquet(options.files, out)
    print(f"{report}\nwritten to {out}", file=sys.stderr)
