"""Training data: arrivals through bins and the virtual queue to normalised sequences with delay targets.

The same bins, normaliser and spectra as the stream's; the target of a bin is the largest virtual delay within the
horizon after it. Captures are seen through several capacities, so that one capture teaches quiet and busy links.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp_errors import InputError
from stream.bins import Bins, LinkShape
from stream.channels import BIN_MS, WINDOW_BINS
from stream.normaliser import Normaliser, scaled
from stream.packets import IPV4_MAPPED, UDP, Packets, part_of
from stream.stft import Spectra
from stream.synthetic import synthetic_packets
from stream.virtual_queue import delay_targets

if TYPE_CHECKING:
    from inference.sequences import TrainingSequence

HORIZON_MS = 500
BLOCK = 65_536


class RawSequence(NamedTuple):
    """One unbroken series of bins before normalising: x float32 [T, F], delay_ms float32 [T] targets, its source."""

    x: NDArray[np.float32]
    delay_ms: NDArray[np.float32]
    source: str


def sequences_from_packets(
    packets: Packets, shape: LinkShape, source: str, *, horizon_ms: int = HORIZON_MS, devices: int = 2
) -> list[RawSequence]:
    """Return the link's series and those of its `devices` busiest devices, cut where they begin anew.

    A device's target is its link's. Series shorter than a window are left out.
    """
    rows = closed_rows(packets, shape)
    link = rows["series"] == 0
    bins, delays = rows["bin_number"][link], rows["delay_ms"][link]
    targets = np.full(len(bins), np.nan, np.float32)
    starts = np.flatnonzero(rows["fresh"][link])
    for start, end in zip(starts, [*starts[1:], len(bins)], strict=True):
        known_end = bool(end < len(bins))
        targets[start:end] = delay_targets(delays[start:end], horizon_ms // BIN_MS, known_end=known_end)
    out = []
    for series in [0, *busiest(rows, devices)]:
        own = np.flatnonzero(rows["series"] == series)
        begins = np.flatnonzero(rows["fresh"][own])
        name = source if series == 0 else f"{source}#device{series}"
        for begin, end in zip(begins, [*begins[1:], len(own)], strict=True):
            part = own[begin:end]
            if len(part) >= WINDOW_BINS:
                at = np.searchsorted(bins, rows["bin_number"][part])
                out.append(RawSequence(rows["x"][part], targets[at], name))
    return out


def closed_rows(packets: Packets, shape: LinkShape) -> dict[str, NDArray[Any]]:
    """Return all closed bins of link and devices as arrays; delay_ms is the largest of each bin."""
    bins = Bins(shape)
    parts: dict[str, list[NDArray[Any]]] = {
        name: [] for name in ("bin_number", "series", "fresh", "x", "delay_ms", "rate_bps")
    }

    def keep(closed: Iterable[object]) -> None:
        for chunk in closed:
            for name, column in parts.items():
                array = getattr(chunk, name)
                column.append(array[:, 1].copy() if name == "delay_ms" else array.copy())

    for start in range(0, len(packets.time_ns), BLOCK):
        keep(bins.update(part_of(packets, start, start + BLOCK)))
    keep(bins.close())
    return {name: np.concatenate(column) if column else np.empty(0) for name, column in parts.items()}


def busiest(rows: dict[str, NDArray[Any]], devices: int) -> list[int]:
    """Return the series numbers of the devices that carried most."""
    if not len(rows["series"]):
        return []
    total = np.bincount(rows["series"].astype(np.int64), weights=rows["rate_bps"].astype(np.float64))
    order = 1 + np.argsort(-total[1:], kind="stable")[:devices]
    return [int(series) for series in order if total[series] > 0]


def fit_normaliser(raw: Iterable[RawSequence]) -> Normaliser | None:
    """Learn the scale of sequences; None where there are none."""
    out: Normaliser | None = None
    for sequence in raw:
        out = out or Normaliser(sequence.x.shape[1])
        out.update(sequence.x)
    return out


def training_sequences(
    raw: Sequence[RawSequence], normaliser: Normaliser | None = None
) -> tuple[list[TrainingSequence], dict[str, NDArray[Any]]]:
    """Return sequences as the model takes them, and the normaliser's state (fitted to them unless given).

    Raises InputError where there is nothing to learn from.
    """
    from inference.sequences import TrainingSequence

    normaliser = normaliser or fit_normaliser(raw)
    if normaliser is None:
        raise InputError(
            f"no training data: no series of {WINDOW_BINS} bins ({WINDOW_BINS * BIN_MS} ms) was found; "
            "give longer captures"
        )
    mean, low, high = normaliser.limits()
    out = []
    for sequence in raw:
        x = scaled(sequence.x, mean, low, high)
        fresh = np.zeros(len(x), np.uint8)
        spectrum = Spectra(1).update(x, np.zeros(len(x), np.int32), fresh)
        out.append(TrainingSequence(x=x, spectrum=spectrum, delay_ms=sequence.delay_ms, source=sequence.source))
    return out, normaliser.state()


def synthetic_sequences(
    seed: int, n: int, *, seconds: float = 30.0, horizon_ms: int = HORIZON_MS, devices: int = 1
) -> list[RawSequence]:
    """Return `n` seeded synthetic links of `seconds` each: quiet devices, bursts, bulk transfers, ramps, overloads."""
    out = []
    for number in range(n):
        packets, shape = synthetic_packets(np.random.default_rng([seed, number]), seconds)
        out += sequences_from_packets(
            packets, shape, f"synthetic:{seed}:{number}", horizon_ms=horizon_ms, devices=devices
        )
    return out


def packets_from_trace(path: Path) -> Packets:
    """Read a packet-time trace, `seconds bytes` a line, as packets of one device going up.

    Raises InputError where a line is something else.
    """
    try:
        table = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a packet trace (`seconds bytes` a line): {error}") from error
    if table.shape[1] != 2 or not np.isfinite(table).all() or (table < 0).any():
        raise InputError(f"{path}: a packet trace has two columns, seconds and bytes, neither negative")
    n = len(table)
    address = np.zeros((n, 4), np.int64)
    address[:, 1], address[:, 3] = IPV4_MAPPED | 0x0A000001, IPV4_MAPPED | 0x0A000002
    time_ns = (table[:, 0] * 1e9).astype(np.int64) + 1_000_000_000_000
    ports, zeros = np.full(n, 5000 << 16 | 5000, np.int64), np.zeros(n, np.int64)
    return Packets(
        time_ns, table[:, 1].astype(np.int64), address, np.full(n, UDP, np.int64), ports, zeros, np.full(n, np.nan)
    )


LOAD_FACTORS = (0.35, 0.7, 0.95, 1.3)


def shapes_for(packets: Packets, factors: Sequence[float], networks: tuple[str, ...] = ()) -> list[LinkShape]:
    """Return links whose capacity the capture's busy load (the 95th percentile of 100 ms) fills to each factor."""
    slot = (packets.time_ns - packets.time_ns.min()) // 100_000_000
    _, index = np.unique(slot, return_inverse=True)
    busy_bps = float(np.percentile(np.bincount(index, weights=packets.size), 95)) * 80
    return [
        LinkShape(max(busy_bps / f, 8_000.0), max(busy_bps / f, 8_000.0), max(busy_bps / f / 40, 15_000.0), networks)
        for f in factors
    ]  # the buffer holds 200 ms


def sequences_from_trace(
    path: Path, *, factors: Sequence[float] = LOAD_FACTORS, horizon_ms: int = HORIZON_MS
) -> list[RawSequence]:
    """Return the sequences of a packet-time trace seen through several capacities."""
    packets = packets_from_trace(path)
    return [
        sequence
        for factor, shape in zip(factors, shapes_for(packets, factors), strict=True)
        for sequence in sequences_from_packets(packets, shape, f"{path.name}@{factor}", horizon_ms=horizon_ms)
    ]
