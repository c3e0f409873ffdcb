"""Where the data of a command goes: standard output, or the file of --out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

from offramp_errors import InputError


def open_out(path: Path | None) -> TextIO:
    """Open where the data goes."""
    if path is None:
        return open(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False)
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {path}: {error.strerror}; name a file in a folder you may write to") from error
