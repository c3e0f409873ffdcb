"""The spool: messages on disk, in order, for a broker that stays away. Bounded; outlives the process.

Segments are files of records; one is removed when all of its messages are acknowledged. Records are not synced one by
one: what was spooled survives the end of the process, not of the machine's power.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from capture.outgoing import Outgoing, read_record
from offramp_errors import ConfigError, OfframpError

FIRST = 1_000_000_000
"""Number of the first segment: there is room below it for messages that are put before all others."""


class Spool:
    """Messages in `folder`, at most `limit` bytes. Not thread safe: its owner locks."""

    def __init__(self, folder: Path, limit: int, segment_bytes: int = 8 << 20) -> None:
        """Open the spool. Raise ConfigError where the folder cannot be used or another agent uses it."""
        self.folder, self.limit = folder, limit
        self.segment_bytes = max(1 << 16, min(segment_bytes, limit // 4))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise ConfigError(f"--spool {folder}: another agent uses it; give each its own folder") from error
        except OSError as error:
            raise ConfigError(f"--spool {folder}: {error.strerror}; name a folder that can be written") from error
        self._sizes = {int(path.stem): path.stat().st_size for path in sorted(folder.glob("*.spool"))}
        self._unread = sorted(self._sizes)
        self._open = dict.fromkeys(self._sizes, 0)
        self._whole: set[int] = set()
        self._tail: BinaryIO | None = None
        self._tail_number = max(self._sizes, default=FIRST - 1)
        self._reader: BinaryIO | None = None
        self.dropped = 0

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(self._sizes.values())

    @property
    def pending(self) -> bool:
        """Whether there is a message that `read` has not given yet."""
        return bool(self._unread)

    @property
    def empty(self) -> bool:
        """Whether nothing is left to send or to be acknowledged."""
        return not self._sizes

    def fits(self, message: Outgoing) -> bool:
        """Tell whether the message would leave the spool within its limit."""
        return self.size + message.size + 1024 <= self.limit

    def append(self, message: Outgoing) -> None:
        """Write a message behind all others. Raise OfframpError where the disk does not take it."""
        if self._tail is None or self._sizes[self._tail_number] >= self.segment_bytes:
            self._roll()
        assert self._tail is not None  # noqa: S101 - _roll opens it
        record = message.to_record()
        try:
            self._tail.write(record)
            self._tail.flush()
        except OSError as error:
            raise OfframpError(f"--spool {self.folder}: {error.strerror}") from error
        self._sizes[self._tail_number] += len(record)

    def prepend(self, messages: Iterable[Outgoing]) -> None:
        """Write messages before all others, in a segment of their own: what was under way when the agent ends."""
        records = [message.to_record() for message in messages]
        if records:
            path = self._path(min(self._sizes, default=FIRST) - 1)
            try:
                path.write_bytes(b"".join(records))
            except OSError as error:
                raise OfframpError(f"--spool {self.folder}: {error.strerror}") from error

    def read(self) -> Outgoing | None:
        """Return the next message in order, None where there is none now."""
        while self._unread:
            number = self._unread[0]
            if self._reader is None:
                self._reader = self._path(number).open("rb")
            message = read_record(self._reader, number)
            if message is not None:
                self._open[number] += 1
                return message
            if number == self._tail_number and self._tail is not None:
                self._close_tail()
            self._reader.close()
            self._reader = None
            self._unread.pop(0)
            self._whole.add(number)
            self._remove_if_done(number)
        return None

    def done(self, segment: int) -> None:
        """Count a message of a segment as acknowledged; the segment goes with its last one."""
        self._open[segment] -= 1
        self._remove_if_done(segment)

    def drop_oldest(self) -> list[Outgoing]:
        """Remove the oldest segment of which nothing was read; return its messages, none where there is none."""
        waiting = [number for number in self._unread[1 if self._reader else 0 :] if number != self._tail_number]
        if not waiting:
            return []
        number = waiting[0]
        with self._path(number).open("rb") as data:
            messages = list(iter(lambda: read_record(data, number), None))
        self._unread.remove(number)
        self._whole.add(number)
        self._remove_if_done(number)
        self.dropped += len(messages)
        return messages

    def close(self) -> None:
        """Let the folder go; what is in it stays."""
        self._close_tail()
        if self._reader is not None:
            self._reader.close()
        self._lock.close()

    def _roll(self) -> None:
        self._close_tail()
        self._tail_number += 1
        try:
            self._tail = self._path(self._tail_number).open("xb")
        except OSError as error:
            raise OfframpError(f"--spool {self.folder}: {error.strerror}") from error
        self._sizes[self._tail_number] = 0
        self._open[self._tail_number] = 0
        self._unread.append(self._tail_number)

    def _close_tail(self) -> None:
        if self._tail is not None:
            self._tail.close()
            self._tail = None

    def _remove_if_done(self, number: int) -> None:
        if number in self._whole and self._open[number] == 0:
            self._path(number).unlink(missing_ok=True)
            self._whole.discard(number)
            del self._sizes[number], self._open[number]

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012d}.spool"
