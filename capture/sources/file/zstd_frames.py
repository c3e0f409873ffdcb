"""Follow Zstandard frames (RFC 8878) while they are read, to know whether the data end with a whole frame.

The decompressor does not report that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

FRAME = b"\x28\xb5\x2f\xfd"
SKIPPABLE = b"\x2a\x4d\x18"
"""A frame that holds no data begins with a byte of 0x50 to 0x5f and these three; pzstd writes one first."""
DICTIONARY_BYTES = (0, 1, 2, 4)
CONTENT_BYTES = (0, 2, 4, 8)
RLE = 1


def begins_zstd(magic: bytes) -> bool:
    """Return whether four bytes begin Zstandard data."""
    return magic == FRAME or (magic[1:] == SKIPPABLE and magic[0] >> 4 == 5)


class FrameWatch:
    """Passes on the bytes of `source` and follows frames and blocks by their lengths."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._head = bytearray()
        self._wanted = 4
        self._then: Callable[[bytes], None] = self._magic
        self._skip = 0
        self._checksum = False
        self._lost = False

    @property
    def whole(self) -> bool:
        """Whether what was read so far ends with a whole frame."""
        return self._lost or (self._then == self._magic and not self._head and not self._skip)

    def read(self, size: int = -1) -> bytes:
        """Read as the source does."""
        data: bytes = self._source.read(size)
        at = 0
        while at < len(data) and not self._lost:
            step = min(self._skip or self._wanted - len(self._head), len(data) - at)
            if self._skip:
                self._skip -= step
            else:
                self._head += data[at : at + step]
            at += step
            if not self._skip and len(self._head) == self._wanted:
                head, self._head = bytes(self._head), bytearray()
                self._then(head)
        return data

    def _expect(self, wanted: int, then: Callable[[bytes], None], skip: int = 0) -> None:
        self._wanted, self._then, self._skip = wanted, then, skip

    def _magic(self, head: bytes) -> None:
        if head == FRAME:
            self._expect(1, self._descriptor)
        elif begins_zstd(head):
            self._expect(4, self._skippable)
        else:
            self._lost = True  # no frame: the decompressor says so

    def _skippable(self, head: bytes) -> None:
        self._expect(4, self._magic, int.from_bytes(head, "little"))

    def _descriptor(self, head: bytes) -> None:
        descriptor = head[0]
        single, content = descriptor >> 5 & 1, CONTENT_BYTES[descriptor >> 6]
        self._checksum = bool(descriptor >> 2 & 1)
        size = (0 if single else 1) + DICTIONARY_BYTES[descriptor & 3] + (content or single)
        self._expect(3, self._block, size)

    def _block(self, head: bytes) -> None:
        header = int.from_bytes(head, "little")
        size = 1 if header >> 1 & 3 == RLE else header >> 3
        if header & 1:
            self._expect(4, self._magic, size + (4 if self._checksum else 0))
        else:
            self._expect(3, self._block, size)
