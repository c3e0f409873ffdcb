"""One episode: a scenario's traffic of one seed under one policy, its commands carried out on the way.

A policy that needs a forecast meets the product itself: bins, model and policy are the objects of `offramp replay`, and
see what passes the tap. One that needs none is shown the counters of the switch: queues by direction, running rates of
all flows on whatever path, and so lacks nothing that a controller could know.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.decision.command import Command
from offramp.decision.policies.policy import LinkView, Policy
from offramp.decision.policies.table import POLICIES, policy_of
from offramp.decision.site import Link, Site
from offramp.decision.traffic import DeviceRate, Direction, Quality, Traffic
from offramp.inference.artifact import Artifact
from offramp.inference.forecast import BIN_NS, BINS_PER_S, Forecast
from offramp.inference.serving.predictor import Predictor
from offramp.stream.arena.clairvoyant import Clairvoyant
from offramp.stream.arena.closed_loop import Plan, Sent, closed_loop, extended, plan_of
from offramp.stream.arena.energy import spent_nj
from offramp.stream.arena.executor import Counts, Executor
from offramp.stream.arena.network.counters import Counters
from offramp.stream.arena.network.flows import NEVER, TURN, new_flows, serve
from offramp.stream.arena.network.queues import ADDRESS, CLASSES, DIRECTIONS, NOBODY, Traces, new_journeys, send_rest
from offramp.stream.arena.places import (
    enforcing,
    numbers_of,
    others_of,
    outages_of,
    queues_of,
    split_places,
    targets_of,
    traces_of,
)  # fmt: skip
from offramp.stream.arena.requests import Requests, at_home, requests_of
from offramp.stream.arena.scenario import Scenario
from offramp.stream.arena.traffic import PORTS, PROTOCOL, Arrivals, arrivals_of, partners
from offramp.stream.bins.packets import Packets, no_packets
from offramp.stream.pipeline.meeting import Meetings, Sink, link_of
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.windows.windows import Windowed

START_NS = 1_700_000_000_000_000_000
"""When episodes begin: times of packets are real ones to bins and policies."""
BOUND = "clairvoyant"
"""The name of the bound, which is no policy: it knows what comes."""
LOOKS = 3
"""How often each horizon is played where senders react. Nobody knows their packets: the bound takes those of an episode
before for true, at first of one in which nothing is moved. To go on from the best one so far found worse ones."""
SMOOTH = 1 / (0.2 * BINS_PER_S)
"""Weight of a bin in the running rates that switch counters give, as a controller polls them a few times a second."""
MIN_RATE = 0.005
"""Flows below this share of the capacity are not among those that a policy is shown."""


class Model(NamedTuple):
    """What forecasts, for policies that need it."""

    artifact: Artifact
    predictor: Predictor


@dataclass(frozen=True)
class Outcome:
    """What an episode came to.

    time_ns, size: int64 [n] of the packets; delay_ms: float64 [n], NaN where lost; place: int64 [n] that each took, -1
    where its flow was broken and none took it; flow: int64 [n] of each; link, kind: int64 [flows] the link and the
    class of each, of those named by `classes`; queue_ms: float32 [bins, places] largest queue delay that a packet of
    the bin met; congested: bool [bins] whether that of a watched link was over its budget; energy_nj: of all packets
    and tasks; requests: None where nothing has a deadline.
    """

    time_ns: NDArray[np.int64]
    size: NDArray[np.int64]
    delay_ms: NDArray[np.float64]
    place: NDArray[np.int64]
    counts: Counts
    commands: list[Command]
    flow: NDArray[np.int64]
    link: NDArray[np.int64]
    kind: NDArray[np.int64]
    classes: tuple[str, ...]
    queue_ms: NDArray[np.float32]
    congested: NDArray[np.bool_]
    energy_nj: float
    seconds: float
    requests: Requests | None = None

    def mean_ms(self, lost_ms: float) -> float:
        """Return the mean delay of a packet; lost_ms: what a lost one counts as."""
        return float(np.where(np.isnan(self.delay_ms), lost_ms, self.delay_ms).mean()) if len(self.delay_ms) else 0.0


def play(
    scenario: Scenario, seed: int, policy: str, *, model: Model | None = None, here: Path = Path(),
    root: Path | None = None, sink: Sink | None = None,
) -> Outcome:  # fmt: skip
    """Play one episode. Raises what its traffic raises.

    here, root: where the scenario's files are; sink: takes the timeline of policies that need a forecast.
    """
    arrivals = arrivals_of(scenario, seed, here, root)
    site = enforcing(scenario, "none" if policy == BOUND else policy, arrivals.scale)
    forecasts = scenario.network.sees == "tap" or any(policy_of(site, each).needs_forecast for each in site.bundles)
    if model is None and forecasts and policy != BOUND:
        raise ValueError(f"policy {policy}: needs a model")
    traces = traces_of(scenario, arrivals, here, root)

    def played(horizon_ms: float | None, foreseen: Outcome | None = None) -> Outcome:
        plan = plan_of(scenario, seed, arrivals)  # of each its own: senders that react change theirs
        own = extended(arrivals, plan)
        return Episode(
            scenario, site, own, model, traces, seed, plan=plan, horizon_ms=horizon_ms, foreseen=foreseen, sink=sink
        ).run()

    if policy != BOUND:
        return played(None)
    horizons, lost_ms = scenario.clairvoyant.horizons_ms, scenario.network.lost_ms
    if not scenario.reacts:
        return min(map(played, horizons), key=lambda each: each.mean_ms(lost_ms))
    found = [played(None)]
    for horizon_ms in np.repeat(horizons, LOOKS).tolist():
        found.append(played(horizon_ms, found[-1]))
    return min(found, key=lambda each: each.mean_ms(lost_ms))


class ShownCounters:
    """A policy that is shown a switch's counters where the product's tap would tell it of the traffic."""

    def __init__(self, policy: Policy, shown: Callable[[LinkView], LinkView]) -> None:
        self._policy, self._shown = policy, shown

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def decide(self, step: Sequence[LinkView]) -> list[Command]:
        """Return what the policy decides with the counters of each link."""
        return self._policy.decide([self._shown(view) for view in step])


class Steers(Protocol):
    """Who moves flows by what is to come, and is no policy."""

    def steer(self, begin: int, end_ns: int) -> None:
        """Move what helps at the end of a bin; begin: the first packet that has not been sent by then."""


class Watched(NamedTuple):
    """A link as an episode has it: its number, which is its place's too, and who carries its commands out.

    own: bool [flows], which are of it; pipeline: what sees it, where that is the product itself.
    """

    number: int
    link: Link
    own: NDArray[np.bool_]
    executor: Executor
    pipeline: Pipeline | None


class Episode:
    """The loop of one episode, bin by bin: packets, what is seen of them, what is decided, what comes of it."""

    def __init__(
        self, scenario: Scenario, site: Site, arrivals: Arrivals, model: Model | None, traces: Traces, seed: int, *,
        plan: Plan | None = None, horizon_ms: float | None = None, foreseen: Outcome | None = None,
        sink: Sink | None = None,
    ) -> None:  # fmt: skip
        network, numbers, command_ns = scenario.network, numbers_of(site), int(scenario.network.command_ms * 1e6)
        self.scenario, self.counts = scenario, Counts()
        self.queues = queues_of(site, scenario, traces, outages_of(scenario, seed))
        self._breaks = bool((self.queues.traits[:, ADDRESS] != 0).any())
        if self._breaks:  # flows will have other ports
            arrivals = arrivals._replace(key=arrivals.key.copy())
        self.arrivals, self.users, shown = arrivals, plan.users if plan is not None else [], targets_of(site)
        self.site, meetings = shown, Meetings(shown)
        self.policies = {bundle.name: meetings.of(bundle.name).policy for bundle in shown.bundles}
        if network.sees == "counters" and POLICIES[site.policy.name].counted:
            for bundle in shown.bundles:
                meetings.of(bundle.name).policy = ShownCounters(self.policies[bundle.name], self._with_counters)
        splits = [meetings.of(link.name).policy.split_of(link.name) for link in site.links]
        places = split_places(site, arrivals, splits, seed)
        self.flows = new_flows(
            arrivals.down, at_home(places, scenario, site, self.users),
            partners(arrivals) if self._breaks else None, arrivals.key[:, PROTOCOL], int(network.reconnect_ms * 1e6),
        )  # fmt: skip
        self._turns = self.flows.connection[:, TURN].copy()
        self.closed = closed_loop(scenario, site, arrivals, plan, self.queues, seed)
        self.journeys = new_journeys(len(arrivals.flow), classed=bool((self.queues.traits[:, CLASSES] > 1).any()))
        rng = np.random.default_rng([seed, 1])
        self.links = dict[str, Watched]()
        for number, link in enumerate(site.links):
            names = {told.name: numbers[is_.name] for told, is_ in zip(link.places, others_of(link), strict=True)}
            lower = len(numbers) + number if link.queues > 1 else NEVER
            executor = Executor(
                arrivals, self.flows, number, names, lower, command_ns, network.command_loss, rng, self.counts
            )
            pipeline, meeting = None, meetings.of(link.name)
            by_tap = meeting.policy.needs_forecast or network.sees == "tap"
            if model is not None and horizon_ms is None and by_tap:
                scale = model.artifact.normaliser
                pipeline = Pipeline(shown, link.name, model.predictor, scale, meeting, sink=sink)
            self.links[link.name] = Watched(number, link, arrivals.link == number, executor, pipeline)
        self.peak_ms = np.zeros((len(self.queues.rate), DIRECTIONS))
        self.counters, self._numbers = Counters(self.queues, network.capacity), numbers
        self._bundles = [(each.name, [self.links[link.name] for link in each.links]) for each in shown.bundles]
        self.bound: Steers | None = None
        self._foreseen_ns = None if foreseen is None else foreseen.time_ns
        if horizon_ms is not None:
            reached = [
                (number, *(numbers[place.name] for place in others_of(link))) for number, link in enumerate(shown.links)
            ]
            known = arrivals
            if foreseen is not None:
                packets = no_packets()._replace(time_ns=foreseen.time_ns, size=foreseen.size)
                known = arrivals._replace(packets=packets, flow=foreseen.flow)
            self.bound = Clairvoyant(
                known, self.queues, self.flows, scenario.clairvoyant.price, horizon_ms, command_ns, network.lost_ms,
                self.counts, reached,
            )  # fmt: skip

    def run(self) -> Outcome:
        """Play to the end."""
        packets, flow = self.arrivals.packets, self.arrivals.flow
        at, commands = 0, list[Command]()
        bins = int(np.ceil(self.scenario.seconds * BINS_PER_S))
        queue_ms = np.zeros((bins, len(self.peak_ms)), np.float32)
        for number in range(bins):
            end_ns = (number + 1) * BIN_NS
            begin = at
            if self.closed is not None:
                at = self.closed.serve(self.flows, at, end_ns, self.peak_ms, SMOOTH)
            else:
                at = serve(
                    self.queues, self.flows, self.journeys, packets.time_ns, packets.size, flow, at, end_ns,
                    self.peak_ms, SMOOTH,
                )  # fmt: skip
            queue_ms[number] = self.peak_ms.max(1)
            if self.counters.varies:
                self.counters.read(end_ns)
            if self._breaks:
                self._tell_of_breaks(end_ns)
            if self.bound is not None:
                ahead = self._foreseen_ns
                self.bound.steer(at if ahead is None else int(np.searchsorted(ahead, end_ns)), end_ns)
            for watched in self.links.values():
                watched.executor.expire(end_ns)
            for command in self._decide(begin, at, end_ns):
                self.links[link_of(command.scope)].executor.take(command, end_ns)
                commands.append(command)
        budgets_ms = np.array([watched.link.budget_ms for watched in self.links.values()])
        congested: NDArray[np.bool_] = np.any(queue_ms[:, : len(budgets_ms)] > budgets_ms, axis=1)
        return self._outcome(commands, queue_ms, congested)

    def _outcome(self, commands: list[Command], queue_ms: NDArray[np.float32], congested: NDArray[np.bool_]) -> Outcome:
        """Return what it came to, when nothing comes any more."""
        packets, arrivals, requests, computed_nj = self.arrivals.packets, self.arrivals, None, 0.0
        if self.closed is not None:
            sent, tasks = self.closed.of_episode(), self.closed.world.tasks
            requests, computed_nj = requests_of(self.scenario, tasks, self.users, arrivals.kind), tasks.nj[0]
        else:
            send_rest(self.queues, self.journeys, packets.time_ns, packets.size)
            sent = self._sent(0, len(arrivals.flow))
        for policy in self.policies.values():
            decided, swayed = policy.swayed
            self.counts.decided, self.counts.swayed = self.counts.decided + decided, self.counts.swayed + swayed
        if requests is not None:
            self.counts.refused_tasks = int(requests.refused.sum())
        size = sent.packets.size
        energy_nj = computed_nj + spent_nj(self.scenario.site, arrivals, sent.flow, size, sent.place)
        return Outcome(
            sent.packets.time_ns, size, sent.delay_ms, sent.place, self.counts, commands, sent.flow, arrivals.link,
            arrivals.kind, arrivals.classes, queue_ms, congested, energy_nj, self.scenario.seconds, requests,
        )  # fmt: skip

    def _sent(self, begin: int, end: int) -> Sent:
        """Return the packets of the last bin; begin, end: those of the open loop."""
        if self.closed is not None:
            return self.closed.of_bin()
        part = Packets._make(column[begin:end] for column in self.arrivals.packets)
        flow, journeys = self.arrivals.flow[begin:end], self.journeys
        if self._breaks:
            part = part._replace(ports=self.arrivals.key[flow, PORTS])
        return Sent(part, flow, journeys.place[begin:end], journeys.delay_ms[begin:end])

    def _tell_of_breaks(self, end_ns: int) -> None:
        """Let the executors know whose connections broke in a bin."""
        turns = self.flows.connection[:, TURN]
        broken = np.flatnonzero(turns != self._turns)
        self._turns[:] = turns
        for watched in self.links.values() if len(broken) else ():
            watched.executor.begin_anew(broken[self.arrivals.link[broken] == watched.number], end_ns)

    def _decide(self, begin: int, end: int, end_ns: int) -> Iterator[Command]:
        """Yield the commands of a bin with the packets [begin, end), bundle by bundle."""
        for bundle, links in self._bundles:
            if links[0].pipeline is None:
                yield from self._by_counters(self.policies[bundle], links, end_ns)
                continue
            for watched in links:
                yield from self._by_tap(watched, watched.pipeline, begin, end, end_ns)

    def _by_tap(
        self, watched: Watched, pipeline: Pipeline | None, begin: int, end: int, end_ns: int
    ) -> Iterator[Command]:
        """Yield what the product decides with what passes the tap."""
        assert pipeline is not None  # noqa: S101 - all links of a bundle have one, or none
        seen, bins = self._tapped(watched, begin, end), pipeline.windows.bins
        parts = [bins.update(seen)] if len(seen.time_ns) else []
        until_ns = START_NS + end_ns
        rows = pipeline.windows.rows_of(chain(*parts, bins.advance(until_ns + int(watched.link.lateness_ms * 1e6))))
        yield from pipeline.decide(Windowed(rows, closed_until=until_ns // BIN_NS))

    def _tapped(self, watched: Watched, begin: int, end: int) -> Packets:
        """Return the packets that pass a link's tap: those that take it and, before flows are moved, all its own."""
        sent, number = self._sent(begin, end), watched.number
        here = sent.place == number
        if watched.link.tap == "before":
            here |= (self.arrivals.link[sent.flow] == number) & (sent.place != NOBODY)
        part = Packets._make(column[here] for column in sent.packets)
        return part._replace(time_ns=part.time_ns + START_NS)

    def _by_counters(self, policy: Policy, links: Sequence[Watched], end_ns: int) -> list[Command]:
        """Return what a policy decides with what the switch's counters tell."""
        return policy.decide([self._view(watched, end_ns) for watched in links]) if policy.awake else []

    def _view(self, watched: Watched, end_ns: int) -> LinkView:
        queue_ms, name = float(self.peak_ms[watched.number].max()), watched.link.name
        forecast = Forecast(
            f"link:{name}", START_NS + end_ns - BIN_NS, START_NS + end_ns, 0, (1.0, 0.0, 0.0), (queue_ms,) * 3,
            queue_ms, "counters", "",
        )  # fmt: skip
        return LinkView(name, True, forecast, queue_ms, _nothing, partial(self._traffic, watched, end_ns), Quality())

    def _with_counters(self, view: LinkView) -> LinkView:
        watched, end_ns = self.links[view.link], view.forecast.window_end_ns - START_NS
        queue_ms = float(self.peak_ms[watched.number].max())
        return view._replace(queue_ms=queue_ms, traffic=partial(self._traffic, watched, end_ns))

    def _traffic(self, watched: Watched, end_ns: int) -> Traffic:
        """Return what the switch's counters tell of a link at the end of a bin: its own flows, whatever loads it."""
        flows, link, number = self.flows, watched.link, watched.number
        self.counters.read(end_ns)
        going = np.where(flows.due_ns >= 0, flows.following, flows.place)
        if len(self.journeys.turn):  # what gives way loads the link like the rest
            going %= len(self.queues.traits)
        least_bps = MIN_RATE * min(link.capacity_bps, link.capacity_down_bps)
        heavy = np.flatnonzero(watched.own & (flows.rate_bps > least_bps))
        heavy = heavy[np.argsort(-flows.rate_bps[heavy], kind="stable")]
        rates = tuple(self.arrivals.flow_rate(int(which), float(flows.rate_bps[which])) for which in heavy)
        devices: dict[str, float] = {}
        for flow in rates:
            name = flow.dst if flow.down else flow.src
            devices[name] = devices.get(name, 0.0) + flow.rate_bps
        busiest = sorted((DeviceRate(name, rate) for name, rate in devices.items()), key=lambda each: -each.rate_bps)
        up, down = self._sides(going, number)
        places = {
            place.name: self._sides(going, self._numbers[is_.name])
            for place, is_ in zip(link.places, others_of(link), strict=True)
        }
        return Traffic(
            rates, tuple(busiest), up.load_bps + down.load_bps, link.capacity_bps, (up, down),
            least_bps, 1.0 - SMOOTH, places,
        )  # fmt: skip

    def _sides(self, going: NDArray[np.int64], number: int) -> tuple[Direction, Direction]:
        """Return what the switch's counters tell of a place, up and down; going: where the flows are, or will be."""
        rates, down = self.flows.rate_bps, self.flows.down
        loads = [float(rates[(going == number) & (down == side)].sum()) for side in (False, True)]
        capacity, end_ms = self.counters.of(number)
        up, back = (
            Direction(capacity[side], loads[side], float(self.peak_ms[number, side]), end_ms[side])
            for side in range(DIRECTIONS)
        )
        return up, back


def _nothing(_: Container[str]) -> Iterator[Forecast]:
    return iter(())
