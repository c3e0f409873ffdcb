"""The queue of a link whose capacity follows a trace, bin by bin, using nothing known later than a bin's end.

At a fixed capacity a packet's wait is known when it arrives; over a cellular trace, when the packet has left. So the
delay of a bin is what a switch measures: the longest time in the queue of the packets that left within the bin, or the
age of the oldest one still waiting at its end, whichever is longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.stream.bins.bins import network_table
from offramp.stream.bins.packets import Packets
from offramp.stream.bins.virtual_queue import NS_PER_MS, OPPORTUNITY_BYTES, virtual_delays_ms
from offramp.stream.channels import BIN_NS


@dataclass(frozen=True, slots=True)
class Service:
    """A trace that serves a direction: opportunities (int64 ns, `virtual_queue.read_trace`) and the bytes of each."""

    trace_ns: NDArray[np.int64]
    opportunity_bytes: float = OPPORTUNITY_BYTES

    @property
    def mean_bps(self) -> float:
        """Mean capacity of the trace's period."""
        return len(self.trace_ns) * self.opportunity_bytes * 8e9 / float(self.trace_ns[-1])


class QueueBins(NamedTuple):
    """A queue by bins, float64 [T] each: bytes waiting at the end, largest delay in ms, packets dropped."""

    backlog_bytes: NDArray[np.float64]
    delay_ms: NDArray[np.float64]
    dropped: NDArray[np.float64]


def queue_bins(
    time_ns: NDArray[np.int64],
    size: NDArray[np.int64],
    service: Service,
    buffer_bytes: float | None,
    bins: NDArray[np.int64],
) -> QueueBins:
    """Return the queue of packets (int64 [n], by arrival) in each of `bins` (int64 [T], ascending numbers)."""
    delay = virtual_delays_ms(
        time_ns, size, trace_ns=service.trace_ns, opportunity_bytes=service.opportunity_bytes, buffer_bytes=buffer_bytes
    )
    arrival = np.maximum.accumulate(time_ns) if len(time_ns) else time_ns
    end = (bins + 1) * BIN_NS
    lost = np.concatenate([[0], np.cumsum(np.isnan(delay))])
    dropped = np.diff(lost[np.searchsorted(arrival, np.stack([end - BIN_NS, end]))], axis=0)[0]
    kept = ~np.isnan(delay)
    came, waited = arrival[kept], delay[kept]
    left = came + np.rint(waited * NS_PER_MS).astype(np.int64)
    total = np.concatenate([[0], np.cumsum(size[kept])])
    gone, present = np.searchsorted(left, end), np.searchsorted(came, end)  # before the bin's end, which is the next's
    oldest = np.append(came, np.iinfo(np.int64).max)[gone]
    largest = np.maximum((end - oldest) / NS_PER_MS, 0.0)
    leaving = np.searchsorted(end, left, side="right")  # the first bin that ends later
    inside = leaving < len(end)
    inside[inside] = left[inside] >= end[leaving[inside]] - BIN_NS
    np.maximum.at(largest, leaving[inside], waited[inside])
    return QueueBins((total[present] - total[gone]).astype(np.float64), largest, dropped.astype(np.float64))


def goes_down(packets: Packets, networks: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return which packets go towards the devices, as `bins.bins` does: into the networks, from outside of them."""
    if not networks:
        return np.zeros(len(packets.time_ns), np.bool_)
    table = network_table(networks)

    def inside(at: int) -> NDArray[np.bool_]:
        high, low = packets.address[:, at, None], packets.address[:, at + 1, None]
        hit = ((high & table[:, 2]) == table[:, 0]) & ((low & table[:, 3]) == table[:, 1])
        found: NDArray[np.bool_] = hit.any(axis=1)
        return found

    return ~inside(0) & inside(2)
