"""The virtual queue: the delay each packet would meet in a queue of the link's capacity; labels without a human.

Lindley's recursion (Lindley 1952): wait = max(0, wait - time passed) for the arriving packet, then wait += its service
time. With a delivery-opportunity trace (mahimahi's format) service comes in lumps of 1,500 bytes instead.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.kernels import kernel, kernel_lean

OPPORTUNITY_BYTES = 1_500
NS_PER_MS = 1_000_000


@kernel_lean
def drained(wait_ns: float, passed_ns: int) -> float:
    """Return the wait that is left after `passed_ns`."""
    left = wait_ns - passed_ns
    return left if left > 0.0 else 0.0


@kernel
def fixed_delays(
    time_ns: NDArray[np.int64], size: NDArray[np.int64], ns_per_byte: float, limit_ns: float
) -> NDArray[np.float64]:
    """Return each packet's wait in ns (NaN: dropped by the full buffer) at a fixed capacity.

    limit_ns is the buffer as a delay; a packet that would make the queue longer is dropped.
    """
    out = np.empty(len(time_ns))
    wait = 0.0
    last = time_ns[0] if len(time_ns) else 0
    for i in range(len(time_ns)):
        now = max(time_ns[i], last)
        wait = drained(wait, now - last)
        last = now
        service = size[i] * ns_per_byte
        if wait + service > limit_ns and wait > 0.0:
            out[i] = np.nan
        else:
            out[i] = wait
            wait += service
    return out


@kernel
def trace_delays(
    time_ns: NDArray[np.int64],
    size: NDArray[np.int64],
    opportunity_ns: NDArray[np.int64],
    opportunity_bytes: float,
    limit_bytes: float,
) -> NDArray[np.float64]:
    """Return each packet's delay in ns until its last byte leaves (NaN: dropped), served by a repeated trace.

    opportunity_ns: int64, ascending, the last is the period. Like mahimahi: an opportunity that finds no bytes is
    lost; a packet larger than an opportunity takes several, small ones share one.
    """
    out = np.empty(len(time_ns))
    count = len(opportunity_ns)
    period = opportunity_ns[count - 1]
    finish = np.zeros(len(time_ns), np.int64)
    start = time_ns[0] if len(time_ns) else 0
    cycle, place, room = 0, 0, 0.0  # the opportunity in use and the bytes left in it
    at, last = -1, 0
    head, queued = 0, 0.0
    for i in range(len(time_ns)):
        now = max(time_ns[i] - start, last)
        last = now
        while head < i and finish[head] <= now:
            queued -= 0.0 if np.isnan(out[head]) else size[head]
            head += 1
        if queued > 0.0 and queued + size[i] > limit_bytes:
            out[i] = np.nan
            finish[i] = finish[i - 1] if i else now
            continue
        if at < now:  # the opportunity in use has passed before this packet came
            room = 0.0
            cycle = (now - 1) // period if now > 0 else 0  # the period's last opportunity is its own
            place = np.searchsorted(opportunity_ns, now - cycle * period)
        need = float(size[i])
        while room < need:
            need -= room
            if place == count:
                place, cycle = 0, cycle + 1
            at = cycle * period + opportunity_ns[place]
            place += 1
            room = opportunity_bytes
        room -= need
        finish[i] = at
        out[i] = at - now
        queued += size[i]
    return out


def virtual_delays_ms(
    time_ns: NDArray[np.int64],
    size: NDArray[np.int64],
    *,
    capacity_bps: float | None = None,
    trace_ns: NDArray[np.int64] | None = None,
    opportunity_bytes: float = OPPORTUNITY_BYTES,
    buffer_bytes: float | None = None,
) -> NDArray[np.float64]:
    """Return the delay of each packet in ms, NaN where the buffer (if limited) drops it.

    time_ns: int64 [n], a packet before its predecessor is taken as arriving with it; size: bytes on the wire.
    Give either a capacity or the opportunities of a trace (`read_trace`), each of `opportunity_bytes`. A fixed
    capacity gives the wait before service; a trace the time until the last byte leaves.
    """
    limit = float("inf") if buffer_bytes is None else float(buffer_bytes)
    sizes = size.astype(np.int64)
    if trace_ns is not None:
        return trace_delays(time_ns, sizes, trace_ns, float(opportunity_bytes), limit) / NS_PER_MS
    if capacity_bps is None or capacity_bps <= 0:
        raise ValueError(f"virtual queue: capacity_bps is {capacity_bps}; give a positive capacity or a trace")
    ns_per_byte = 8e9 / capacity_bps
    return fixed_delays(time_ns, sizes, ns_per_byte, limit * ns_per_byte) / NS_PER_MS


def read_trace(path: Path) -> NDArray[np.int64]:
    """Read a mahimahi trace (one opportunity in ms a line, ascending) as int64 ns.

    Raises InputError where the file is no such trace.
    """
    try:
        times = np.loadtxt(path, dtype=np.int64, ndmin=1)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a delivery trace (one whole number of ms a line): {error}") from error
    if not len(times) or times[-1] <= 0 or np.any(np.diff(times) < 0):
        raise InputError(f"{path}: a delivery trace needs ascending times and an end above 0 ms")
    return times * NS_PER_MS


def largest_ahead(values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return for each value the largest of the `count` values after it: float32 [T], NaN where fewer follow."""
    largest = np.concatenate([values[1:].astype(np.float32), np.full(count, np.nan, np.float32)])
    length = 1  # largest[i] is the largest of the next `length` values, which doubles
    while 2 * length <= count:
        largest[:-length] = np.maximum(largest[:-length], largest[length:])
        length *= 2
    if length < count:
        rest = count - length
        largest[:-rest] = np.maximum(largest[:-rest], largest[rest:])
    return largest[: len(values)]
