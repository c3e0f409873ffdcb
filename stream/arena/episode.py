"""One episode: a scenario's traffic of one seed under one policy, its commands carried out on the way.

A policy that needs a forecast meets the product itself: bins, model and policy are the objects of `offramp replay`, and
see what passes the tap. One that needs none is shown the counters of the switch: queues by direction, running rates of
all flows on whatever path, and so lacks nothing that a controller could know.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.decision.command import Command
from offramp.decision.policies.policy import Policy
from offramp.decision.policies.table import policy_of
from offramp.decision.site import BUFFER_MS, AltPath, Link, Node, Site
from offramp.decision.traffic import DeviceRate, Direction, Quality, Traffic
from offramp.inference.artifact import Artifact
from offramp.inference.forecast import BIN_NS, BINS_PER_S, Forecast
from offramp.inference.serving.predictor import Predictor
from offramp.stream.arena.clairvoyant import Clairvoyant
from offramp.stream.arena.closed_loop import Sent, closed_loop
from offramp.stream.arena.executor import Counts, Executor
from offramp.stream.arena.network import DIRECTIONS, Queues, new_flows, new_journeys, new_queues, serve
from offramp.stream.arena.plans import Plan, extended, plan_of
from offramp.stream.arena.requests import Requests, homes, requests_of
from offramp.stream.arena.scenario import Scenario
from offramp.stream.arena.traffic import Arrivals, arrivals_of, place_of
from offramp.stream.bins.packets import Packets
from offramp.stream.bins.virtual_queue import read_trace
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.windows.windows import Windowed

START_NS = 1_700_000_000_000_000_000
"""When episodes begin: times of packets are real ones to bins and policies."""
BOUND = "clairvoyant"
"""The name of the bound, which is no policy: it knows what comes."""
SMOOTH_S = 0.2
"""Time constant of the running rates that switch counters give, as a controller that polls a few times a second."""
MIN_RATE = 0.005
"""Flows below this share of the capacity are not among those that a policy is shown."""


class Model(NamedTuple):
    """What forecasts, for policies that need it."""

    artifact: Artifact
    predictor: Predictor


@dataclass(frozen=True)
class Outcome:
    """What an episode came to.

    time_ns, size: int64 [n] of the packets; delay_ms: float64 [n], NaN where lost; place: int64 [n] that each took;
    flow: int64 [n] that each is of. source: int64 [flows] which of the scenario's sources a flow is of, -1 where it is
    of the open loop and makes no requests; requests: what became of those.
    """

    time_ns: NDArray[np.int64]
    size: NDArray[np.int64]
    delay_ms: NDArray[np.float64]
    place: NDArray[np.int64]
    counts: Counts
    commands: list[Command]
    flow: NDArray[np.int64]
    source: NDArray[np.int64]
    requests: Requests


def play(
    scenario: Scenario, seed: int, policy: str, *, model: Model | None = None, here: Path = Path(),
    root: Path | None = None,
) -> Outcome:  # fmt: skip
    """Play one episode; here, root: where the scenario's files are. Raises what its traffic raises."""
    arrivals = arrivals_of(scenario, seed, here, root)
    plan = plan_of(scenario, seed, arrivals)
    arrivals = extended(arrivals, plan)
    knows = policy == BOUND
    site = enforcing(scenario, "none" if knows else policy, arrivals.scale)
    decided = policy_of(targets_of(site), site.links[0].name)
    if decided.needs_forecast and model is None:
        raise ValueError(f"policy {policy}: needs a model")
    return Episode(
        scenario, site, arrivals, plan, decided, model, traces_of(scenario, arrivals, here, root), seed, knows=knows
    ).run()


def enforcing(scenario: Scenario, policy: str, scale: float) -> Site:
    """Return the scenario's site under a policy, its commands enforced, its capacities scaled."""
    site = scenario.site
    link = site.links[0]
    update: dict[str, object] = {"capacity": link.capacity * scale}
    if link.capacity_down is not None:
        update["capacity_down"] = link.capacity_down * scale
    if link.buffer_bytes is not None:
        update["buffer_bytes"] = round(link.buffer_bytes * scale)
    update["paths"] = tuple(path.model_copy(update={"capacity": path.capacity * scale}) for path in link.paths)
    rules = site.policy.model_copy(update={"name": policy})
    changed = {"mode": "enforce", "links": (link.model_copy(update=update),), "policy": rules}
    return site.model_copy(update=changed)


