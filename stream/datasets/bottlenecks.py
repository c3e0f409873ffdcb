"""The capacities that a specification lets arrivals pass: fixed, by load, or served by a cellular trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from offramp.stream.bins.packets import Packets
from offramp.stream.bins.state import LinkConfig
from offramp.stream.bins.virtual_queue import read_trace
from offramp.stream.datasets.arrivals import Arrivals, one_file
from offramp.stream.datasets.labelling import Bottleneck
from offramp.stream.datasets.spec import Capacity, Source
from offramp.stream.datasets.trace_queue import Service

MIN_BPS = 8_000.0
SLOT_NS = 100_000_000


def offered_bps(packets: Packets, of: str) -> float:
    """Return the rate of arrivals in bit/s: their mean, or the 95th percentile of slots of 100 ms that have any."""
    start = int(packets.time_ns.min())
    if of == "mean":
        return float(packets.size.sum()) * 8e9 / max(int(packets.time_ns.max()) - start, SLOT_NS)
    _, index = np.unique((packets.time_ns - start) // SLOT_NS, return_inverse=True)
    return float(np.percentile(np.bincount(index, weights=packets.size), 95)) * 8e9 / SLOT_NS


def bottlenecks(
    arrivals: Arrivals, source: Source, here: Path, root: Path | None
) -> list[tuple[Bottleneck, tuple[str, ...]]]:
    """Return what the arrivals of a source pass, and the parts that see it."""
    if arrivals.config is not None:
        return [(Bottleneck("own", arrivals.config), ("train", "validation", "test"))]
    networks = tuple(str(network) for network in source.networks)
    out: list[tuple[Bottleneck, tuple[str, ...]]] = []
    for capacity in source.capacity:
        for load in capacity.loads or (None,):
            offered = offered_bps(arrivals.packets, capacity.of) if load else 0.0
            if capacity.trace:
                bottleneck = _served(capacity, source, load and offered / load, networks, here, root)
                name = f"{Path(capacity.trace).name}{'' if load is None else f'-{load:g}'}"
            else:
                rate = offered / load if load else float(capacity.rate or 0)
                bottleneck = Bottleneck("", _shape(capacity, rate, capacity.rate_down or rate, networks))
                name = f"{load:g}" if load else f"{rate / 1e6:g}Mbit"
            out.append((bottleneck._replace(name=name), tuple(capacity.parts)))
    return out


def _shape(capacity: Capacity, up_bps: float, down_bps: float, networks: tuple[str, ...]) -> LinkConfig:
    up, down = max(up_bps, MIN_BPS), max(down_bps, MIN_BPS)
    buffer: float | None = capacity.buffer_bytes
    if buffer is None and capacity.buffer_ms is not None:
        buffer = up / 8e3 * capacity.buffer_ms
    return LinkConfig(up, down, buffer, networks)


def _served(
    capacity: Capacity, source: Source, rate: float | None, networks: tuple[str, ...], here: Path, root: Path | None
) -> Bottleneck:
    """Return a passage over traces as they are, or with opportunities of as many bytes as give the mean `rate`."""
    up, down = (
        Service(read_trace(one_file(source, name, here, root)))
        for name in (capacity.trace or "", capacity.trace_down or capacity.trace or "")
    )
    if rate is not None:
        up, down = (
            Service(side.trace_ns, side.opportunity_bytes * max(rate, MIN_BPS) / side.mean_bps) for side in (up, down)
        )
    return Bottleneck("", _shape(capacity, up.mean_bps, down.mean_bps, networks), (up, down))
