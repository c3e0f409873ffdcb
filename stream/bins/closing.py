"""Close bins: turn counters into channels, the link's first, then those of each device that is not silent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offramp.kernels import kernel_entry, kernel_lean
from offramp.stream.bins.heavy_hitters import HALF_LIFE_BINS, RATE_SECONDS_IN_BINS, TOP, HeavyHitters, scale_at, top
from offramp.stream.bins.state import (
    DEVICE_SHARE,
    DOWN,
    LIMIT_NS,
    NEXT,
    NS_PER_BYTE,
    OPEN,
    SERIES,
    SIDES,
    UP,
    BinOut,
    BinState,
)
from offramp.stream.bins.virtual_queue import drained
from offramp.stream.channels import BIN_NS, FIRST_MARK, FIRST_SHARED, MARK_PLACES, MARKS, PLACE, WINDOW_BINS, Counter

DECAY = 0.5 ** (1.0 / HALF_LIFE_BINS)
SLOW = 1.0 / 32.0
NS_PER_MS = 1e6
MTU = 1500.0
RATE_FACTOR = 8e9 / BIN_NS / RATE_SECONDS_IN_BINS
"""Decayed bytes to bit/s."""

PACKETS_UP, PACKETS_DOWN = int(Counter.PACKETS_UP), int(Counter.PACKETS_DOWN)
BYTES_UP, BYTES_DOWN = int(Counter.BYTES_UP), int(Counter.BYTES_DOWN)
RTT_SUM, RTT_COUNT, GAP = int(Counter.RTT_SUM_MS), int(Counter.RTT_COUNT), int(Counter.MAX_GAP_NS)
LOAD_UP, LOAD_DOWN, LOAD_SLOW = PLACE["load_up"], PLACE["load_down"], PLACE["load_slow"]
SENT_UP, SENT_DOWN, SIZE_UP, SIZE_DOWN = (
    PLACE[name] for name in ("packets_up", "packets_down", "size_up", "size_down")
)
SILENCE, RTT = PLACE["gap"], PLACE["rtt"]
BACKLOG, PEAK, OVERFLOW, CEILING = (PLACE[name] for name in ("backlog_up", "delay_peak", "overflow", "ceiling"))
MAX_GAP_BINS = 4.0


@kernel_lean
def log1p_ratio(value: float) -> float:
    """Compress a count; an empty bin, the usual case, costs nothing."""
    return np.log1p(value) if value > 0.0 else 0.0


@kernel_lean
def offered(state: BinState, counters: NDArray[np.float64], side: int) -> float:
    """Return what came in one direction, over what the capacity carries in a bin."""
    return float(counters[BYTES_UP + side] * state.shape[NS_PER_BYTE + side] / BIN_NS)


@kernel_lean
def own_channels(state: BinState, series: int, counters: NDArray[np.float64], x: NDArray[np.float32]) -> None:
    """Write the channels of one series that are its own: those of stream.channels.TABLE that are not shared."""
    x[LOAD_UP] = log1p_ratio(offered(state, counters, UP))
    x[LOAD_DOWN] = log1p_ratio(offered(state, counters, DOWN))
    x[LOAD_SLOW] = state.slow[series]
    x[SENT_UP] = log1p_ratio(counters[PACKETS_UP])
    x[SENT_DOWN] = log1p_ratio(counters[PACKETS_DOWN])
    x[SIZE_UP] = counters[BYTES_UP] / counters[PACKETS_UP] / MTU if counters[PACKETS_UP] > 0 else 0.0
    x[SIZE_DOWN] = counters[BYTES_DOWN] / counters[PACKETS_DOWN] / MTU if counters[PACKETS_DOWN] > 0 else 0.0
    x[SILENCE] = min(counters[GAP] / BIN_NS, MAX_GAP_BINS)
    for i in range(MARKS):
        x[MARK_PLACES[i]] = log1p_ratio(counters[FIRST_MARK + i])
    x[RTT] = np.log1p(counters[RTT_SUM] / counters[RTT_COUNT]) if counters[RTT_COUNT] > 0 else np.nan


@kernel_lean
def queue_channels(state: BinState, bin_number: int, x: NDArray[np.float32], queue_ms: NDArray[np.float32]) -> None:
    """Write the shared channels of a bin and the link's delay (at its end, largest)."""
    place = bin_number % OPEN
    end = (bin_number + 1) * BIN_NS
    now, peak = 0.0, 0.0
    for side in range(SIDES):
        start_wait = drained(state.closing_wait[side], end - BIN_NS - state.closing_ns[side])
        if state.bin_wait[place, side] >= 0.0:
            state.closing_wait[side] = state.bin_wait[place, side]
            state.closing_ns[side] = state.bin_queue_ns[place, side]
        left = drained(state.closing_wait[side], end - state.closing_ns[side]) / NS_PER_MS
        x[BACKLOG + side] = log1p_ratio(left)
        now = max(now, left)
        peak = max(peak, max(start_wait, state.peak[place, side]) / NS_PER_MS)
    queue_ms[0] = now
    queue_ms[1] = max(peak, now)
    x[PEAK] = log1p_ratio(queue_ms[1])
    x[OVERFLOW] = log1p_ratio(state.overflow[place])
    limit = state.shape[LIMIT_NS + UP] / NS_PER_MS
    x[CEILING] = np.log1p(limit) if np.isfinite(limit) else np.nan
    for side in range(SIDES):
        state.bin_wait[place, side] = -1.0
        state.peak[place, side] = 0.0
    state.overflow[place] = 0.0