def traces_of(
    scenario: Scenario, arrivals: Arrivals, here: Path, root: Path | None
) -> dict[tuple[int, int], tuple[NDArray[np.int64], float]]:
    """Return the opportunities that the link follows, repeated to the end, of as many bytes as give its capacity."""
    network, link = scenario.network, scenario.link
    found: dict[tuple[int, int], tuple[NDArray[np.int64], float]] = {}
    names = (network.trace, network.trace_down or network.trace)
    for side, (name, capacity) in enumerate(zip(names, (link.capacity_bps, link.capacity_down_bps), strict=True)):
        if name is None:
            continue
        trace = read_trace(place_of(name, here, root))
        period, end_ns = int(trace[-1]), int((scenario.seconds + 10) * 1e9)
        turns = end_ns // period + 1
        whole = np.concatenate([trace + turn * period for turn in range(turns)])
        grant = capacity * arrivals.scale / 8e9 * period / len(trace)
        found[0, side] = whole, grant
    return found


class Episode:
    """The loop of one episode, bin by bin: packets, what is seen of them, what is decided, what comes of it."""

    def __init__(
        self, scenario: Scenario, site: Site, arrivals: Arrivals, plan: Plan, policy: Policy, model: Model | None,
        traces: dict[tuple[int, int], tuple[NDArray[np.int64], float]], seed: int, *, knows: bool = False,
    ) -> None:  # fmt: skip
        network, shown = scenario.network, targets_of(site)
        self.link, self.policy, self.arrivals, self.scenario = site.links[0], policy, arrivals, scenario
        self.queues = queues_of(self.link, scenario, traces)
        self.flows = new_flows(arrivals.down, split_places(arrivals, policy.split if self.link.paths else 0.0, seed))
        self.journeys = new_journeys(len(arrivals.flow))
        for row, place in homes(scenario, self.link, plan.users).items():
            self.flows.place[row] = place
        self.plan, self.closed = plan, closed_loop(scenario, self.link, arrivals, plan, seed)
        rng = np.random.default_rng([seed, 1])
        self.executor = Executor(
            arrivals, self.flows, self.link, int(network.command_ms * 1e6), network.command_loss, rng
        )
        self.peak_ms = np.zeros((len(self.queues.rate), DIRECTIONS))
        self.bound = None
        if knows:
            self.bound = Clairvoyant(
                arrivals, self.queues, self.flows, scenario.clairvoyant, int(network.command_ms * 1e6), network.lost_ms,
                self.executor.counts, self._reached(shown.links[0]),
            )  # fmt: skip
        self.pipeline = None
        if policy.needs_forecast and model is not None:
            self.pipeline = Pipeline(shown, self.link.name, model.predictor, model.artifact.normaliser, policy)

    def _reached(self, link: Link) -> list[int]:
        """Return the places that flows of a link can take, the link itself first."""
        names = [link.name, *(path.name for path in link.paths), *(node.name for node in link.nodes)]
        return [self.executor.places[name] for name in names]

    def run(self) -> Outcome:
        """Play to the end."""
        packets, flow = self.arrivals.packets, self.arrivals.flow
        at, smooth, commands = 0, 1 / (SMOOTH_S * BINS_PER_S), list[Command]()
        for number in range(int(np.ceil(self.scenario.seconds * BINS_PER_S))):
            end_ns = (number + 1) * BIN_NS
            begin = at
            if self.closed is not None:
                at = self.closed.serve(self.queues, self.flows, self.journeys, at, end_ns, self.peak_ms, smooth)
            else:
                at = serve(
                    self.queues, self.flows, self.journeys, packets.time_ns, packets.size, flow, at, end_ns,
                    self.peak_ms, smooth,
                )  # fmt: skip
            if self.bound is not None:
                self.bound.steer(at, end_ns)
            self.executor.expire(end_ns)
            for command in self._decide(begin, at, end_ns):
                self.executor.take(command, end_ns)
                commands.append(command)
        requests = self._requests()
        self.executor.counts.refused_tasks = int(requests.refused.sum())
        sent = self._sent(0, len(flow)) if self.closed is None else self.closed.of_episode(self.journeys)
        return Outcome(
            sent.packets.time_ns, sent.packets.size, sent.delay_ms, sent.place, self.executor.counts, commands,
            sent.flow, self.plan.source, requests,
        )  # fmt: skip

    def _requests(self) -> Requests:
        return requests_of(self.scenario, self.closed.world.tasks if self.closed else None, self.plan.users)

    def _sent(self, begin: int, end: int) -> Sent:
        """Return the packets of the last bin; begin, end: those of the open loop."""
        if self.closed is not None:
            return self.closed.of_bin(self.journeys, begin, end)
        part = Packets._make(column[begin:end] for column in self.arrivals.packets)
        journeys = self.journeys
        return Sent(part, self.arrivals.flow[begin:end], journeys.place[begin:end], journeys.delay_ms[begin:end])

    def _decide(self, begin: int, end: int, end_ns: int) -> list[Command]:
        """Return the commands of a bin with the packets [begin, end)."""
        if self.pipeline is None:
            return self._by_counters(end_ns)
        seen = self._tapped(begin, end)
        bins, commands = self.pipeline.windows.bins, list[Command]()
        parts = [bins.update(seen)] if len(seen.time_ns) else []
        for rows in self.pipeline.windows.rows_of(chain(*parts, bins.advance(START_NS + end_ns + self._wait_ns))):
            commands += self.pipeline.decide(Windowed([rows]))
        return commands

    @property
    def _wait_ns(self) -> int:
        return int(self.link.lateness_ms * 1e6)

    def _tapped(self, begin: int, end: int) -> Packets:
        """Return the packets that pass the tap."""
        sent = self._sent(begin, end)
        part = sent.packets
        if self.scenario.network.tap == "after":
            part = Packets._make(column[sent.place == 0] for column in part)
        return part._replace(time_ns=part.time_ns + START_NS)

    def _by_counters(self, end_ns: int) -> list[Command]:
        queue_ms = float(self.peak_ms[0].max())
        if not self.policy.open_scopes:
            return []
        forecast = Forecast(
            self.policy.scope, START_NS + end_ns - BIN_NS, START_NS + end_ns, 0, (1.0, 0.0, 0.0), (queue_ms,) * 3,
            queue_ms, "counters", "",
        )  # fmt: skip
        return self.policy.decide(forecast, self._traffic, Quality())

    def _traffic(self) -> Traffic:
        """Return what the switch's counters tell at the end of a bin."""
        flows, link = self.flows, self.link
        capacities = (link.capacity_bps, link.capacity_down_bps)
        going = np.where(flows.due_ns >= 0, flows.following, flows.place)
        loads = [float(flows.rate_bps[(going == 0) & (flows.down == down)].sum()) for down in (False, True)]
        heavy = np.flatnonzero(flows.rate_bps > MIN_RATE * min(capacities))
        heavy = heavy[np.argsort(-flows.rate_bps[heavy], kind="stable")]
        rates = tuple(self.arrivals.flow_rate(int(which), float(flows.rate_bps[which])) for which in heavy)
        devices: dict[str, float] = {}
        for flow in rates:
            name = flow.dst if flow.down else flow.src
            devices[name] = devices.get(name, 0.0) + flow.rate_bps
        busiest = sorted((DeviceRate(name, rate) for name, rate in devices.items()), key=lambda each: -each.rate_bps)
        up, down = (
            Direction(capacities[side], loads[side], float(self.peak_ms[0, side])) for side in range(DIRECTIONS)
        )
        return Traffic(rates, tuple(busiest), sum(loads), link.capacity_bps, (up, down))


