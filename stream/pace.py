"""The pace of a replay: as fast as it goes, or held to the capture's own clock."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from capture.block import END_OF_TIME_NS, PacketBlock, some_rows
from offramp_errors import ConfigError
from offramp_toml import shown
from stream.event_time import FAR_NS

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
    last_ns: int | None = None
    passed_ns = 0
    begin = time.monotonic()
    for block in blocks:
        if not len(block):
            continue
        believed = replace(block, time_ns=believable(block.time_ns, last_ns))
        for start, end in _slices(believed):
            now_ns = int(believed.time_ns[end - 1])
            passed_ns += max(0, now_ns - (now_ns if last_ns is None else last_ns))
            last_ns = now_ns
            time.sleep(max(0.0, passed_ns / 1e9 / factor - (time.monotonic() - begin)))
            yield select(block, slice(start, end), block.first_number + start)


def believable(time_ns: NDArray[np.int64], before_ns: int | None) -> NDArray[np.int64]:
    """Return times to wait for: never later than a packet that follows, so that one wrong time holds up nothing.

    A packet without a time has that of the one before; the last one's, which nothing follows, is believed if it is not
    far from the others'.
    """
    out = time_ns.copy()
    if len(out) > 1 and out[-1] - FAR_NS > out[-2] >= 0:
        out[-1] = out[-2]
    timed = (out >= 0) & (out < END_OF_TIME_NS)
    if not timed.all():
        usual = before_ns if before_ns is not None else (int(out[timed][0]) if timed.any() else 0)
        place = np.maximum.accumulate(np.where(timed, np.arange(len(out)), -1))
        out = np.where(place >= 0, out[place], usual)
    return np.minimum.accumulate(out[::-1])[::-1]


def _slices(block: PacketBlock) -> Iterator[tuple[int, int]]:
    """Yield where to cut a block: where its time passes a multiple of SLICE_NS."""
    cuts = np.flatnonzero(np.diff(block.time_ns // SLICE_NS)) + 1
    return zip([0, *cuts.tolist()], [*cuts.tolist(), len(block)], strict=True)


def select(block: PacketBlock, rows: slice | np.ndarray, first_number: int) -> PacketBlock:
    """Return the rows of a block, over the same bytes."""
    drops = block.kernel_drops if first_number == block.first_number else 0
    return replace(some_rows(block, rows), first_number=first_number, kernel_drops=drops)
