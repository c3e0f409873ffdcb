"""Checkpoints: a link's state as bytes and back, without pickle: JSON, and arrays in NumPy's own format."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import zstandard

from offramp.errors import ContractError

FORMAT = 1
MAX_UNPACKED = 8 << 20
"""Bytes: thirty times what the shipped model's checkpoints take, most of which are counters by series."""
MAX_PLAIN = 1 << 20
"""Bytes of the plain values of a state: those that grow are the names of agents and devices, bounded each."""
MAX_HEAD = 256
"""Bytes of an array's head as NumPy writes it, and more than enough: it is read as Python source."""
ARRAY = "\x00array"


def encode_checkpoint(state: Mapping[str, Any]) -> bytes:
    """Return a state (mappings, lists, plain values and NumPy arrays, keys are text) as compressed bytes."""
    arrays: list[Any] = []
    plain = json.dumps({"format": FORMAT, "state": _split(state, arrays)}).encode()
    out = io.BytesIO()
    out.write(len(plain).to_bytes(8, "little") + plain)
    for array in arrays:
        np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)
    return zstandard.ZstdCompressor(level=1).compress(out.getvalue())


def decode_checkpoint(value: bytes) -> dict[str, Any]:
    """Return the state of `encode_checkpoint`. Raise ContractError where it is damaged or of another format.

    Nothing is unpacked, and no array made, that is larger than what is there.
    """
    try:
        if not 0 <= zstandard.frame_content_size(value) <= MAX_UNPACKED:
            raise ContractError(f"damaged checkpoint: it unpacks to more than {MAX_UNPACKED} bytes, or does not say")
        data = memoryview(zstandard.ZstdDecompressor().decompress(value))
        size = int.from_bytes(data[:8], "little")
        if not 0 < size <= min(MAX_PLAIN, len(data) - 8):
            raise ContractError(f"damaged checkpoint: plain values of {size} bytes")
        manifest = json.loads(bytes(data[8 : 8 + size]), parse_constant=_no_number)
        if manifest["format"] != FORMAT:
            raise ContractError(f"checkpoint of format {str(manifest['format'])[:20]}, this worker reads {FORMAT}")
        arrays = _Arrays(data[8 + size :])
        state: dict[str, Any] = _join(manifest["state"], arrays)
    except ContractError:
        raise
    except Exception as error:  # json, zstandard and numpy raise of every kind, for bytes that were made to
        raise ContractError(f"damaged checkpoint: {type(error).__name__}: {str(error)[:200]}") from error
    return state


def _no_number(text: str) -> float:
    raise ContractError(f"damaged checkpoint: {text} where a number is")


def _split(value: Any, arrays: list[Any]) -> Any:
    """Return the value with a mark in the place of each array, and the arrays in order."""
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return ARRAY
    if isinstance(value, Mapping):
        return {key: _split(each, arrays) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_split(each, arrays) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def _join(value: Any, arrays: _Arrays) -> Any:
    if value == ARRAY:
        return arrays.next()
    if isinstance(value, dict):
        return {key: _join(each, arrays) for key, each in value.items()}
    if isinstance(value, list):
        return [_join(each, arrays) for each in value]
    return value


class _Arrays:
    """Reads arrays, one after the other, of bytes in NumPy's format; none may claim more bytes than are left."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def next(self) -> Any:
        """Return the next array. Raises ContractError where it is not of plain numbers, or is not all there."""
        head = io.BytesIO(self._data[:MAX_HEAD])
        if np.lib.format.read_magic(head) != (1, 0):
            raise ContractError("damaged checkpoint: arrays of another version")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(head, MAX_HEAD)
        count = math.prod(shape)
        end = head.tell() + count * dtype.itemsize
        if dtype.kind not in "biuf" or by_columns or min(shape, default=0) < 0 or end > len(self._data):
            raise ContractError(f"damaged checkpoint: an array of {str(dtype)[:20]} {str(shape)[:60]}")
        array = np.frombuffer(self._data[head.tell() : end], dtype).reshape(shape)
        self._data = self._data[end:]
        return array
