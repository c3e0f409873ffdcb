"""Read what an Arrow IPC record batch declares, before anything is decompressed: rows, and bytes once unpacked.

Arrow's readers trust declared sizes, so that a kilobyte may ask for a gigabyte. Format: Arrow columnar format,
"Encapsulated message format" and Message.fbs; FlatBuffers tables and vtables.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np

from offramp.errors import ContractError

RECORD_BATCH = 3
"""MessageHeader.RecordBatch."""

PREFIX = 8
"""Bytes of the size before a compressed buffer."""


class Frame(NamedTuple):
    """Rows of a record batch, bytes of its buffers once unpacked, and how many buffers there are."""

    rows: int
    size: int
    buffers: int


class _Table:
    """A FlatBuffers table at `at`."""

    def __init__(self, data: memoryview, at: int) -> None:
        self.data, self.at = data, at
        self.vtable = at - struct.unpack_from("<i", data, at)[0]
        self.slots = struct.unpack_from("<H", data, self.vtable)[0] // 2 - 2

    def place(self, slot: int) -> int:
        """Return where a field's value is, 0 where it is absent."""
        if not 0 <= slot < self.slots:
            return 0
        offset = struct.unpack_from("<H", self.data, self.vtable + 4 + 2 * slot)[0]
        return self.at + offset if offset else 0

    def number(self, slot: int, form: str) -> int:
        """Return a scalar field, 0 where it is absent."""
        place = self.place(slot)
        return int(struct.unpack_from(form, self.data, place)[0]) if place else 0

    def follow(self, slot: int) -> int:
        """Return what an offset field points to, 0 where it is absent."""
        place = self.place(slot)
        return place + struct.unpack_from("<I", self.data, place)[0] if place else 0


def frame_of(metadata: Any, body: Any) -> Frame:
    """Return what a record batch message declares. Raise ContractError for anything else, or where it is inconsistent.

    metadata, body: buffers as `pyarrow.ipc.Message` gives them.
    """
    try:
        return _frame(memoryview(metadata), memoryview(body))
    except (struct.error, ValueError, IndexError) as error:
        raise ContractError(f"damaged Arrow message: {error}") from error


def _frame(data: memoryview, body: memoryview) -> Frame:
    message = _Table(data, struct.unpack_from("<I", data, 0)[0])
    if message.number(1, "<B") != RECORD_BATCH:
        raise ContractError("damaged Arrow message: not a record batch")
    batch = _Table(data, message.follow(2))
    vector = batch.follow(2)
    count = struct.unpack_from("<I", data, vector)[0] if vector else 0
    pairs = np.frombuffer(data, "<i8", 2 * count, vector + 4).reshape(-1, 2) if count else np.empty((0, 2), np.int64)
    offset, length = pairs[:, 0], pairs[:, 1]
    if count and (min(int(offset.min()), int(length.min())) < 0 or int(length.max()) > len(body)):
        raise ContractError("damaged Arrow message: a buffer outside of the body")
    if np.any(offset > len(body) - length):
        raise ContractError("damaged Arrow message: a buffer outside of the body")
    compressed = batch.follow(3) > 0
    sizes = _unpacked(body, offset, length) if compressed else [int(size) for size in length]
    return Frame(batch.number(0, "<q"), sum(sizes), count)


def _unpacked(body: memoryview, offset: Any, length: Any) -> list[int]:
    """Return the declared size of each compressed buffer: a prefix of eight bytes, -1 where it is not compressed."""
    kept = length > 0
    offset, length = offset[kept], length[kept]
    if not len(offset):
        return []
    if int(length.min()) < PREFIX:
        raise ContractError("damaged Arrow message: a compressed buffer without its size")
    prefix = np.frombuffer(body, np.uint8)[offset[:, None] + np.arange(PREFIX)]
    declared = np.ascontiguousarray(prefix).view("<i8")[:, 0]
    if int(declared.min()) < -1:
        raise ContractError(f"damaged Arrow message: a buffer of {int(declared.min())} bytes")
    sizes: list[int] = np.where(declared == -1, length - PREFIX, declared).tolist()
    return sizes
