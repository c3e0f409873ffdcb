"""The file of a timeline: Parquet, written by row groups as rows become known, and whole at any end of the run.

Parquet is read from its end, so it is written under another name beside it, and gets its own once it is whole. The rows
of each link are a part of their own: of several links the order of their rows would else hang on how packets came in
batches. One link's part is the file itself; those of several are put together at the end.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from offramp.errors import InputError
from offramp.stream.pipeline.timeline import LinkTimeline
from offramp.stream.pipeline.timeline_table import TimelineRows

SETTLE_BINS = 1_024
"""Bins that wait before it is asked which are known: ten seconds of a link, a megabyte where they come one by one."""

GROUP_ROWS = 16_384
"""Rows of a row group, 164 s of a link: 12 ms to write; a quarter of it takes twice the space, twice of it a little
less."""

FOOTER_BYTES, GROUP_FOOTER_BYTES = 65_536, 8_192
"""Room that is kept for the file's end, and for what it tells of each row group: 25 columns of about 150 bytes."""

NO_RESERVE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV, errno.ENOSYS)
"""What a file system answers that cannot keep room."""


class PartFile:
    """A Parquet file that can be closed whole at any time: a row group is written once its room on the disk is had."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """Make the file. Raises OSError where that cannot be."""
        self._groups, self._broken = 0, False
        path.unlink(missing_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            self._sink = pa.OSFile(str(path), "wb")
        except OSError:
            os.close(self._file)
            raise
        self._writer = pq.ParquetWriter(
            self._sink, schema, compression="zstd", use_dictionary=["kind", "link", "gap"],
            column_encoding={"time": "DELTA_BINARY_PACKED"},
            write_statistics=[name for name in schema.names if name not in ("command", "mark")],
        )  # fmt: skip

    def write(self, group: pa.Table) -> None:
        """Write a row group. Raises OSError where there is no room for it: what was written before stays whole."""
        self._groups += 1
        self._reserve(2 * group.nbytes + FOOTER_BYTES + self._groups * GROUP_FOOTER_BYTES)  # encoded it is smaller
        try:
            self._writer.write_table(group, row_group_size=GROUP_ROWS)
        except OSError:  # an interrupt breaks nothing: it is heeded once this has returned
            self._broken = True
            raise

    def close(self) -> None:
        """Write the end, and give back the room that was not needed. Raises OSError where the file is not whole."""
        try:
            if self._broken:
                with suppress(OSError, pa.ArrowException):
                    self._writer.close()
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self._writer.close()
            size = self._sink.tell()
            os.ftruncate(self._file, size)
        finally:
            self._sink.close()
            os.close(self._file)

    def _reserve(self, size: int) -> None:
        if not hasattr(os, "posix_fallocate"):
            return
        try:
            os.posix_fallocate(self._file, self._sink.tell(), size)
        except OSError as error:
            if error.errno not in NO_RESERVE:
                raise


class LinkPart:
    """One link's rows on their way to their file. written, unwritten: rows; error: why no more are written."""

    def __init__(self, path: Path, schema: pa.Schema, horizon_ms: int) -> None:
        self.path, self._schema = path, schema
        self.written = self.unwritten = 0
        self.error: OSError | None = None
        self._rows = TimelineRows(schema, horizon_ms)
        self._known: list[pa.RecordBatch] = []
        self._due = SETTLE_BINS
        self._file: PartFile | None = None
        try:
            self._file = PartFile(path, schema)
        except OSError as error:
            self.error = error

    def update(self, line: LinkTimeline) -> None:
        """Take closed bins, and write what makes a row group."""
        self._rows.update(line)
        if self._rows.waiting >= self._due:
            self._write(self._rows.settled(), GROUP_ROWS)
            self._due = 2 * self._rows.waiting + SETTLE_BINS  # more where a horizon is of many bins

    def close(self) -> bool:
        """Write the rows that are left, and the file's end; return whether there is a file with all that is written."""
        self._write(self._rows.close(), 1)
        if self._file is None:
            return False
        try:
            self._file.close()
        except OSError as error:
            self.error = self.error or error
            self.written, self.unwritten = 0, self.written + self.unwritten
            self.path.unlink(missing_ok=True)
            return False
        return True

    def _write(self, known: list[pa.RecordBatch], least: int) -> None:
        """Write row groups while there are `least` rows for one."""
        self._known += known
        if sum(batch.num_rows for batch in self._known) < least:
            return
        table = pa.Table.from_batches(self._known, self._schema)
        while table.num_rows >= least:
            group, table = table.slice(0, GROUP_ROWS).combine_chunks(), table.slice(GROUP_ROWS).combine_chunks()
            self._known = table.to_batches()  # before it is written: an interrupt writes no row twice
            self._write_group(group)

    def _write_group(self, group: pa.Table) -> None:
        if self.error is None and self._file is not None:
            try:
                self._file.write(group)
                self.written += group.num_rows
                return
            except OSError as error:
                self.error = error
        self.unwritten += group.num_rows


