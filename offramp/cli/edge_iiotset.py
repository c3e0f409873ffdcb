"""Edge-IIoTset's CSV files to one Parquet file, for the command line."""

from __future__ import annotations

import sys
from pathlib import Path

from offramp.capture.edge_iiotset.reader import write_edge_parquet
from offramp.errors import InputError


def run_edge(files: tuple[str, ...], out: Path) -> None:
    """Run `offramp edge`: the rows of `files` to `out`, what was repaired and dropped to standard error."""
    if out.suffix != ".parquet":
        raise InputError(f"-o {out}: the name must end in .parquet")
    if not out.parent.is_dir():
        raise InputError(f"-o {out}: there is no folder {out.parent}")
    report = write_edge_parquet(files, out)
    print(f"{report}\nwritten to {out}", file=sys.stderr)
