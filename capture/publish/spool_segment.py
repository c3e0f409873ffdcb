"""A segment of the spool: a file of checksummed records, each written whole; damaged ones are skipped when read."""

from __future__ import annotations

import os
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from offramp.capture.publish.outgoing import BEGINNING, RECORD, Outgoing, from_record

MAX_ABOUT = 1 << 20
"""Bytes of a description at most; one takes a few hundred."""
SEARCHED = 1 << 20
"""Bytes that are searched at once for the next record."""
CHECKED = 1 << 27
"""Bytes that are read at most to find out which of the places that look like a record's beginning is one."""


class Damaged(NamedTuple):
    """A place of a segment that holds no message, and how many bytes of it were skipped."""

    bytes: int


class SegmentReader:
    """Reads a segment's messages in order. Its methods raise OSError where the disk does."""

    def __init__(self, path: Path, number: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._number = number
        self._at = 0

    def read(self, end: int) -> Outgoing | Damaged | None:
        """Return the next message of the first `end` bytes, or what is damaged before it; None behind the last."""
        if self._at >= end:
            return None
        begin, size = self._at, self._size(self._at, end)
        message = self._message(begin, size) if size else None
        if message is not None:
            self._at += size
            return message
        self._at = self._next(begin, size, end)
        return Damaged(self._at - begin)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _size(self, at: int, end: int) -> int:
        """Return the bytes of the record that seems to begin at a place, 0 where none does or it would not end."""
        head = os.pread(self._file.fileno(), RECORD.size + len(BEGINNING), at)
        if len(head) < RECORD.size + len(BEGINNING) or head[RECORD.size :] != BEGINNING:
            return 0
        about, value, _ = RECORD.unpack(head[: RECORD.size])
        size = RECORD.size + int(about) + int(value)
        return size if about <= MAX_ABOUT and at + size <= end else 0

    def _message(self, at: int, size: int) -> Outgoing | None:
        record = os.pread(self._file.fileno(), size, at)
        if len(record) < size or not _whole(record):
            return None
        about = RECORD.unpack_from(record)[0]
        return from_record(record[RECORD.size : RECORD.size + about], record[RECORD.size + about :], self._number)

    def _next(self, begin: int, size: int, end: int) -> int:
        """Return where the record behind a damaged one begins, `end` where there is none.

        That is right behind it by its size, if a record seems to begin there, else the next place with a whole record.
        """
        if size and (begin + size == end or self._size(begin + size, end)):
            return begin + size
        budget = CHECKED
        for at in range(begin + 1, end, SEARCHED):
            data = os.pread(self._file.fileno(), SEARCHED + RECORD.size + len(BEGINNING) - 1, at)
            place = data.find(BEGINNING, RECORD.size)
            while place >= 0 and budget > 0:
                found = at + place - RECORD.size
                size = self._size(found, end)
                if size and _whole(os.pread(self._file.fileno(), size, found)):
                    return found
                budget -= size
                place = data.find(BEGINNING, place + 1)
        return end


class SegmentWriter:
    """Writes records behind one another, each whole or not at all. Its methods raise OSError where the disk does."""

    def __init__(self, path: Path) -> None:
        self._file = FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w")
        self.size = 0

    def write(self, record: bytes) -> None:
        """Append a record, or leave the file as it was."""
        done, rest = 0, memoryview(record)
        try:
            while done < len(record):
                done += self._file.write(rest[done:])
        except OSError:
            with suppress(OSError):  # else the next reader skips what is left of it
                self._file.truncate(self.size)
            with suppress(OSError):
                self._file.seek(self.size)
            raise
        self.size += len(record)

    def sync(self) -> None:
        """Flush what was written, so that it survives a loss of power."""
        os.fdatasync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that they survive a loss of power."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _whole(record: bytes) -> bool:
    """Return whether a record's checksum holds."""
    return len(record) >= RECORD.size and crc32(record[RECORD.size :]) == RECORD.unpack_from(record)[2]
