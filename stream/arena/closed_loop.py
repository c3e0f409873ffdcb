"""The part of an episode that reacts: who transfers what and when, its state bin by bin, all packets that came of it.

Who it is is drawn before, sizes and pauses by the seed alone, so that every policy meets the same users.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.decision.site import Site
from offramp.stream.arena.network.flows import Flows
from offramp.stream.arena.network.queues import CLASSES, NOBODY, Journeys, Queues, send_rest
from offramp.stream.arena.places import numbers_of
from offramp.stream.arena.reacting import World, finish, longer, new_log, react, schedule
from offramp.stream.arena.requests import User, askers, tasks_of
from offramp.stream.arena.scenario import SENDERS, Scenario, TrafficSource
from offramp.stream.arena.senders import video
from offramp.stream.arena.senders.events import (
    EVENT_WIDTH,
    FRAME,
    MARGIN,
    PACKET_WIDTH,
    START,
    new_events,
    new_outbox,
    roomier,
)
from offramp.stream.arena.senders.tcp_state import Tcp, new_tcp
from offramp.stream.arena.traffic import OUTSIDE, PORTS, PROTOCOL, Arrivals, inside_of, made
from offramp.stream.bins.packets import TCP, UDP, Packets
from offramp.stream.datasets.synthetic import Rng, rounded

WEB_PORT, VIDEO_PORT = 443, 5006
FIRST_PORT, PORT_COUNT = 10_000, 30_000
"""Of devices, below those of the open loop's models."""
ENDLESS = 1 << 44
"""Bytes of tcp_long: more than a day of the fastest port's."""
MOST_JOBS = 2_000
"""Transfers of one user at most."""
PAGE_SIGMA = 1.0
"""Of the lognormal distribution of pages, as of the open loop's trains."""


class Rows:
    """Rows of flows behind those of the open loop: address, protocol and ports, direction, link and class of each."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.keys: list[tuple[int, ...]] = []
        self.down: list[bool] = []
        self.link: list[int] = []
        self.kind: list[int] = []

    @property
    def following(self) -> int:
        """The number of the next row."""
        return self.first + len(self.down)

    def add_pair(self, link: int, kind: int, device: int, protocol: int, far_port: int) -> int:
        """Add a flow up and its answers down; return the number of the first."""
        inside, near_port = inside_of(link, device), FIRST_PORT + len(self.down) // 2 % PORT_COUNT
        self.keys.append((0, inside, 0, OUTSIDE, protocol, near_port << 16 | far_port))
        self.keys.append((0, OUTSIDE, 0, inside, protocol, far_port << 16 | near_port))
        self.down += [False, True]
        self.link += [link, link]
        self.kind += [kind, kind]
        return self.following - 2

    def add_answers(self, link: int, kind: int, key: NDArray[np.int64]) -> int:
        """Add the answers to a flow; return its number."""
        ports = int(key[5])
        ends = *key[2:4].tolist(), *key[:2].tolist(), int(key[4])
        self.keys.append((*ends, (ports & 0xFFFF) << 16 | ports >> 16))
        self.down.append(True)
        self.link.append(link)
        self.kind.append(kind)
        return self.following - 1


class Plan(NamedTuple):
    """What reacts.

    begins: int64 [n, 3] when a sender begins (ns), by which event, which it is; rows: those of the flows; users: who
    makes requests.
    """

    tcp: Tcp
    cameras: Any
    begins: NDArray[np.int64]
    rows: Rows
    users: list[User]


def plan_of(scenario: Scenario, seed: int, arrivals: Arrivals) -> Plan:
    """Draw who does what."""
    rng = np.random.default_rng([seed, sum(scenario.name.encode()), 3])
    rows, end_ns = Rows(len(arrivals.down)), int(scenario.seconds * 1e9)
    senders: list[dict[str, int]] = []
    jobs: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    cameras: list[dict[str, Any]] = []
    begins: list[tuple[int, int, int]] = []
    for number, _, device in made(scenario):
        source = scenario.traffic[number]
        if source.model not in SENDERS:
            continue
        link, kind = scenario.link_number(source), arrivals.classes.index(source.name)
        begin_ns = int((source.start_s + rng.uniform(0, 1)) * 1e9)
        first = rows.following
        if source.model == "video":
            begins.append((begin_ns, FRAME, len(cameras)))
            most_bps = scenario.site.links[link].capacity_bps * arrivals.scale * source.share
            cameras.append(_camera(source, rows.add_pair(link, kind, device, UDP, VIDEO_PORT), most_bps, end_ns, rng))
        else:
            begins.append((begin_ns, START, len(senders)))
            bytes_, pause_ns = jobs_of(source, scenario.seconds, rng)
            senders.append({
                "first_row": first, "first_job": sum(len(each[0]) for each in jobs),
                "jobs": len(bytes_), "down": int(source.direction == "down"), "far_ns": int(source.rtt_ms * 1e6),
            })  # fmt: skip
            jobs.append((bytes_, pause_ns))
            for _ in range(len(bytes_)):
                rows.add_pair(link, kind, device, TCP, WEB_PORT)
    users = [
        User(at, row, rows.add_answers(int(arrivals.link[row]), int(arrivals.kind[row]), arrivals.key[row]))
        for at, row in askers(scenario, arrivals)
    ]
    none = np.empty(0, np.int64)
    tcp = new_tcp(
        len(senders), np.concatenate([none, *(each[0] for each in jobs)]),
        np.concatenate([none, *(each[1] for each in jobs)]),
    )  # fmt: skip
    _fill(tcp.each, senders)
    found = video.new_cameras(len(cameras))
    _fill(found, cameras)
    return Plan(tcp, found, np.array(begins, np.int64).reshape(-1, 3), rows, users)


def _fill(records: Any, values: list[dict[str, Any]]) -> None:
    """Write who each is into its record."""
    for record, each in zip(records, values, strict=True):
        for name, value in each.items():
            record[name] = value


def jobs_of(source: TrafficSource, seconds: float, rng: Rng) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the bytes of each transfer of a user and the pauses before, ns: as many as an episode could have."""
    if source.model == "tcp_long":
        return np.array([ENDLESS], np.int64), np.zeros(1, np.int64)
    pause_s = rounded(rng.exponential(source.pause_s, MOST_JOBS)) if source.pause_s else np.zeros(MOST_JOBS)
    least_s = np.cumsum(pause_s + source.rtt_ms / 1e3)  # a handshake at least
    count = min(int(np.searchsorted(least_s, seconds)) + 1, MOST_JOBS)
    sizes = np.full(MOST_JOBS, float(source.size_bytes))
    if source.model == "tcp_pages":
        sizes *= rounded(rng.lognormal(-(PAGE_SIGMA**2) / 2, PAGE_SIGMA, MOST_JOBS))
    return np.maximum(sizes[:count], 1).astype(np.int64), (pause_s[:count] * 1e9).astype(np.int64)


