"""The lines of a file that is read while it grows: it may not be there yet, be begun anew, or be another one by now.

Imports nothing heavy: it is opened before privileges are dropped, which is before numerical libraries are loaded.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from offramp.errors import InputError

MAX_LINE = 65_536
"""Bytes of a line that are kept; the rest of a longer one is passed over."""
CHUNK = 1 << 20
"""Bytes that are read at a time."""


class FollowedFile:
    """Gives the lines of a file as they are written, each once; half a line waits for its rest.

    trouble: why it cannot be read now; empty where it can, or is not there.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, if it is there. Raises InputError where it can never be read."""
        self.path, self.trouble = path, ""
        self._file = -1
        self._offset = self._number = 0
        self._half = b""
        self._open()
        if not self.is_open and not self.trouble and not path.parent.is_dir():
            self.trouble = f"there is no folder {path.parent}"
        if self.trouble:
            raise InputError(f"{path}: {self.trouble}")

    @property
    def is_open(self) -> bool:
        """Whether the file was there."""
        return self._file >= 0

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that are whole by now and were not yielded before, with their numbers, from 1.

        A file that was cut, or that another has taken the place of, is read from its beginning.
        """
        try:
            if not self.is_open:
                self._open()
            if self.is_open:
                yield from self._new()
            if self.is_open and self._is_another():
                yield from self.rest()
                self.close()
                self._open()
                yield from self._new()
        except OSError as error:
            self.trouble = f"cannot be read: {error.strerror or error}"

    def rest(self) -> Iterator[tuple[int, bytes]]:
        """Yield what follows the last line's end, if anything does, as a line."""
        half, self._half = self._half, b""
        if half:
            self._number += 1
            yield self._number, half

    def close(self) -> None:
        """Close the file."""
        if self.is_open:
            os.close(self._file)
        self._file = -1

    def _open(self) -> None:
        self._offset = self._number = 0
        self._half, self.trouble = b"", ""
        try:
            self._file = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                self.trouble = f"is a {'folder' if self.path.is_dir() else 'pipe or device'}; name a file"
                self.close()
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            self.trouble = f"cannot be read: {getattr(error, 'strerror', None) or error}"

    def _is_another(self) -> bool:
        """Return whether the name is that of another file by now; one that is away for a moment is waited for."""
        try:
            found, own = self.path.stat(), os.fstat(self._file)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino)

    def _new(self) -> Iterator[tuple[int, bytes]]:
        if not self.is_open:
            return
        size = os.fstat(self._file).st_size
        if size < self._offset:
            yield from self.rest()
            self._offset = self._number = 0
        while self._offset < size:
            chunk = os.pread(self._file, min(CHUNK, size - self._offset), self._offset)
            if not chunk:
                return
            self._offset += len(chunk)
            *whole, last = chunk.split(b"\n")
            for part in whole:
                line, self._half = self._half + part[:MAX_LINE], b""
                self._number += 1
                yield self._number, line[:MAX_LINE]
            self._half = (self._half + last)[:MAX_LINE]