@kernel_lean
def bin_room(out: BinOut) -> bool:
    """Return whether a whole bin still fits, the link's row and each device's; asked once before all are written."""
    return bool(out.used[0] + SERIES <= out.bins.bin_number.shape[0])


@kernel_lean
def close_series(state: BinState, bin_number: int, series: int, link_row: int, out: BinOut) -> None:
    """Write one row: a series' closed bin, and clear its counters."""
    row = out.used[0]
    out.used[0] = row + 1
    counters = state.counters[bin_number % OPEN, series]
    out.bins.bin_number[row] = bin_number
    out.bins.series[row] = series
    out.bins.fresh[row] = 1 if state.alive[series] == 2 else 0
    state.alive[series] = 1
    out.bins.key[row, 0], out.bins.key[row, 1] = state.key[series, 0], state.key[series, 1]
    own_channels(state, series, counters, out.bins.x[row])
    out.bins.rate_bps[row] = state.rate[series] * RATE_FACTOR
    out.bins.load[row, UP] = offered(state, counters, UP)
    out.bins.load[row, DOWN] = offered(state, counters, DOWN)
    if series > 0:
        for i in range(FIRST_SHARED, out.bins.x.shape[1]):
            out.bins.x[row, i] = out.bins.x[link_row, i]
        for i in range(SIDES):
            out.bins.queue_ms[row, i] = out.bins.queue_ms[link_row, i]
    for i in range(len(counters)):
        counters[i] = 0.0


@kernel_lean
def mark_running(state: BinState, bin_number: int, series: int) -> None:
    """Let a closed bin enter the series' running load and rate."""
    counters = state.counters[bin_number % OPEN, series]
    load = max(offered(state, counters, UP), offered(state, counters, DOWN))
    state.slow[series] += SLOW * (load - state.slow[series])
    state.rate[series] += counters[BYTES_UP] + counters[BYTES_DOWN]


@kernel_lean
def worth_a_forecast(state: BinState, series: int) -> bool:
    """Return whether a device carries enough of the link: a share to begin with, a quarter of it to go on."""
    share = state.shape[DEVICE_SHARE]
    if state.alive[series] != 2:
        share /= 4.0
    return bool(state.rate[series] * RATE_FACTOR >= share * 8e9 / state.shape[NS_PER_BYTE + UP])


@kernel_lean
def close_bin(state: BinState, hitters: HeavyHitters, bin_number: int, out: BinOut) -> None:
    """Write the rows of one bin: the link, then its devices."""
    link_row = out.used[0]
    queue_channels(state, bin_number, out.bins.x[link_row], out.bins.queue_ms[link_row])
    mark_running(state, bin_number, 0)
    close_series(state, bin_number, 0, link_row, out)
    top(hitters, scale_at(hitters, bin_number), out.bins.flow_key[link_row], out.bins.flow_rate_bps[link_row])
    for place in range(TOP):
        out.bins.flow_rate_bps[link_row, place] *= RATE_FACTOR
    for series in range(1, SERIES):
        if state.alive[series] == 0 or bin_number < state.first[series]:
            continue
        if bin_number > state.last[series] + WINDOW_BINS:
            state.alive[series] = 0
            continue
        mark_running(state, bin_number, series)
        if worth_a_forecast(state, series):
            close_series(state, bin_number, series, link_row, out)
        else:
            state.alive[series] = 2
            counters = state.counters[bin_number % OPEN, series]
            for i in range(len(counters)):
                counters[i] = 0.0
    for series in range(SERIES):
        state.rate[series] *= DECAY


@kernel_entry
def close_until(state: BinState, hitters: HeavyHitters, until: int, out: BinOut) -> bool:
    """Close the bins before `until`; a silence beyond the window ends all series and is skipped.

    Return whether that is done: where `out` has no room for another bin of all series it is to be emptied first, and
    where the bin `out.stop` is reached that is to be dealt with.
    """
    clock = state.clock
    limit = min(until, out.stop[0])
    while clock[NEXT] < limit:
        bin_number = clock[NEXT]
        if state.alive[0] != 0 and bin_number > state.last[0] + WINDOW_BINS:
            for series in range(SERIES):
                state.alive[series] = 0
        if state.alive[0] == 0:
            for series in range(SERIES):
                state.rate[series] *= DECAY ** (limit - bin_number)
            clock[NEXT] = limit
            break
        if bin_number >= state.first[0]:
            if not bin_room(out):
                return False
            close_bin(state, hitters, bin_number, out)
        clock[NEXT] = bin_number + 1
    return bool(clock[NEXT] < out.stop[0])
