"""Checkpoints: a link's state as bytes and back, without pickle: JSON, and arrays in NumPy's own format."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import zstandard

from offramp_errors import ContractError

FORMAT = 1
MAX_UNPACKED = 64 << 20
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
    """Return the state of `encode_checkpoint`. Raise ContractError where it is damaged or of another format."""
    try:
        if not 0 <= zstandard.frame_content_size(value) <= MAX_UNPACKED:
            raise ContractError(f"damaged checkpoint: it unpacks to more than {MAX_UNPACKED} bytes, or does not say")
        data = io.BytesIO(zstandard.ZstdDecompressor().decompress(value))
        told = json.loads(data.read(int.from_bytes(data.read(8), "little")))
        if told["format"] != FORMAT:
            raise ContractError(f"checkpoint of format {told['format']!r}, this worker reads {FORMAT}")
        state: dict[str, Any] = _join(told["state"], data)
    except (zstandard.ZstdError, ValueError, KeyError, TypeError, EOFError) as error:
        raise ContractError(f"damaged checkpoint: {error}") from error
    return state


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


def _join(value: Any, data: io.BytesIO) -> Any:
    if value == ARRAY:
        return np.lib.format.read_array(data, allow_pickle=False)
    if isinstance(value, dict):
        return {key: _join(each, data) for key, each in value.items()}
    if isinstance(value, list):
        return [_join(each, data) for each in value]
    return value
