"""The part of an episode that reacts: its state, bin by bin, and all packets that came of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.decision.site import Link
from offramp.stream.arena.network import Flows, Journeys, Queues
from offramp.stream.arena.plans import Plan, owner_of
from offramp.stream.arena.reacting import Log, World, finish, new_log, react, reset, schedule
from offramp.stream.arena.requests import tasks_of
from offramp.stream.arena.scenario import Scenario
from offramp.stream.arena.senders.events import EVENT_WIDTH, MARGIN, new_events, new_outbox, roomier
from offramp.stream.arena.senders.tasks import Tasks
from offramp.stream.arena.senders.video import MODULUS
from offramp.stream.arena.traffic import Arrivals
from offramp.stream.bins.packets import Packets


class Sent(NamedTuple):
    """Packets, in order of time; flow, place: int64 [n] of each; delay_ms: float64 [n], NaN where lost."""

    packets: Packets
    flow: NDArray[np.int64]
    place: NDArray[np.int64]
    delay_ms: NDArray[np.float64]


class ClosedLoop:
    """What reacts in one episode.

    answers: bool [places] whether a place answers itself; loss: float64 [places], share lost at random.
    """

    def __init__(
        self, plan: Plan, tasks: Tasks, arrivals: Arrivals, answers: NDArray[np.bool_], loss: NDArray[np.float64],
        seed: int,
    ) -> None:  # fmt: skip
        luck = np.random.default_rng([seed, 4]).integers(1, MODULUS, 1)
        self.arrivals = arrivals
        self.world = World(
            new_events(), new_outbox(), new_log(), plan.tcp, plan.cameras, tasks, owner_of(plan), answers, loss, luck,
            np.zeros(EVENT_WIDTH, np.int64),
        )  # fmt: skip
        schedule(self.world.events, plan.begins)
        self._bin: list[Log] = []
        self._all: list[Log] = []

    def serve(
        self, queues: Queues, flows: Flows, journeys: Journeys, begin: int, end_ns: int, peak_ms: NDArray[np.float64],
        smooth: float,
    ) -> int:  # fmt: skip
        """Do what network.serve does, and let all that reacts happen until then."""
        peak_ms[:] = 0.0
        packets, at, done = self.arrivals.packets, begin, False
        self._bin = []
        while not done:
            at = react(
                queues, flows, journeys, packets.time_ns, packets.size, self.arrivals.flow, at, end_ns, peak_ms,
                self.world,
            )  # fmt: skip
            done = self._make_room()
        self._all += self._bin
        finish(flows, smooth)
        return at

    def _make_room(self) -> bool:
        """Take what was sent out of the log, widen the heap where it is full; return whether neither was in the way."""
        log, events = self.world.log, self.world.events
        used, full = int(log.used[0]), len(events.heap) - int(events.used[0]) <= MARGIN
        if used:
            self._bin.append(Log._make(column[:used].copy() for column in log))
        if full:
            self.world = self.world._replace(events=roomier(events))
        log.used[0] = 0
        return len(log.size) - used > MARGIN and not full

    def reset(self, flow: int, at_ns: int) -> None:
        """Break the connection that a flow is of, either way, at a time to come: its sender begins anew in a second.

        Nothing comes of flows that are of no TCP sender, or of a connection that has ended.
        """
        if int(self.world.events.used[0]) + MARGIN >= len(self.world.events.heap):
            self.world = self.world._replace(events=roomier(self.world.events))
        reset(self.world, flow, at_ns)

    def of_bin(self, journeys: Journeys, begin: int, end: int) -> Sent:
        """Return the packets of the last bin; begin, end: those of the open loop."""
        return self._together(self._bin, journeys, begin, end)

    def of_episode(self, journeys: Journeys) -> Sent:
        """Return all packets."""
        return self._together(self._all, journeys, 0, len(self.arrivals.flow))

    def _together(self, logs: list[Log], journeys: Journeys, begin: int, end: int) -> Sent:
        """Return packets of the open loop and of senders; one whose task was computed in the device was not sent."""
        sent = np.flatnonzero(journeys.place[begin:end] >= 0) + begin
        opened = Packets._make(column[sent] for column in self.arrivals.packets)
        flow = [self.arrivals.flow[sent], *(log.flow for log in logs)]
        parts = [opened, *map(self._packets, logs)]
        packets = Packets._make(np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.argsort(packets.time_ns, kind="stable")
        place = np.concatenate([journeys.place[sent], *(log.place for log in logs)])
        delay_ms = np.concatenate([journeys.delay_ms[sent], *(log.delay_ms for log in logs)])
        return Sent(
            Packets._make(column[order] for column in packets), np.concatenate(flow)[order], place[order],
            delay_ms[order],
        )  # fmt: skip

    def _packets(self, log: Log) -> Packets:
        """Return what a tap sees of the packets that senders sent."""
        key = self.arrivals.key[log.flow]
        return Packets(
            log.time_ns, log.size, key[:, :4], key[:, 4], key[:, 5], log.marks, np.full(len(log.size), np.nan)
        )


def closed_loop(scenario: Scenario, link: Link, arrivals: Arrivals, plan: Plan, seed: int) -> ClosedLoop | None:
    """Return what reacts in an episode; None where nothing does and nothing is lost at random."""
    loss = scenario.network.loss
    if not plan.rows.down and not loss:
        return None
    ways, nodes = 1 + len(link.paths), len(link.nodes)
    answers = np.arange(ways + nodes) >= ways
    lost = np.where(np.arange(ways + nodes) == 0, loss, 0.0)
    return ClosedLoop(plan, tasks_of(scenario, link, arrivals, plan.users), arrivals, answers, lost, seed)
