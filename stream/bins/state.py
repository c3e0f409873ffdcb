"""The state of the open bins as plain arrays: small, serialisable, and what the kernels take as one argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.stream.bins.heavy_hitters import KEY, TOP, HeavyHitters, new_heavy_hitters
from offramp.stream.channels import BIN_NS, CHANNELS, Counter

DEVICE_SLOTS = 32
SERIES = DEVICE_SLOTS + 1
OPEN = 16
"""Bins that may be open at once."""

OUT_ROWS = 6_000
"""Closed bins handed on at a time, at most: what is worth a call of the model, in 4 MB."""

NEVER = 1 << 62
"""A bin that no time reaches."""

UP, DOWN, SIDES = range(3)
"""Directions: the place in every array that has one for each, and how far the one down stands behind the one up."""

NS_PER_BYTE, LIMIT_NS, DEVICE_SHARE, SHAPES = 0, SIDES, 2 * SIDES, 2 * SIDES + 1
"""Places in `BinState.shape`: service time up (and down), virtual buffer as a delay up (and down), share of a device.
"""

(
    NEXT, NEWEST, BEGUN, REACHED,
    WAITS, WAITS_NS, WAITS_SAMPLING, BACK_ROWS, BACK_FIRST_NS, BACK_NEWEST_NS,
    ROWS, LATE, AHEAD, UNTIMED, UNTRACKED, EVICTED, STEPS, CLOCKS,
) = range(18)  # fmt: skip
"""Places in `BinState.clock`: the next bin to close; the newest packet's time in ns; whether there was one; the newest
time of packet or clock. Of `stream.bins.event_time`: what is held until it is confirmed (NOTHING, a CLOCK, a PACKET),
its time, its sampling; rows of a time gone back, the first's and the newest's time. Then counts: rows seen; of these
late, far ahead and not confirmed, without a time; rows of devices for which there was no place; devices evicted; times
that the link began anew because time went back."""

COUNTS = (ROWS, LATE, AHEAD, UNTIMED, UNTRACKED, EVICTED, STEPS)


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """What the bins need of a link: capacities in bit/s, virtual buffer, networks behind it.

    The buffer is bytes, or where there are none, ms at the capacity of each direction; without either it has no limit.
    A packet from inside the networks goes up, one into them down; without networks all go up. A device has a series of
    its own, and forecasts, from when it carries `device_share` of the capacity until it carries a quarter of that.
    """

    capacity_up_bps: float
    capacity_down_bps: float
    buffer_bytes: float | None = None
    networks: tuple[str, ...] = ()
    device_share: float = 0.01
    buffer_ms: float | None = None

    def limit_ns(self, ns_per_byte: float) -> float:
        """Return the longest delay of a direction that takes so long a byte, ns."""
        if self.buffer_bytes is not None:
            return self.buffer_bytes * ns_per_byte
        return float("inf") if self.buffer_ms is None else self.buffer_ms * 1e6


class BinState(NamedTuple):
    """Open bins, series and virtual queues.

    clock: int64 [CLOCKS]; counters: float64 [OPEN, SERIES, Counter]; key: int64 [SERIES, 2] device address; alive: int8
    [SERIES] (0 silent, 1 running, 2 begins); first, last, last_ns: int64 [SERIES]; slow: float64 running load; rate:
    float64 decayed bytes; hint: int16 [256]; shape: float64 [SHAPES]; wait: float64 [SIDES] ns; queue_ns: int64
    [SIDES]; per open bin and direction bin_wait, bin_queue_ns, peak [OPEN, SIDES], overflow [OPEN]; closing_wait,
    closing_ns: [SIDES] the queues as of the last closed bin.
    """

    clock: NDArray[np.int64]
    counters: NDArray[np.float64]
    key: NDArray[np.int64]
    alive: NDArray[np.int8]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    last_ns: NDArray[np.int64]
    slow: NDArray[np.float64]
    rate: NDArray[np.float64]
    hint: NDArray[np.int16]
    shape: NDArray[np.float64]
    wait: NDArray[np.float64]
    queue_ns: NDArray[np.int64]
    bin_wait: NDArray[np.float64]
    bin_queue_ns: NDArray[np.int64]
    peak: NDArray[np.float64]
    overflow: NDArray[np.float64]
    closing_wait: NDArray[np.float64]
    closing_ns: NDArray[np.int64]


class ClosedBins(NamedTuple):
    """Closed bins of link and devices, ordered by bin, the link first in each.

    bin_number: int64 [n] (start ns over BIN_NS); series: int32 [n], 0 the link; fresh: uint8 [n], 1 where it begins;
    key: int64 [n, 2] the device's address; x: float32 [n, F] raw channels; rate_bps: float64 [n] decayed;
    load: float32 [n, 2] up, down; queue_ms: float32 [n, 2] (virtual delay at the bin's end, largest of the bin);
    flow_key: int64 [n, TOP, KEY], flow_rate_bps: float64 [n, TOP], of link rows only.
    """

    bin_number: NDArray[np.int64]
    series: NDArray[np.int32]
    fresh: NDArray[np.uint8]
    key: NDArray[np.int64]
    x: NDArray[np.float32]
    rate_bps: NDArray[np.float64]
    load: NDArray[np.float32]
    queue_ms: NDArray[np.float32]
    flow_key: NDArray[np.int64]
    flow_rate_bps: NDArray[np.float64]


class BinOut(NamedTuple):
    """Where closed bins are written: used: int64 [1] rows; bins: room for OUT_ROWS.

    stop: int64 [1] the bin before which closing stops, as something changes there; NEVER where nothing does.
    """

    used: NDArray[np.int64]
    bins: ClosedBins
    stop: NDArray[np.int64]


def new_bin_state(config: LinkConfig) -> tuple[BinState, HeavyHitters]:
    """Return empty bins for a link."""
    up, down = 8e9 / config.capacity_up_bps, 8e9 / config.capacity_down_bps
    numbers = np.empty(SHAPES)
    numbers[NS_PER_BYTE + UP], numbers[NS_PER_BYTE + DOWN] = up, down
    numbers[LIMIT_NS + UP], numbers[LIMIT_NS + DOWN] = config.limit_ns(up), config.limit_ns(down)
    numbers[DEVICE_SHARE] = config.device_share
    state = BinState(
        clock=np.zeros(CLOCKS, np.int64),
        counters=np.zeros((OPEN, SERIES, len(Counter))),
        key=np.zeros((SERIES, 2), np.int64),
        alive=np.zeros(SERIES, np.int8),
        first=np.zeros(SERIES, np.int64),
        last=np.full(SERIES, -1, np.int64),
        last_ns=np.zeros(SERIES, np.int64),
        slow=np.zeros(SERIES),
        rate=np.zeros(SERIES),
        hint=np.zeros(256, np.int16),
        shape=numbers,
        wait=np.zeros(SIDES),
        queue_ns=np.zeros(SIDES, np.int64),
        bin_wait=np.full((OPEN, SIDES), -1.0),
        bin_queue_ns=np.zeros((OPEN, SIDES), np.int64),
        peak=np.zeros((OPEN, SIDES)),
        overflow=np.zeros(OPEN),
        closing_wait=np.zeros(SIDES),
        closing_ns=np.zeros(SIDES, np.int64),
    )
    return state, new_heavy_hitters()


def resize(state: BinState, config: LinkConfig, up_bps: float, down_bps: float) -> None:
    """Give a link another capacity, bit/s: what waits is as many bytes as before, and takes another time.

    What the old capacity has carried away by the end of the last closed bin does not wait.
    """
    now_ns = state.clock[NEXT] * BIN_NS
    for waits, at_ns in ((state.wait, state.queue_ns), (state.closing_wait, state.closing_ns)):
        waits[:] = np.maximum(waits - np.maximum(now_ns - at_ns, 0), 0.0)
        at_ns[:] = np.maximum(at_ns, now_ns)
    for side, capacity_bps in ((UP, up_bps), (DOWN, down_bps)):
        ns_per_byte = 8e9 / capacity_bps
        factor = ns_per_byte / state.shape[NS_PER_BYTE + side]
        state.shape[NS_PER_BYTE + side] = ns_per_byte
        state.shape[LIMIT_NS + side] = config.limit_ns(ns_per_byte)
        state.wait[side] *= factor
        state.closing_wait[side] *= factor
        state.peak[:, side] *= factor
        waits = state.bin_wait[:, side]
        waits[waits >= 0] *= factor


def forget_bins(state: BinState, *, goes_on: bool) -> None:
    """Empty the bins, as what comes next does not follow on; the counts of rows and devices stay.

    goes_on: keep the time up to which bins were closed: none is closed twice, and packets before it are late.
    """
    kept = [*COUNTS, *((NEXT, NEWEST, BEGUN, REACHED) if goes_on else ())]
    counts = state.clock[kept]
    for name, array in state._asdict().items():
        if name != "shape":
            array[...] = -1 if name in ("last", "bin_wait") else 0
    state.clock[kept] = counts


def new_bin_out() -> BinOut:
    """Return room for OUT_ROWS closed bins."""
    bins = ClosedBins(
        bin_number=np.zeros(OUT_ROWS, np.int64),
        series=np.zeros(OUT_ROWS, np.int32),
        fresh=np.zeros(OUT_ROWS, np.uint8),
        key=np.zeros((OUT_ROWS, 2), np.int64),
        x=np.zeros((OUT_ROWS, len(CHANNELS)), np.float32),
        rate_bps=np.zeros(OUT_ROWS),
        load=np.zeros((OUT_ROWS, 2), np.float32),
        queue_ms=np.zeros((OUT_ROWS, 2), np.float32),
        flow_key=np.zeros((OUT_ROWS, TOP, KEY), np.int64),
        flow_rate_bps=np.zeros((OUT_ROWS, TOP)),
    )
    return BinOut(np.zeros(1, np.int64), bins, np.full(1, NEVER, np.int64))