def _camera(source: TrafficSource, pair: int, most_bps: float, end_ns: int, rng: Rng) -> dict[str, Any]:
    """Return who a sender of video is."""
    down, far_ns = source.direction == "down", int(source.rtt_ms * 1e6)
    most = min(max(most_bps, video.LAYERS_BPS[0]), video.LAYERS_BPS[-1])
    return {
        "row": pair + down, "back": pair + 1 - down, "far_ns": 0 if down else far_ns, "back_ns": far_ns if down else 0,
        "most_bps": most, "target_bps": min(video.FIRST_BPS, most), "end_ns": end_ns,
        "luck": int(rng.integers(1, video.MODULUS)),
    }  # fmt: skip


def extended(arrivals: Arrivals, plan: Plan) -> Arrivals:
    """Return the arrivals with the flows of what reacts behind those of the open loop."""
    if not plan.rows.down:
        return arrivals
    rows = plan.rows
    key = np.concatenate([arrivals.key.reshape(-1, 6), np.array(rows.keys, np.int64)])
    down, link = np.concatenate([arrivals.down, rows.down]), np.concatenate([arrivals.link, rows.link])
    return arrivals._replace(key=key, down=down, link=link, kind=np.concatenate([arrivals.kind, rows.kind]))


def owner_of(plan: Plan) -> NDArray[np.int64]:
    """Return which TCP sender each flow is of, int64 [flows], or -1."""
    owner = np.full(plan.rows.following, -1, np.int64)
    for which, sender in enumerate(plan.tcp.each):
        owner[sender.first_row : sender.first_row + 2 * sender.jobs] = which
    return owner


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
            np.random.default_rng([seed, 4]).integers(1, video.MODULUS, 1), np.full(shape, NOBODY),
            np.zeros(shape, np.int64), np.zeros(EVENT_WIDTH, np.int64), np.zeros(PACKET_WIDTH, np.int64),
        )  # fmt: skip
        schedule(self.world.events, plan.begins)
        self._bin = 0

    def serve(self, flows: Flows, begin: int, end_ns: int, peak_ms: NDArray[np.float64], smooth: float) -> int:
        """Do what flows.serve does, and let all that reacts happen until then."""
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
    scenario: Scenario, site: Site, arrivals: Arrivals, plan: Plan | None, queues: Queues, seed: int
) -> ClosedLoop | None:
    """Return what reacts in an episode; None where nothing does, and nothing is lost at random."""
    if plan is None or not (plan.rows.down or scenario.network.loss):
        return None
    return ClosedLoop(scenario, site, arrivals, plan, queues, seed)
