"""What a switch's counters tell of places at the end of a bin: what waits, and the capacity, measured where it varies.

Where a place follows a trace or has outages nobody is told its capacity: it is measured by what leaves while something
waits. While nothing does it is taken to come back to the nominal one. To see what that is worth, the nominal capacity
may be told instead, or the one that a trace will have.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offramp.stream.arena.network.queues import Queues, note
from offramp.stream.channels import BIN_NS

MEASURED = 0.1
"""Weight of a bin in a measured capacity: a time constant of 0.1 s, within which the capacity of a cell changes."""
FORGOTTEN = 0.01
"""Share of the way back to the nominal capacity in a bin in which nothing waits: 1 s."""
LEAST = 0.01
"""Share of the nominal capacity that a place is taken to have at least: one in an outage would wait for ever."""


KNOWN_NS = 200_000_000
"""How far a capacity is known, where it is: as far as the even pace of an optimiser reckons."""


class Counters:
    """Reads the counters of all places; [P, 2] each by place and direction.

    told: what of a capacity that varies, `measured`, `nominal` or `known`.
    """

    def __init__(self, queues: Queues, told: str = "measured") -> None:
        self._queues, self._told = queues, told
        self._nominal = self.capacity_bps = queues.rate * 8e9
        self.varies = bool((queues.entries > 0).any())
        self._waits, self._sent = np.zeros_like(queues.rate), np.zeros_like(queues.rate)
        self._read_ns = 0

    def read(self, now_ns: int) -> None:
        """Read them at the end of a bin; once a bin where capacities vary."""
        if now_ns == self._read_ns:
            return
        before, sent = self._waits.copy(), self._sent.copy()
        note(self._queues, now_ns, self._waits, self._sent)
        if self.varies and self._told == "known":
            self.capacity_bps = self._known(now_ns)
        elif self.varies and self._told == "measured":
            busy = (before > 0) & (self._waits > 0)
            seen = np.where(busy, (self._sent - sent) * 8e9 / BIN_NS, self._nominal)
            seen = np.where(self._queues.entries > 0, seen, self._nominal)
            moved = self.capacity_bps + np.where(busy, MEASURED, FORGOTTEN) * (seen - self.capacity_bps)
            self.capacity_bps = np.maximum(moved, LEAST * self._nominal)
        self._read_ns = now_ns

    def _known(self, now_ns: int) -> NDArray[np.float64]:
        """Return what the places that follow a trace will send in the next moments, as bit/s; of others the nominal."""
        found = self._nominal.copy()
        for place, side in np.argwhere(self._queues.grant > 0).tolist():
            first, count = int(self._queues.first[place, side]), int(self._queues.entries[place, side])
            times = self._queues.schedule_ns[first : first + count]
            begin, end = np.searchsorted(times, [now_ns, now_ns + KNOWN_NS])
            found[place, side] = (end - begin) * self._queues.grant[place, side] * 8e9 / KNOWN_NS
        return np.maximum(found, LEAST * self._nominal)

    def of(self, place: int) -> tuple[list[float], list[float]]:
        """Return the capacity of a place, bit/s, and what waits there, ms, up and down each."""
        capacity = self.capacity_bps[place]
        return capacity.tolist(), (self._waits[place] * 8e3 / capacity).tolist()
