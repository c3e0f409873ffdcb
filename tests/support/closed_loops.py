"""Reacting senders on one link of one's own making, and what became of each of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.decision.site import AltPath, Link, Node, Site
from offramp.stream.arena.closed_loop import ClosedLoop, Sent, extended, plan_of
from offramp.stream.arena.network.flows import Flows, new_flows
from offramp.stream.arena.places import queues_of
from offramp.stream.arena.requests import Requests, at_home, requests_of
from offramp.stream.arena.scenario import Network, Scenario, TrafficSource
from offramp.stream.arena.traffic import PROTOCOL, arrivals_of, partners

BIN_NS = 10_000_000


def scenario_of(
    *traffic: TrafficSource, seconds: float = 60.0, mbit: float = 8.0, buffer_bytes: int = 40_000, loss: float = 0.0,
    nodes: tuple[Node, ...] = (), paths: tuple[AltPath, ...] = (), queues: int = 1,
) -> Scenario:  # fmt: skip
    """Return a scenario of one link."""
    link = Link.model_validate({
        "name": "a", "capacity": mbit * 1e6, "buffer_bytes": buffer_bytes, "devices": ("10.0.0.0/16",), "nodes": nodes,
        "paths": paths, "queues": queues,
    })  # fmt: skip
    return Scenario(name="v", seconds=seconds, site=Site(links=(link,)), network=Network(loss=loss), traffic=traffic)


class Loop:
    """The closed loop of a scenario, played bin by bin; after each, `watch` may look and move flows."""

    def __init__(self, scenario: Scenario, seed: int = 1) -> None:
        site, arrivals = scenario.site, arrivals_of(scenario, seed, Path(), None)
        self.scenario, self.plan = scenario, plan_of(scenario, seed, arrivals)
        self.arrivals = extended(arrivals, self.plan)
        self.queues = queues_of(site, scenario, {})
        self.flows: Flows = new_flows(
            self.arrivals.down, at_home(self.arrivals.link.copy(), scenario, site, self.plan.users),
            partners(self.arrivals), self.arrivals.key[:, PROTOCOL], int(scenario.network.reconnect_ms * 1e6),
        )  # fmt: skip
        self.closed = ClosedLoop(scenario, site, self.arrivals, self.plan, self.queues, seed)
        self.tasks = self.closed.world.tasks
        self.peak_ms = np.zeros((len(self.queues.rate), 2))

    def play(self, watch: Callable[[Loop, int], None] = lambda _, __: None) -> Loop:
        """Play to the end."""
        at = 0
        for number in range(round(self.scenario.seconds * 100)):
            end_ns = (number + 1) * BIN_NS
            at = self.closed.serve(self.flows, at, end_ns, self.peak_ms, 0.05)
            watch(self, end_ns)
        return self

    @property
    def sent(self) -> Sent:
        """All packets."""
        return self.closed.of_episode()

    @property
    def requests(self) -> Requests:
        """What became of the requests."""
        found = requests_of(self.scenario, self.tasks, self.plan.users, self.arrivals.kind)
        assert found is not None
        return found

    def delivered(self, rows: NDArray[np.int64] | list[int]) -> int:
        """Return the bytes of flows that were not lost."""
        sent = self.sent
        return int(sent.packets.size[np.isin(sent.flow, rows) & ~np.isnan(sent.delay_ms)].sum())


def mixed() -> Scenario:
    """Return a small link with all that reacts, and loss."""
    kinds: tuple[dict[str, object], ...] = (
        {"model": "tcp_files", "direction": "up", "size_bytes": 200_000, "pause_s": 0.2, "count": 2},
        {"model": "tcp_pages", "size_bytes": 100_000, "pause_s": 0.5, "count": 3},
        {"model": "tcp_long", "rtt_ms": 80},
        {"model": "video", "count": 2, "share": 0.3},
        {"model": "video", "direction": "up"},
        {"model": "xr_frames", "share": 0.1, "answer_bytes": 2_000, "cycles_per_bit": 100, "computed_by": "edge"},
    )
    sources = [TrafficSource.model_validate(each) for each in kinds]
    return scenario_of(*sources, seconds=5, loss=0.01, nodes=(Node(name="edge", compute=1e8, queue=2),))
