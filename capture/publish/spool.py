"""The spool: a bounded queue of messages on disk, in order, for while the broker is away. It outlives the process.

Segments are files of records; one is removed when all of its messages are acknowledged. Spooled messages survive the
end of the process, and all but the last second of them a loss of power. Damaged places are skipped, counted and
reported, and their segment is kept aside; what the disk does not take is refused, and reported once.
"""

from __future__ import annotations

import fcntl
import re
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from offramp.capture.publish.outgoing import Outgoing
from offramp.capture.publish.spool_segment import Damaged, SegmentReader, SegmentWriter, sync_folder
from offramp.errors import ConfigError, OfframpError

FIRST = 1 << 30
"""Number of the first segment: there is room below it for messages that are put before all others."""
STEP = 1 << 10
"""Between two segments' numbers: room for messages that were in flight between them when the agent ended."""
NAME = re.compile(r"(-?\d+)\.spool")
SYNC_S, SYNC_SHARE = 1.0, 0.1
"""The disk is asked to keep what it has once a second, and for no more than a tenth of the time where it is slow."""
MAX_ASIDE = 16
"""Newest damaged segments to keep: so a machine whose power fails each day does not fill its disk with them."""


class NotSpooledError(OfframpError):
    """The disk does not take a message now: it is full, or broken."""


