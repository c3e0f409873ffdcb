"""The part of an episode that reacts: its state, bin by bin, and all packets that came of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.decision.site import Site
from offramp.stream.arena.network import Flows
from offramp.stream.arena.places import numbers_of
from offramp.stream.arena.plans import Plan, owner_of
from offramp.stream.arena.queues import CLASSES, NOBODY, Journeys, Queues, send_rest
from offramp.stream.arena.reacting import World, finish, longer, new_log, react, schedule
from offramp.stream.arena.requests import tasks_of
from offramp.stream.arena.scenario import Scenario
from offramp.stream.arena.senders.events import EVENT_WIDTH, MARGIN, PACKET_WIDTH, new_events, new_outbox, roomier
from offramp.stream.arena.senders.video import MODULUS
from offramp.stream.arena.traffic import PORTS, PROTOCOL, Arrivals
from offramp.stream.bins.packets import Packets


class Sent(NamedTuple):
    """Packets, in order of time; flow, place: int64 [n] of each; delay_ms: float64 [n], NaN where lost."""

    packets: Packets
    flow: NDArray[np.int64]
    place: NDArray[np.int64]
    delay_ms: NDArray[np.float64]


class ClosedLoop:
    """What reacts in one episode; site: as it is enforced."""

    def __init__(
        self, scenario: Scenario, site: Site, arrivals: Arrivals, plan: Plan, queues: Queues, seed: int
    ) -> None:
        numbers = numbers_of(site)
        nodes = {node.name for link in site.links for node in link.nodes}
        shape = len(numbers), 2
        self.arrivals, self.queues = arrivals, queues
        self.world = World(
            new_events(), new_outbox(), new_log(4 * MARGIN, classed=bool((queues.traits[:, CLASSES] > 1).any())),
            plan.tcp, plan.cameras, tasks_of(scenario, site, arrivals, plan.users), owner_of(plan),
            np.array([name in nodes for name in numbers]),
            np.where(np.arange(len(numbers)) < len(site.links), scenario.network.loss, 0.0),
            np.random.default_rng([seed, 4]).integers(1, MODULUS, 1), np.full(shape, NOBODY),
            np.zeros(shape, np.int64), np.zeros(EVENT_WIDTH, np.int64), np.zeros(PACKET_WIDTH, np.int64),
        )  # fmt: skip
        schedule(self.world.events, plan.begins)
        self._bin = 0

    def serve(self, flows: Flows, begin: int, end_ns: int, peak_ms: NDArray[np.float64], smooth: float) -> int:
        """Do what network.serve does, and let all that reacts happen until then."""
        peak_ms[:] = 0.0
        packets, at, done = self.arrivals.packets, begin, False
        self._bin = int(self.world.log.used[0])
        while not done:
            at = react(
                self.queues, flows, packets.time_ns, packets.size, packets.marks, self.arrivals.flow, at, end_ns,
                peak_ms, self.world,
            )  # fmt: skip
            done = not self._make_room()
        finish(flows, smooth)
        return at

    def _make_room(self) -> bool:
        """Widen heap and log where they were in the way, and return whether they were."""
        log, events = self.world.log, self.world.events
        narrow, short = len(events.heap) - events.used[0] <= MARGIN, len(log.size) - log.used[0] <= MARGIN
        if narrow:
            self.world = self.world._replace(events=roomier(events))
        if short:
            self.world = self.world._replace(log=longer(log))
        return bool(narrow or short)

    def of_bin(self) -> Sent:
        """Return the packets of the last bin."""
        return self._part(self._bin)

    def of_episode(self) -> Sent:
        """Return all packets, those that still wait in a lower class sent."""
        log = self.world.log
        send_rest(self.queues, Journeys(log.delay_ms, log.place, log.turn, log.behind), log.time_ns, log.size)
        return self._part(0)

    def _part(self, begin: int) -> Sent:
        log, key = self.world.log, self.arrivals.key
        part = slice(begin, int(log.used[0]))
        flow, opened = log.flow[part], log.opened[part]
        rtt_ms = np.full(len(flow), np.nan)
        rtt_ms[opened >= 0] = self.arrivals.packets.rtt_ms[opened[opened >= 0]]
        packets = Packets(
            log.time_ns[part], log.size[part], key[flow, :4], key[flow, PROTOCOL], key[flow, PORTS], log.marks[part],
            rtt_ms,
        )  # fmt: skip
        return Sent(packets, flow, log.place[part], log.delay_ms[part])


def closed_loop(
    scenario: Scenario, site: Site, arrivals: Arrivals, plan: Plan, queues: Queues, seed: int
) -> ClosedLoop | None:
    """Return what reacts in an episode; None where nothing does, and nothing is lost at random."""
    if not plan.rows.down and not scenario.network.loss:
        return None
    return ClosedLoop(scenario, site, arrivals, plan, queues, seed)
