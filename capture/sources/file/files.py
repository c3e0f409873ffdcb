"""Sources over recorded packets: one or several pcap or pcapng inputs, packed or not, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.capture.block import Interface, PacketBlock
from offramp.capture.sources.file.byte_stream import CHUNK, ByteStream, open_file
from offramp.capture.sources.file.formats import HEADER_BYTES, CaptureFormat, ScanEnd, recognise
from offramp.capture.sources.source import Fault, PacketSource, Progress
from offramp.errors import InputError

BLOCK_PACKETS = 8192
"""Packets in a block: batches of this size are the fastest."""

MIN_ROOM = CHUNK // 4


def open_captures(paths: Sequence[str], *, block_packets: int = BLOCK_PACKETS) -> PacketSource:
    """Return a source over the captures at `paths` in this order; `-` is standard input.

    Raise InputError at once for a path that is missing, a directory or unreadable.
    """
    if not paths:
        raise InputError("no capture named; give at least one file, or - for standard input")
    for path in paths:
        if path != "-":
            open_file(Path(path)).close()
    return FileSource(tuple(paths), block_packets)


class FileSource:
    """Packets of several inputs, one after the other: frame numbers run on, interfaces share one table."""

    def __init__(self, paths: tuple[str, ...], block_packets: int = BLOCK_PACKETS) -> None:
        self.name = ", ".join(paths)
        sizes = [Path(path).stat().st_size if path != "-" and Path(path).is_file() else 0 for path in paths]
        self.progress = Progress(total=sum(sizes) if all(sizes) else 0)
        self.faults: list[Fault] = []
        self._paths = paths
        self._rows = block_packets
        self._interfaces: list[Interface] = []
        self._told: tuple[Interface, ...] = ()
        self._packets = 0
        self._closed = False

    def read(self) -> Iterator[PacketBlock]:
        """Yield the packets of all inputs in order; damage ends one input, and the next is read."""
        for path in self._paths:
            stream = ByteStream(path, self.progress)
            try:
                stream.open()
                yield from self._read_one(stream)
            finally:
                stream.close()

    def close(self) -> None:
        """End `read` after the block at hand."""
        self._closed = True

    def _read_one(self, stream: ByteStream) -> Iterator[PacketBlock]:
        chunks = _Chunks(stream)
        form: CaptureFormat | None = None
        while form is None:
            chunks.more()
            if stream.broken and chunks.end - chunks.start < HEADER_BYTES:
                raise InputError(f"{stream.name}: {stream.broken}")
            form = recognise(chunks.data, chunks.start, chunks.end, chunks.ended, stream.name, self._interfaces)
        chunks.start += form.header
        while not self._closed:
            block, reading = self._scan(form, chunks)
            if len(block):
                yield block
            if reading is ScanEnd.ROWS:
                continue
            if reading is ScanEnd.ABSURD:
                self._fault(stream.name, chunks.position, form.complaint)
                return
            if chunks.ended:
                if stream.broken:
                    self._fault(stream.name, chunks.position, stream.broken)
                elif chunks.start < chunks.end:
                    self._fault(stream.name, chunks.position, "the capture ends in the middle of a packet")
                return
            if not chunks.more() and chunks.overlong:
                self._fault(stream.name, chunks.position, "a record is longer than any capture has")
                return

    def _scan(self, form: CaptureFormat, chunks: _Chunks) -> tuple[PacketBlock, ScanEnd]:
        n = self._rows
        offset, time = np.empty(n, np.int64), np.empty(n, np.int64)
        caplen, length = np.empty(n, np.int32), np.empty(n, np.int32)
        interface = np.empty(n, np.int32)
        rows, at, reading = form.scan(
            chunks.data, chunks.start, chunks.end, self._interfaces, offset, caplen, length, time, interface
        )
        chunks.start = at
        first, last = (int(offset[0]), int(offset[rows - 1] + caplen[rows - 1])) if rows else (0, 0)
        if len(self._told) != len(self._interfaces):  # else the same object: what was derived from it stays
            self._told = tuple(self._interfaces)
        block = PacketBlock(
            chunks.data[first:last], offset[:rows] - first, caplen[:rows], length[:rows], time[:rows], interface[:rows],
            self._told, self._packets + 1,
        )  # fmt: skip
        self._packets += rows
        return block, reading

    def _fault(self, name: str, position: int, reason: str) -> None:
        self.faults.append(Fault(name, self._packets + 1, position, reason))


class _Chunks:
    """A window over the bytes of a stream: data[start:end] is read and not yet scanned."""

    def __init__(self, stream: ByteStream) -> None:
        self.data: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.start = 0
        self.end = 0
        self.ended = False
        self._stream = stream
        self._base = 0

    @property
    def position(self) -> int:
        """Offset of `start` in the unpacked input."""
        return self._base + self.start

    @property
    def overlong(self) -> bool:
        """Whether one record has outgrown every buffer a capture needs."""
        return self.end - self.start > 8 * CHUNK

    def more(self) -> bool:
        """Read on behind what is left; return whether any came.

        Blocks keep the buffer, so what is in it stays. Another one begins where there is little room, not with each
        read: what is left of a long record is copied as often as its length doubles.
        """
        if len(self.data) - self.end < MIN_ROOM:
            left = self.end - self.start
            data = np.empty(max(CHUNK, 2 * left), np.uint8)
            data[:left] = self.data[self.start : self.end]
            self._base += self.start
            self.data, self.start, self.end = data, 0, left
        count = self._stream.fill(self.data, self.end)
        self.end += count
        self.ended = count == 0
        return count > 0
