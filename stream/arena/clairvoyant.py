"""The bound: who knows every packet to come, and moves the flow that helps most, again and again.

Every 50 ms, of the flows with the most bytes within its horizon, the one whose move to another place lowers the sum of
the delays most, by more than its price, is moved; up to three times. It is greedy, so the optimum may lie below it, and
looks no further than its horizon: an episode is played with several, as a near one fills paths that are full for long
after, and a far one does not see bursts. What counts is the best of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offramp.stream.arena.executor import FLAP_NS, Counts
from offramp.stream.arena.network.flows import ANY, BEGAN, FOR_GOOD, NEVER, Flows, foresee
from offramp.stream.arena.network.queues import ADDRESS, Queues
from offramp.stream.arena.traffic import Arrivals
from offramp.stream.channels import BIN_NS

EVERY_NS = 5 * BIN_NS
"""From one look ahead to the next."""
VISITS_NS = (50_000_000, 100_000_000, FOR_GOOD // 2)
"""How long a flow is thought to stay where it goes: what fills a buffer and comes back is worth more than it seems."""
ROUNDS, CANDIDATES = 3, 8
"""Moves at most of a look, and flows that are tried for each."""


@dataclass
class Clairvoyant:
    """Steers flows by what is to come.

    price: what a move must save, ms; command_ns: from the end of a bin until a move is carried out; reached: the places
    that each link's flows can take, the link itself first.
    """

    arrivals: Arrivals
    queues: Queues
    flows: Flows
    price: float
    horizon_ms: float
    command_ns: int
    lost_ms: float
    counts: Counts
    reached: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        self._returned_ns = np.full(len(self.flows.place), -FLAP_NS, np.int64)
        self._breaks = bool((self.queues.traits[:, ADDRESS] != 0).any())
        self._first_ns = np.zeros(len(self.flows.place), np.int64)
        self._first_ns[self.arrivals.flow[::-1]] = self.arrivals.packets.time_ns[::-1]  # the last written is the first

    def steer(self, begin: int, end_ns: int) -> None:
        """Move what helps; begin: the first packet that has not been sent by the end of the bin."""
        if end_ns % EVERY_NS:
            return
        packets, flow = self.arrivals.packets, self.arrivals.flow
        due_ns = end_ns + self.command_ns
        until_ns = due_ns + int(self.horizon_ms * 1e6)
        last = int(np.searchsorted(packets.time_ns, until_ns))
        if last <= begin:
            return
        ahead = np.bincount(flow[begin:last], packets.size[begin:last], len(self.flows.place))
        best = self._cost(begin, until_ns, NEVER, 0, due_ns, FOR_GOOD)
        for _ in range(ROUNDS):
            free = np.where(self.flows.due_ns == NEVER, ahead, 0.0)
            heaviest = np.argsort(-free, kind="stable")[:CANDIDATES]
            tried = [
                (self._cost(begin, until_ns, int(which), place, due_ns, due_ns + visit), int(which), place)
                for which in heaviest if free[which] > 0
                for place in self.reached[self.arrivals.link[which]]
                for visit in VISITS_NS
                if place != self.flows.place[which] and self._stays_whole(int(which), place, due_ns)
            ]  # fmt: skip
            cost, which, place = min(tried, default=(best, NEVER, 0))
            if cost >= best - self.price:
                return
            best = cost
            self._move(which, place, end_ns, due_ns)

    def _stays_whole(self, which: int, place: int, due_ns: int) -> bool:
        """Return whether a flow can go to a place and does not break: the bound breaks none."""
        if not self._breaks:
            return True
        began = self.flows.connection[which, BEGAN]
        if began == NEVER and self._first_ns[which] < due_ns:
            began = self.queues.traits[self.flows.place[which], ADDRESS]
        return bool(began in (NEVER, ANY) or began == self.queues.traits[place, ADDRESS])

    def _cost(self, begin: int, until_ns: int, moved: int, to: int, due_ns: int, back_ns: int) -> float:
        """Return the sum of the delays until then, ms."""
        packets = self.arrivals.packets
        copy = self.queues._replace(work=self.queues.work.copy(), hint=self.queues.hint.copy())
        return float(
            foresee(
                copy, self.flows, packets.time_ns, packets.size, self.arrivals.flow, begin, until_ns, self.lost_ms,
                moved, to, due_ns, back_ns,
            )
        )  # fmt: skip

    def _move(self, which: int, place: int, now_ns: int, due_ns: int) -> None:
        self.flows.following[which], self.flows.due_ns[which] = place, due_ns
        if place == self.arrivals.link[which]:
            self.counts.returned += 1
            self._returned_ns[which] = now_ns
        else:
            self.counts.moved += 1
            self.counts.flaps += int(now_ns - self._returned_ns[which] < FLAP_NS)
