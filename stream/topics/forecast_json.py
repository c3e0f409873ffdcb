"""The bins of a forecast message as JSON text, written by a kernel: as `json.dumps` would, at a tenth of its time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.kernels import kernel, kernel_lean
from offramp.stream.pipeline.timeline import LinkTimeline

DECIMALS = 4
UNIT = 10**DECIMALS
MAX_NUMBER = 9e14
"""Numbers are written up to here, so that their units fit int64; no delay of a link is larger."""

MAX_BIN_TEXT = 480
"""Bytes of one bin's text, at most: eleven numbers of 20 bytes and the names."""


def _texts(*parts: bytes) -> tuple[NDArray[np.uint8], ...]:
    return tuple(np.frombuffer(part, np.uint8).copy() for part in parts)


PARTS = _texts(
    b'{"delay_ms":[', b",", b",", b'],"delay_now_ms":', b',"load":[', b",", b'],"probabilities":[', b",", b",",
)  # fmt: skip
"""What stands before each of a bin's numbers, the keys in the order of the alphabet."""

LAST = _texts(b'],"window_end":', b"},")
"""What stands before and after the end of the window."""


def bins_text(timelines: list[LinkTimeline]) -> bytes:
    """Return the bins of some timelines as a JSON array; numbers are rounded to DECIMALS, halves to even."""
    out = bytearray(b"[")
    for timeline in timelines:
        n = len(timeline.time_ns)
        numbers = np.empty((n, len(PARTS)), np.float32)
        numbers[:, :3] = timeline.quantiles_ms
        numbers[:, 3] = timeline.bin_end_ms
        numbers[:, 4], numbers[:, 5] = timeline.load_up, timeline.load_down
        numbers[:, 6:] = timeline.probabilities
        room = np.empty(n * MAX_BIN_TEXT, np.uint8)
        out += room[: write_bins(numbers, timeline.time_ns, PARTS, LAST, room)].tobytes()
    return bytes(out[:-1] if len(out) > 1 else out) + b"]"


@kernel
def write_bins(
    numbers: NDArray[np.float32], time_ns: NDArray[np.int64], parts: Any, last: Any, out: NDArray[np.uint8]
) -> int:
    """Write the text of each row, with a comma behind it; return how many bytes that took."""
    at = 0
    for row in range(len(numbers)):
        for column in range(len(parts)):
            at = write_text(parts[column], out, at)
            at = write_number(np.float64(numbers[row, column]), out, at)
        at = write_text(last[0], out, at)
        at = write_digits(time_ns[row], 1, out, at)
        at = write_text(last[1], out, at)
    return at


@kernel_lean
def write_text(text: NDArray[np.uint8], out: NDArray[np.uint8], at: int) -> int:
    """Write bytes; return the place behind them."""
    for i in range(len(text)):
        out[at + i] = text[i]
    return at + len(text)


@kernel_lean
def write_number(value: float, out: NDArray[np.uint8], at: int) -> int:
    """Write a number as Python shows `round(value, DECIMALS)`, at most LARGEST, at least 0; NaN as 0."""
    units = np.int64(np.rint(min(max(value, 0.0), MAX_NUMBER) * UNIT)) if value > 0.0 else np.int64(0)
    at = write_digits(units // UNIT, 1, out, at)
    out[at] = 46  # the point
    rest, places = units % UNIT, DECIMALS
    while places > 1 and rest % 10 == 0:
        rest //= 10
        places -= 1
    return write_digits(rest, places, out, at + 1)


@kernel_lean
def write_digits(value: int, least: int, out: NDArray[np.uint8], at: int) -> int:
    """Write a whole number with at least so many digits; return the place behind it."""
    end, left = at + least, value // 10**least
    while left > 0:
        end += 1
        left //= 10
    left = value
    for place in range(end - 1, at - 1, -1):
        out[place] = 48 + left % 10
        left //= 10
    return end
