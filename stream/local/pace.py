"""Pace a replay: as fast as it goes, or by the capture's own clock."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from offramp.capture.block import END_OF_TIME_NS, PacketBlock, some_rows
from offramp.errors import ConfigError
from offramp.stream.bins.event_time import FAR_NS
from offramp.toml import shown

SLICE_NS = 20_000_000
"""A paced block is handed over in slices of this much capture time."""
SLOWEST, FASTEST = 0.001, 1_000_000.0
"""A second in a quarter of an hour, and eleven days in one."""

MAX_NS = 3_600_000_000_000
"""A silence is waited for no longer than an hour: a first packet dated 1970 is followed by one of decades."""


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
    waits = Waits()
    begin = time.monotonic()
    for block in blocks:
        if not len(block):
            continue
        passed_ns = waits.passed(block.time_ns)
        cuts = (np.flatnonzero(np.diff(passed_ns // SLICE_NS)) + 1).tolist()
        for start, end in zip([0, *cuts], [*cuts, len(block)], strict=True):
            due = int(passed_ns[end - 1]) / 1e9 / factor
            time.sleep(max(0.0, due - (time.monotonic() - begin)))
            yield select(block, slice(start, end), block.first_number + start)


class Waits:
    """How long to wait for packets by their times, never because of a single wrong one.

    A leap of more than FAR_NS counts only beyond the newest time so far, and only where no later packet of the block
    goes back before it; a leap of the block's last packet, where one of the next block is as far. Going back costs no
    time.
    """

    def __init__(self) -> None:
        self._last_ns = self._newest_ns = self._doubted_ns = -1
        self._passed_ns = 0

    def passed(self, time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how much time has passed with each packet of the next block: int64 [n] ns."""
        timed = (time_ns >= 0) & (time_ns < END_OF_TIME_NS)
        place = np.maximum.accumulate(np.where(timed, np.arange(len(time_ns)), -1))
        first_ns = int(time_ns[timed][0]) if timed.any() else 0
        last_ns = self._last_ns if self._last_ns >= 0 else first_ns
        now_ns = np.where(place >= 0, time_ns[place], last_ns)
        before_ns = np.concatenate([[last_ns], now_ns[:-1]])
        newest_ns = np.maximum.accumulate(np.concatenate([[max(self._newest_ns, last_ns)], now_ns[:-1]]))
        leap = now_ns - before_ns > FAR_NS
        undone = np.minimum.accumulate(now_ns[::-1])[::-1] < now_ns - FAR_NS
        end_ns = int(now_ns[-1])
        doubted = bool(leap[-1]) and not 0 <= self._doubted_ns <= end_ns
        undone[-1] |= doubted
        beyond = np.where(undone, 0, np.minimum(now_ns - newest_ns, MAX_NS))
        passed_ns = self._passed_ns + np.cumsum(np.maximum(np.where(leap, beyond, now_ns - before_ns), 0))
        self._doubted_ns = end_ns if doubted else -1
        self._last_ns = int(before_ns[-1]) if doubted else end_ns
        self._newest_ns = max(int(newest_ns[-1]), self._last_ns)
        self._passed_ns = int(passed_ns[-1])
        return passed_ns


def select(block: PacketBlock, rows: slice | np.ndarray, first_number: int) -> PacketBlock:
    """Return the rows of a block, over the same bytes."""
    drops = block.kernel_drops if first_number == block.first_number else 0
    return replace(some_rows(block, rows), first_number=first_number, kernel_drops=drops)
