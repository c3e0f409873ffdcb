"""The pace of a replay: as fast as it goes, or held to the capture's own clock."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from capture.block import PacketBlock, some_rows
from offramp_errors import ConfigError
from offramp_toml import shown

SLICE_NS = 20_000_000
"""A paced block is handed over in slices of this much capture time."""
SLOWEST, FASTEST = 0.001, 1_000_000.0
"""A second in a quarter of an hour, and eleven days in one."""


def parse_pace(text: str) -> float:
    """Return how many times faster than the capture's clock: 0 for `max`, 1 for `realtime`, N for `Nx`."""
    if text == "max":
        return 0.0
    if text == "realtime":
        return 1.0
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)x", text, re.ASCII)
    if match is None or not SLOWEST <= float(match[1]) <= FASTEST:
        raise ConfigError(
            f"--pace {shown(text)}: expected max, realtime or {SLOWEST:g}x to {FASTEST:,.0f}x, such as 10x"
        )
    return float(match[1])


def paced(blocks: Iterator[PacketBlock], factor: float) -> Iterator[PacketBlock]:
    """Yield `blocks`, held back so that capture time passes `factor` times as fast as the clock; 0: not at all."""
    if factor == 0:
        yield from blocks
        return
    begin_ns: int | None = None
    begin = time.monotonic()
    for block in blocks:
        if not len(block):
            continue
        if begin_ns is None:
            begin_ns = int(block.time_ns[0])
        for part in _slices(block):
            due = (int(part.time_ns[-1]) - begin_ns) / 1e9 / factor
            time.sleep(max(0.0, due - (time.monotonic() - begin)))
            yield part


def _slices(block: PacketBlock) -> Iterator[PacketBlock]:
    """Cut a block where its time passes a multiple of SLICE_NS."""
    cuts = np.flatnonzero(np.diff(block.time_ns // SLICE_NS)) + 1
    for start, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(block)], strict=True):
        yield select(block, slice(start, end), block.first_number + start)


def select(block: PacketBlock, rows: slice | np.ndarray, first_number: int) -> PacketBlock:
    """Return the rows of a block, over the same bytes."""
    drops = block.kernel_drops if first_number == block.first_number else 0
    return replace(some_rows(block, rows), first_number=first_number, kernel_drops=drops)
