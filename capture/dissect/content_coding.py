"""Decompress HTTP bodies (gzip, deflate, br) as tshark does, once the batch that holds them is complete."""

from __future__ import annotations

import zlib

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from offramp.capture.dissect.application.http.body import CODING_SHIFT, FILE_DATA
from offramp.capture.dissect.application.http.head import BROTLI
from offramp.capture.dissect.packet.table import ABSENT, Table

MAX_BODY = (1 << 24) - 1
"""Bytes kept of one decoded body: what a cell can hold; longer ones are cut."""

_CODING_MASK = 3 << CODING_SHIFT
_SIZE_MASK = (1 << 24) - 1
_IN_TEXT = 1 << 62  # as table.put_text marks a cell; kernels cannot be called from here
_MIN_STEP, _MAX_STEP = 32_768, 10 << 20
_NEEDS_DICTIONARY = "Error 2 "
_GZIP = b"\x1f\x8b"
_EXTRA, _NAME, _COMMENT = 4, 8, 16


def decode_bodies(out: Table, rows: int, data: NDArray[np.uint8]) -> int:
    """Decode the coded bodies of a table's first `rows` rows in place; return how many were cut.

    As in tshark, a body that cannot be decoded is absent. Bounded by MAX_BODY and by the room in the table's text.
    """
    cells = out.values[FILE_DATA, :rows]
    used = int(out.cursor[0])
    extra_rows = out.extra_row[:used]
    extras = np.flatnonzero(out.extra_column[:used] == FILE_DATA)
    coded = np.flatnonzero(cells & _CODING_MASK)
    coded_extras = extras[(out.extra_value[extras] & _CODING_MASK) != 0]
    if len(coded) == 0 and len(coded_extras) == 0:
        return 0
    cut = 0
    for values, places in ((cells, coded), (out.extra_value, coded_extras)):
        for place in places.tolist():
            values[place], was_cut = _decoded(out, int(values[place]), data)
            cut += was_cut
    for place in extras.tolist():
        row = extra_rows[place]
        if cells[row] == ABSENT:
            cells[row], out.extra_value[place] = out.extra_value[place], ABSENT
    kept = np.flatnonzero(out.extra_value[:used] != ABSENT)
    for array in (out.extra_row, out.extra_column, out.extra_value):
        array[: len(kept)] = array[kept]
    out.cursor[0] = len(kept)
    return cut


def _decoded(out: Table, value: int, data: NDArray[np.uint8]) -> tuple[int, bool]:
    """Return the cell of a coded body's content, written to the table's text, and whether it was cut."""
    size = value & _SIZE_MASK
    offset = (value & ~_CODING_MASK & ~_IN_TEXT) >> 24
    source = out.text if value & _IN_TEXT else data
    body = source[offset : offset + size].tobytes()
    room = min(MAX_BODY, len(out.text) - int(out.cursor[1]))
    coding = value >> CODING_SHIFT & 3
    content = unbrotli(body, room + 1) if coding == BROTLI else inflate(body, room + 1)
    if content is None:
        return int(ABSENT), False
    start = int(out.cursor[1])
    kept = content[:room]
    out.text[start : start + len(kept)] = np.frombuffer(kept, np.uint8)
    out.cursor[1] = start + len(kept)
    return _IN_TEXT | start << 24 | len(kept), len(content) > room


def inflate(body: bytes, limit: int) -> bytes | None:
    """Return at most `limit` bytes decompressed from zlib, gzip or raw deflate data, or None where it is none of them.

    Truncated data gives what was read of it. Tried in tshark's order: zlib, then raw deflate behind a gzip header or
    from the start; an error after the first step of output keeps the steps before it.
    """
    if not body:
        return None
    content, bare_follows = _inflate_once(body, zlib.MAX_WBITS, limit)
    if content is not None or not bare_follows:
        return content
    if body.startswith(_GZIP):
        at = _gzip_header(body)
        if at < 0:
            return None
        body = body[at:]
        content, bare_follows = _inflate_once(body, zlib.MAX_WBITS, limit)
        if content is not None or not bare_follows:
            return content
    return _inflate_once(body, -zlib.MAX_WBITS, limit)[0]


def _inflate_once(body: bytes, window_bits: int, limit: int) -> tuple[bytes | None, bool]:
    """Inflate with one window setting; return the content, or None and whether another setting may be tried."""
    step = min(max(2 * len(body), _MIN_STEP), _MAX_STEP)
    inflater = zlib.decompressobj(window_bits)
    content = bytearray()
    pending, passes = body, 0
    try:
        while pending and not inflater.eof and len(content) < limit:
            content += inflater.decompress(pending, step)
            pending = inflater.unconsumed_tail
            passes += 1
    except zlib.error as error:
        if not passes:
            return None, not str(error).startswith(_NEEDS_DICTIONARY)
    if not content and not inflater.eof:
        return None, False
    return bytes(content[:limit]), False


def _gzip_header(body: bytes) -> int:
    """Return where a gzip header ends (RFC 1952 2.3), or -1 where there is none."""
    if len(body) < 10 or body[2] != 8:
        return -1
    at = 10
    if body[3] & _EXTRA:
        at += 2 + int.from_bytes(body[at : at + 2], "little")
    for flag in (_NAME, _COMMENT):
        if body[3] & flag:
            end = body.find(b"\0", at)
            at = (end if end >= 0 else len(body)) + 1
    return at if at <= len(body) else -1


def unbrotli(body: bytes, limit: int) -> bytes | None:
    """Return at most `limit` bytes decompressed from brotli data (RFC 7932); None where it is not, or is cut short."""
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), "brotli") as stream:
            return bytes(stream.read(limit))
    except (OSError, pa.ArrowException):
        return None
