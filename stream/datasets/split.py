"""Split a data set into parts: whole origins, or stretches of time of one origin with a gap that no row sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.inference.dataset.dataset import PARTS, LabelledSeries
from offramp.stream.channels import BIN_MS, BIN_NS, WINDOW_BINS
from offramp.stream.datasets.labelling import LabelledRows
from offramp.stream.datasets.spec import Source


class Interval(NamedTuple):
    """Bins from `start` until before `end` of an origin, and their part; `origin` is its name in that part."""

    origin: str
    part: str
    start: int
    end: int


EVER = np.iinfo(np.int64).max


def assigned(origins: Sequence[str], shares: tuple[float, float, float], seed: int) -> dict[str, str]:
    """Return the part of each origin, whole, assigned by seed so that the counts come closest to the shares."""
    order = np.random.default_rng([seed, 77]).permutation(len(origins))
    ends = np.rint(np.cumsum(shares) * len(origins)).astype(int)
    out = {}
    for place, index in enumerate(order):
        out[origins[index]] = PARTS[int(np.searchsorted(ends, place, side="right"))]
    return out


def intervals(
    origin: str, source: Source, part: str | None, bins: NDArray[np.int64], horizon_ms: int
) -> list[Interval]:
    """Return the intervals of an origin whose link has these bins (int64, ascending).

    Split by time, a part begins a window and the longest horizon after the one before it has ended.
    """
    if part is not None or source.split is None:
        return [Interval(origin, part or str(source.part), 0, EVER)]
    gap = WINDOW_BINS + horizon_ms // BIN_MS
    out, start, total = [], 0, 0.0
    for name, share in zip(PARTS, source.split.shares, strict=True):
        total += share
        at = round(total * len(bins))
        end = int(bins[at]) if at < len(bins) else EVER
        if share > 0:
            out.append(Interval(f"{origin}:{name}", name, start, end))
            start = end + gap if end < EVER else EVER
    return out


def cut(rows: LabelledRows, interval: Interval, passage: str) -> Iterator[LabelledSeries]:
    """Yield the rows of a series within an interval, if they are a window at least."""
    begin, end = np.searchsorted(rows.bin_number, [interval.start, interval.end])
    if end - begin < WINDOW_BINS:
        return
    device = f"#device{rows.series}" if rows.series else "#link"
    at = slice(int(begin), int(end))
    yield LabelledSeries(
        rows.x[at], rows.delay_ms[at], rows.now_ms[at], f"{interval.origin}@{passage}{device}", interval.origin,
        interval.part, int(rows.bin_number[at.start] + 1) * BIN_NS, rows.rtt_ms[at],
    )  # fmt: skip