def targets_of(site: Site) -> Site:
    """Return the site as policies see it: without the nodes that are the devices themselves, where nothing is moved."""
    links = (
        link.model_copy(update={"nodes": tuple(node for node in link.nodes if node.tier != "device")})
        for link in site.links
    )
    return site.model_copy(update={"links": tuple(links)})


def queues_of(link: Link, scenario: Scenario, traces: dict[tuple[int, int], tuple[NDArray[np.int64], float]]) -> Queues:
    """Return the queues of a link and of its paths and nodes."""
    network = scenario.network
    capacity = [[link.capacity_bps, link.capacity_down_bps]]
    limit = [[link.buffer_bytes or each / 8e3 * BUFFER_MS for each in capacity[0]]]
    base = [[network.delay_ms] * DIRECTIONS]
    others: list[AltPath | Node] = [*link.paths, *link.nodes]
    for place in others:
        capacity.append([place.capacity] * DIRECTIONS)
        limit.append([place.capacity / 8e3 * network.path_buffer_ms] * DIRECTIONS)
        base.append([place.delay_ms] * DIRECTIONS)
    return new_queues(np.array(capacity), np.array(limit, np.float64), np.array(base), traces)


def split_places(arrivals: Arrivals, share: float, seed: int) -> NDArray[np.int64]:
    """Return where each flow begins: at home, but for a share of them that a hash sends over the first other path."""
    if not share:
        return np.zeros(len(arrivals.down), np.int64)
    return (np.random.default_rng([seed, 2]).random(len(arrivals.down)) < share).astype(np.int64)
