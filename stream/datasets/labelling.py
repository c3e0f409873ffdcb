"""Label arrivals at a link: the stream's own bins, with the largest queueing delay within each horizon as target.

A target covers the bins within the horizon after its bin, silence between series included; after the last packet it is
unknown. A device's target is its link's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.stream.bins.bins import Bins
from offramp.stream.bins.packets import Packets, part_of
from offramp.stream.bins.state import LinkConfig
from offramp.stream.bins.virtual_queue import largest_ahead
from offramp.stream.channels import BIN_MS, CHANNELS, WINDOW_BINS
from offramp.stream.datasets.trace_queue import Service, goes_down, queue_bins

BLOCK = 65_536
RTT = CHANNELS.index("rtt")
BACKLOG_UP, BACKLOG_DOWN = CHANNELS.index("backlog_up"), CHANNELS.index("backlog_down")
PEAK, OVERFLOW = CHANNELS.index("delay_peak"), CHANNELS.index("overflow")


class Bottleneck(NamedTuple):
    """What arrivals pass: its name in series, the link as the bins take it, and the traces up and down, if any."""

    name: str
    config: LinkConfig
    served: tuple[Service, Service] | None = None


class LabelledRows(NamedTuple):
    """One unbroken series before its part is known; series 0 is the link; bin_number: int64 [T]; as LabelledSeries."""

    series: int
    bin_number: NDArray[np.int64]
    x: NDArray[np.float32]
    delay_ms: NDArray[np.float32]
    now_ms: NDArray[np.float32]
    rtt_ms: NDArray[np.float32]


class Timeline(NamedTuple):
    """The link's bins with long silences shortened: the bin number of each place, the place of each row of the link."""

    bin_number: NDArray[np.int64]
    slot: NDArray[np.int64]


def labelled_rows(
    packets: Packets, bottleneck: Bottleneck, horizons_ms: Sequence[int], *, devices: int = 0
) -> list[LabelledRows]:
    """Return the series of the link and of its `devices` busiest, cut where they begin anew, each at least a window."""
    rows = closed_rows(packets, bottleneck.config)
    link = np.flatnonzero(rows["series"] == 0)
    if not len(link):
        return []
    bins = rows["bin_number"][link]
    line = timeline(bins, max(horizons_ms) // BIN_MS)
    if bottleneck.served is None:
        now = held_delays(line, rows["end_ms"][link], rows["delay_ms"][link])
    else:
        now = follow_traces(packets, bottleneck.config, bottleneck.served, line, rows)
    counts = [horizon // BIN_MS for horizon in horizons_ms]
    targets = np.stack([largest_ahead(now, count) for count in counts], axis=1)
    out = []
    for series in [0, *busiest(rows, devices)]:
        own = np.flatnonzero(rows["series"] == series)
        at = line.slot[np.searchsorted(bins, rows["bin_number"][own])]
        rtt = round_trips(rows["x"][own, RTT], at, len(now), counts)
        begins = np.flatnonzero(rows["fresh"][own])
        for begin, end in zip(begins, [*begins[1:], len(own)], strict=True):
            if end - begin >= WINDOW_BINS:
                part, places = own[begin:end], at[begin:end]
                out.append(
                    LabelledRows(
                        series, rows["bin_number"][part], rows["x"][part], targets[places], now[places], rtt[begin:end]
                    )
                )
    return out


def closed_rows(packets: Packets, config: LinkConfig) -> dict[str, NDArray[Any]]:
    """Return all closed bins of link and devices as arrays; end_ms, delay_ms: the queue's at the end, and largest."""
    bins = Bins(config)
    names = ("bin_number", "series", "fresh", "x", "rate_bps", "end_ms", "delay_ms")
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in names}

    def keep(closed: Iterable[Any]) -> None:
        for chunk in closed:
            for name in names[:5]:
                parts[name].append(getattr(chunk, name).copy())
            parts["end_ms"].append(chunk.queue_ms[:, 0].copy())
            parts["delay_ms"].append(chunk.queue_ms[:, 1].copy())

    for start in range(0, len(packets.time_ns), BLOCK):
        keep(bins.update(part_of(packets, start, start + BLOCK)))
    keep(bins.close())
    return {name: np.concatenate(column) if column else np.empty(0) for name, column in parts.items()}


def busiest(rows: dict[str, NDArray[Any]], devices: int) -> list[int]:
    """Return the series numbers of the devices that carried most."""
    if not devices:
        return []
    total = np.bincount(rows["series"].astype(np.int64), weights=rows["rate_bps"].astype(np.float64))
    order = 1 + np.argsort(-total[1:], kind="stable")[:devices]
    return [int(series) for series in order if total[series] > 0]


def timeline(bins: NDArray[np.int64], longest: int) -> Timeline:
    """Return the timeline of a link's bins: a silence counts bin by bin, one beyond `longest` as `longest` bins."""
    silent = np.minimum(np.diff(bins) - 1, longest)
    place = np.concatenate([[0], np.cumsum(1 + silent)])
    before = np.repeat(np.arange(len(bins)), np.append(1 + silent, 1))
    return Timeline(bins[before] + np.arange(len(before)) - place[before], place)


def held_delays(line: Timeline, end_ms: NDArray[np.float32], largest_ms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the largest delay of every place of the timeline; in a silence the last row's queue drains."""
    row = np.searchsorted(line.slot, np.arange(len(line.bin_number)), side="right") - 1
    since = np.arange(len(row)) - line.slot[row]
    out = np.maximum(end_ms[row] - (since - 1) * np.float32(BIN_MS), 0).astype(np.float32)
    out[line.slot] = largest_ms
    return out


def follow_traces(
    packets: Packets, config: LinkConfig, served: tuple[Service, Service], line: Timeline, rows: dict[str, NDArray[Any]]
) -> NDArray[np.float32]:
    """Write the queue of a link served by traces into the channels of `rows`; return its delays by place."""
    down = goes_down(packets, config.networks)
    sides = [
        queue_bins(packets.time_ns[side], packets.size[side], service, config.buffer_bytes, line.bin_number)
        for side, service in zip((~down, down), served, strict=True)
    ]
    now = np.maximum(sides[0].delay_ms, sides[1].delay_ms).astype(np.float32)
    at = np.searchsorted(line.bin_number, rows["bin_number"])
    for channel, side, rate in (
        (BACKLOG_UP, sides[0], config.capacity_up_bps), (BACKLOG_DOWN, sides[1], config.capacity_down_bps)
    ):  # fmt: skip
        rows["x"][:, channel] = np.log1p(side.backlog_bytes * 8e3 / rate)[at]
    rows["x"][:, PEAK] = np.log1p(now.astype(np.float64))[at]  # single precision's last bit depends on the processor
    rows["x"][:, OVERFLOW] = np.log1p(sides[0].dropped + sides[1].dropped)[at]
    return now


def round_trips(
    log_rtt: NDArray[np.float32], at: NDArray[np.int64], places: int, counts: Sequence[int]
) -> NDArray[np.float32]:
    """Return the largest mean round-trip time of a bin within each horizon, ms: float32 [T, H], NaN where none seen."""
    rtt = np.full(places, -np.inf, np.float32)
    seen = ~np.isnan(log_rtt)
    rtt[at[seen]] = np.expm1(log_rtt[seen].astype(np.float64))
    out = np.stack([largest_ahead(rtt, count)[at] for count in counts], axis=1)
    out[np.isneginf(out)] = np.nan
    return out
