"""Write captures as pcapng files (draft-ietf-opsawg-pcapng): one, or a ring of files whose oldest are deleted."""

from __future__ import annotations

import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from offramp.capture.block import Interface, PacketBlock, some_rows
from offramp.errors import ConfigError, InputError
from offramp.kernels import kernel_entry

SECTION = struct.pack("=IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
ENHANCED = 6
FIXED = 32
"""Bytes of an enhanced packet block beside the packet."""

MAX_HEAD = 128
"""Bytes of the blocks before the packets, an interface; a Linux interface's name has at most 15 characters."""


@dataclass(frozen=True, slots=True)
class RingOfFiles:
    """Where to write: a file, or a folder for a ring of `files` files of at most `size_mb` megabytes each.

    A file with a size (size_mb > 0) becomes a ring too, beside it: NAME-<time>-<number>.pcapng.
    """

    path: Path
    files: int = 10
    size_mb: int = 0

    @property
    def is_ring(self) -> bool:
        """Whether several files are written."""
        return self.size_mb > 0 or self.path.is_dir()


class PcapngFiles:
    """Writes packet blocks of one source, each interface that has packets described once a file; times in nanoseconds.

    Built, it has opened its first file: raises InputError where that cannot be. `write` raises OSError where it fails;
    nothing of that block is left in the file then, so `packets` counts what is in the files.
    """

    def __init__(self, ring: RingOfFiles, interface: str) -> None:
        if ring.files < 1 or ring.size_mb < 0:
            raise ConfigError("--ring-files: give 1 or more, --ring-size: megabytes above 0")
        self.packets = 0
        self.files = 0
        self._ring = ring
        self._limit = (ring.size_mb or 100) * 1_000_000 if ring.is_ring else 1 << 62
        folder, stem = (ring.path, interface) if ring.path.is_dir() else (ring.path.parent, ring.path.stem)
        self._folder, self._stem = folder, stem
        self._begun = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._described: dict[int, int] = {}
        """The number, in the current file, of each of the source's interfaces that it describes."""
        self._size = 0
        load_kernel()
        try:
            self._file = self._open()
        except OSError as error:
            raise InputError(
                f"--write {ring.path}: {error.strerror}; name a file or folder that this user may write to without "
                "further rights, as those are dropped"
            ) from error

    def write(self, block: PacketBlock) -> None:
        """Append a block's packets, in a new file where the present one would grow too large."""
        words = np.empty((int(block.caplen.sum()) + (FIXED + 3) * len(block) + 3) >> 2, np.uint32)
        packed = words.view(np.uint8)
        if packed.nbytes > self._limit - MAX_HEAD * max(1, len(block.interfaces)) and len(block) > 1:
            half = len(block) // 2
            self.write(some_rows(block, slice(0, half)))
            self.write(some_rows(block, slice(half, None)))
            return
        there = np.unique(block.interface).tolist() or list(range(len(block.interfaces)))
        heads = self._heads(block, there)
        if self._size and self._size + packed.nbytes + len(heads) > self._limit:
            self._file.close()
            self._file, self._described = self._open(), {}
            heads = self._heads(block, there)
        numbers = self._numbers(there)
        number = np.array([numbers.get(at, 0) for at in range(len(block.interfaces))], np.int64)
        used = pack_enhanced(
            block.data, block.offset, block.caplen, block.length, block.time_ns, number[block.interface], packed, words
        )
        if heads:
            self._append(memoryview(heads))
            self._described = numbers
        self._append(packed[:used].data)
        self.packets += len(block)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _numbers(self, there: list[int]) -> dict[int, int]:
        """Return the numbers in the file of the interfaces described so far and of those in `there`."""
        new = [at for at in there if at not in self._described]
        return {**self._described, **{at: len(self._described) + more for more, at in enumerate(new)}}

    def _heads(self, block: PacketBlock, there: list[int]) -> bytes:
        """Return what must stand before a block's packets: a section where there is none, interfaces not described."""
        new = [at for at in there if at not in self._described]
        return (b"" if self._size else SECTION) + b"".join(_description(block.interfaces[at]) for at in new)

    def _append(self, data: memoryview) -> None:
        """Write all of `data`, or none of it."""
        done = 0
        try:
            while done < len(data):
                done += self._file.write(data[done:])
        except OSError:
            with suppress(OSError):  # a pipe or a device cannot be cut back
                self._file.truncate(self._size)
                self._file.seek(self._size)
            raise
        self._size += len(data)

    def _open(self) -> FileIO:
        """Open the next file, and delete the oldest of the ring."""
        self.files += 1
        self._size = 0
        if not self._ring.is_ring:
            return FileIO(self._ring.path, "w")
        opened = FileIO(self._folder / f"{self._stem}-{self._begun}-{self.files:06}.pcapng", "w")
        mine = f"{escape(self._stem)}-????????T??????Z-??????.pcapng"
        for old in sorted(self._folder.glob(mine))[: -self._ring.files]:
            old.unlink(missing_ok=True)
        return opened


def _description(interface: Interface) -> bytes:
    """Return an interface's description: its name and if_tsresol 9, nanoseconds."""
    name = interface.name.encode()
    options = struct.pack("=HH", 2, len(name)) + name + bytes(-len(name) % 4)
    options += struct.pack("=HHB3xHH", 9, 1, 9, 0, 0)
    size = 20 + len(options)
    body = struct.pack("=IIHHI", 1, size, interface.linktype, 0, interface.snaplen)
    return body + options + struct.pack("=I", size)


def load_kernel() -> None:
    """Load the kernel that packs packets, so that a link does not wait for a compiler."""
    nothing, none = np.empty(0, np.int64), np.empty(0, np.int32)
    bytes_, words = np.empty(0, np.uint8), np.empty(0, np.uint32)
    pack_enhanced(bytes_, nothing, none, none, nothing, nothing, bytes_, words)


@kernel_entry
def pack_enhanced(
    data: Any, offset: Any, caplen: Any, length: Any, time_ns: Any, interface: Any, out: Any, words: Any
) -> int:  # fmt: skip
    """Write packets as enhanced packet blocks to `out` (uint8; words: the same as uint32); return the bytes used.

    interface: int64, the number of each packet's interface in the file.
    """
    at: Any = 0
    for row in range(len(offset)):
        kept = np.int64(caplen[row])
        size = FIXED + ((kept + 3) & ~3)
        word = at >> 2
        words[word], words[word + 1], words[word + 2] = ENHANCED, size, interface[row]
        words[word + 3], words[word + 4] = time_ns[row] >> 32, time_ns[row] & 0xFFFFFFFF
        words[word + 5], words[word + 6] = kept, length[row]
        body, start = at + 28, offset[row]
        for byte in range(kept):
            out[body + byte] = data[start + byte]
        for byte in range(kept, size - FIXED):
            out[body + byte] = 0
        words[(at + size - 4) >> 2] = size
        at += size
    return int(at)
