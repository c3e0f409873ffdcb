"""Where the data of a command goes: standard output, or the file of --out."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TextIO

from offramp.errors import InputError
from offramp.streams import data_errors


class DataText(io.TextIOWrapper):
    """Text for data: raises OutputError where its disk is full, ReaderGoneError where its reader has seen enough."""

    def __init__(self, file: int | Path, named: str) -> None:
        """Open a file's descriptor, which stays open at the end, or a path. Raises OSError where that cannot be."""
        self._named = named
        super().__init__(open(file, "wb", closefd=isinstance(file, Path)), encoding="utf-8")  # noqa: SIM115 - closes it

    def write(self, text: str) -> int:
        """Write text."""
        with data_errors(self._named):
            count = super().write(text)
        return count  # noqa: RET504 - a context that may end an error hides the return within it from mypy

    def flush(self) -> None:
        """Hand on what was written."""
        with data_errors(self._named):
            super().flush()

    def close(self) -> None:
        """Hand on what was written, and close."""
        with data_errors(self._named):
            super().close()


def open_out(path: Path | None) -> TextIO:
    """Open where the data goes. Writing to it raises OfframpError where the disk is full."""
    if path is None:
        try:
            return DataText(sys.stdout.fileno(), "standard output")
        except (AttributeError, OSError, ValueError):
            raise InputError("standard output is closed; redirect it, or name a file with --out") from None
    try:
        return DataText(path, f"--out {path}")
    except OSError as error:
        raise InputError(f"--out {path}: {error.strerror}; name a file in a folder you may write to") from error