class TimelineFile:
    """Where a timeline is written: a sink of pipelines. What fails is told once and counted, and ends nothing."""

    def __init__(self, path: Path, schema: pa.Schema, horizon_ms: int, report: Callable[[str], None]) -> None:
        """Make the first part. Raises InputError where that cannot be; report: told why no more is written."""
        self.path, self._schema, self._horizon_ms, self._report = path, schema, horizon_ms, report
        self.failure = ""
        """Why not all rows are in the file, in words; empty where they are."""
        self._parts: dict[str, LinkPart] = {}
        self._closed = False
        self._made = [self._part(1)]
        if (error := self._made[0].error) is not None:
            raise InputError(f"--timeline {path}: {why(error)}; name a file in a folder you may write to")

    def update(self, line: LinkTimeline) -> None:
        """Take closed bins of a link, and the commands that they caused."""
        if line.link not in self._parts:
            if self._parts:
                self._made.append(self._part(len(self._made) + 1))
            self._parts[line.link] = self._made[-1]
        part = self._parts[line.link]
        part.update(line)
        if part.error is not None and not self.failure:
            self.failure = why(part.error)
            self._report(f"--timeline {self.path}: {self.failure}; no more is written to it, the run goes on")

    def close(self) -> None:
        """Write what is left, and give the file its name; again it does nothing."""
        if self._closed:
            return
        self._closed = True
        whole = [part.close() for part in self._made]
        error = next((part.error for part in self._made if part.error is not None), None)
        there = False
        if all(whole):
            try:
                self._joined().replace(self.path)
                there = True
            except OSError as found:
                error = error or found
        if error is None:
            return
        left = [str(part.path) for part, is_whole in zip(self._made, whole, strict=True) if is_whole]
        rows = f"{self.written:,} rows are in it, {self.unwritten:,} are not"
        kept = rows if there else f"what could be written is in {', '.join(left)}" if left else "there is no file"
        self.failure = f"--timeline {self.path}: {why(error)}; {kept}"

    @property
    def written(self) -> int:
        """Rows that were written."""
        return sum(part.written for part in self._made)

    @property
    def unwritten(self) -> int:
        """Rows that could not be written."""
        return sum(part.unwritten for part in self._made)

    def lines(self) -> list[str]:
        """Return the account of the rows as lines of the ledger."""
        lines = [f"  timeline rows       {self.written:>12,}"]
        return lines + ([f"    not written: write_failed {self.unwritten:>8,}"] if self.unwritten else [])

    def _part(self, number: int) -> LinkPart:
        return LinkPart(self.path.with_name(f"{self.path.name}.part-{number}"), self._schema, self._horizon_ms)

    def _joined(self) -> Path:
        """Return a file of all links' rows, in the order of their names; the parts are gone then."""
        if len(self._made) == 1:
            return self._made[0].path
        path = self.path.with_name(f"{self.path.name}.part")
        file = PartFile(path, self._schema)
        try:
            for link in sorted(self._parts):
                with pq.ParquetFile(self._parts[link].path) as part:
                    for group in range(part.num_row_groups):
                        file.write(part.read_row_group(group))
            file.close()
        except OSError:
            path.unlink(missing_ok=True)
            raise
        for each in self._parts.values():
            each.path.unlink()
        return path


def why(error: OSError) -> str:
    """Return an error's cause as the system has it; Arrow adds words of its own."""
    return os.strerror(error.errno) if error.errno else str(error)