class Spool:
    """Messages in `folder`, at most `limit` bytes; report: called with lines for the operator.

    Not thread safe: its owner locks. damaged: places skipped so far.
    """

    def __init__(
        self, folder: Path, limit: int, segment_bytes: int = 8 << 20, report: Callable[[str], None] = lambda _: None
    ) -> None:
        """Open the spool. Raise ConfigError where the folder cannot be used or another agent uses it."""
        self.folder, self.limit, self._tell = folder, limit, report
        self.segment_bytes = max(1 << 16, min(segment_bytes, limit // 4))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sizes, self._taken = self._found()
        except BlockingIOError as error:
            self._lock.close()
            raise ConfigError(f"--spool {folder}: another agent uses it; give each its own folder") from error
        except OSError as error:
            raise ConfigError(f"--spool {folder}: {error.strerror}; name a folder that can be written") from error
        self._unread = sorted(self._sizes)
        self._open = dict.fromkeys(self._sizes, 0)
        self._whole: set[int] = set()
        self._faults: dict[int, list[int]] = {}
        self._tail: SegmentWriter | None = None
        self._tail_number = max([FIRST - STEP, *self._sizes, *self._taken])
        self._reader: SegmentReader | None = None
        self._refusing = False
        self._next_sync = 0.0
        self.dropped = self.damaged = 0

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(self._sizes.values())

    @property
    def pending(self) -> bool:
        """Whether there is a message that `read` has not returned yet."""
        return bool(self._unread)

    @property
    def empty(self) -> bool:
        """Whether nothing is left to send or to be acknowledged."""
        return not self._sizes

    def fits(self, message: Outgoing) -> bool:
        """Return whether the message would leave the spool within its limit."""
        return self.size + message.size + 1024 <= self.limit

    def append(self, message: Outgoing) -> None:
        """Write a message behind all others. Raise NotSpooledError where the disk does not take it, reported once."""
        record = message.to_record()
        try:
            if self._tail is None or self._sizes[self._tail_number] >= self.segment_bytes:
                self._roll()
            assert self._tail is not None  # noqa: S101 - _roll opens it
            self._tail.write(record)
        except OSError as error:
            raise self._refused(error) from error
        self._sizes[self._tail_number] += len(record)
        if self._refusing:
            self._refusing = False
            self._tell(f"--spool {self.folder} takes messages again")
        if time.monotonic() >= self._next_sync:
            self._sync()

    def insert(self, messages: Iterable[Outgoing], after: int | None = None) -> int:
        """Write messages before all others, or behind a segment: what was in flight when the agent ends.

        Return how many the disk took; a refusal is reported.
        """
        records = [message.to_record() for message in messages]
        if not records:
            return 0
        number, done = self._number_behind(after), 0
        try:
            writer = SegmentWriter(self._path(number))
            try:
                for record in records:
                    writer.write(record)
                    done += 1
                writer.sync()
            finally:
                writer.close()
                self._sizes[number], self._open[number] = writer.size, 0
                self._unread = sorted([*self._unread, number])
            sync_folder(self.folder)
        except OSError as error:
            self._refused(error)
        return done

    def read(self) -> Outgoing | None:
        """Return the next message in order, None where there is none now."""
        while self._unread:
            number = self._unread[0]
            try:
                if self._reader is None:
                    self._reader = SegmentReader(self._path(number), number)
                found = self._reader.read(self._sizes[number])
            except OSError as error:
                self._give_up(number, error)
                continue
            if isinstance(found, Outgoing):
                self._open[number] += 1
                return found
            if found is not None:
                self._note(number, found)
                continue
            if number == self._tail_number and self._tail is not None:
                self._close_tail()
            self._close_reader()
            self._unread.pop(0)
            self._whole.add(number)
            self._remove_if_done(number)
        return None

    def done(self, segment: int) -> None:
        """Count a message of a segment as acknowledged; remove the segment with its last one."""
        if segment in self._open:
            self._open[segment] -= 1
            self._remove_if_done(segment)

    def drop_oldest(self) -> list[Outgoing]:
        """Remove the oldest segment of which nothing was read; return its messages, none where there is none."""
        waiting = [number for number in self._unread[1 if self._reader else 0 :] if number != self._tail_number]
        if not waiting:
            return []
        number, messages = waiting[0], list[Outgoing]()
        try:
            reader = SegmentReader(self._path(number), number)
            try:
                while (found := reader.read(self._sizes[number])) is not None:
                    if isinstance(found, Damaged):
                        self._note(number, found)
                    else:
                        messages.append(found)
            finally:
                reader.close()
        except OSError as error:
            self._note(number, Damaged(self._sizes[number]), f" ({error.strerror})")
        self._unread.remove(number)
        self._whole.add(number)
        self._remove_if_done(number)
        self.dropped += len(messages)
        return messages

    def close(self) -> None:
        """Release the folder; its files stay."""
        self._close_tail()
        self._close_reader()
        self._lock.close()

    def _found(self) -> tuple[dict[int, int], set[int]]:
        """Return the sizes of the folder's segments by number, and the numbers whose file name something else has."""
        sizes, taken = dict[int, int](), set[int]()
        for path in sorted(self.folder.iterdir()):
            if path.suffix != ".spool":
                continue
            name, about = NAME.fullmatch(path.name), path.lstat()
            number = int(name[1]) if name else 0
            if name and path == self._path(number) and stat.S_ISREG(about.st_mode):
                sizes[number] = about.st_size
                continue
            if name:
                taken.add(number)
            self._tell(f"--spool {self.folder}: {path.name} is no file of a spool and is left alone")
        return sizes, taken

    def _roll(self) -> None:
        self._close_tail()
        number = self._tail_number + STEP
        self._tail = SegmentWriter(self._path(number))
        self._tail_number = number
        self._sizes[number] = self._open[number] = 0
        self._unread.append(number)
        with suppress(OSError):  # the file is there, though its name may not survive a loss of power
            sync_folder(self.folder)

    def _number_behind(self, after: int | None) -> int:
        """Return a free number behind a segment's, or before all."""
        numbers = sorted({*self._sizes, *self._taken, self._tail_number})
        if after is None:
            return numbers[0] - STEP
        higher = [number for number in numbers if number > after]
        number = (after + higher[0]) // 2 if higher else after + STEP
        return number if number not in numbers else numbers[-1] + STEP

    def _sync(self) -> None:
        """Flush what was written to the disk, and set when to do so next."""
        begin = time.monotonic()
        if self._tail is not None:
            try:
                self._tail.sync()
            except OSError as error:
                self._tell(f"--spool {self.folder}: {error.strerror}: a loss of power may lose what is in it")
        end = time.monotonic()
        self._next_sync = end + max(SYNC_S, (end - begin) / SYNC_SHARE)

    def _close_tail(self) -> None:
        if self._tail is not None:
            self._sync()
            with suppress(OSError):  # each write and the sync have reported what could go wrong
                self._tail.close()
            self._tail = None

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _refused(self, error: OSError) -> NotSpooledError:
        """Return the error for a disk that takes nothing; report it if the disk took something before."""
        text = f"--spool {self.folder}: {error.strerror}"
        if not self._refusing:
            self._refusing = True
            self._tell(f"{text}; messages wait in memory until it takes them again")
        return NotSpooledError(text)

    def _note(self, number: int, found: Damaged, why: str = "") -> None:
        """Count a damaged place; report the first of each segment at once."""
        self.damaged += 1
        faults = self._faults.setdefault(number, [])
        faults.append(found.bytes)
        if len(faults) == 1:
            where = self._path(number)
            self._tell(f"{where}: {found.bytes:,} bytes are no message{why}; they are passed over, the file is kept")

    def _give_up(self, number: int, error: OSError) -> None:
        """Skip the rest of a segment that cannot be read; messages read from it count as usual."""
        self._note(number, Damaged(self._sizes[number]), f" ({error.strerror})")
        if number == self._tail_number:
            self._close_tail()
        self._close_reader()
        self._unread.pop(0)
        self._whole.add(number)
        self._remove_if_done(number)

    def _remove_if_done(self, number: int) -> None:
        if number not in self._whole or self._open[number] > 0:
            return
        path, faults = self._path(number), self._faults.pop(number, [])
        try:
            if faults:
                path.replace(path.with_name(f"{path.stem}-{time.time_ns()}.damaged"))
                if len(faults) > 1:
                    self._tell(f"{path}: {len(faults)} damaged places of {sum(faults):,} bytes in all")
                for old in sorted(self.folder.glob("*.damaged"), key=lambda each: each.lstat().st_mtime)[:-MAX_ASIDE]:
                    old.unlink()
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            self._tell(f"{path}: {error.strerror}; it stays, and the next run sends it again, which workers pass over")
        self._whole.discard(number)
        del self._sizes[number], self._open[number]

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012d}.spool"
