"""The places of an episode: the site's links, then all their paths, then all nodes, each name once, with its queues.

What two links both have among their paths or nodes is one place, with one queue a direction that both of them fill.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.decision.site import BUFFER_MS, AltPath, Link, Node, Site
from offramp.stream.arena.queues import ADDRESS, CLASSES, DIRECTIONS, FRAME, Queues, new_queues, plain_traits
from offramp.stream.arena.scenario import Scenario
from offramp.stream.arena.traffic import HEADERS, Arrivals, place_of
from offramp.stream.bins.virtual_queue import read_trace

Traces = dict[tuple[int, int], tuple[NDArray[np.int64], float]]
"""Of a place and direction: delivery opportunities (ns, ascending), and the bytes of each."""


def enforcing(scenario: Scenario, policy: str, scale: float) -> Site:
    """Return the scenario's site under a policy, its commands enforced, its capacities scaled."""
    site = scenario.site
    links = tuple(_scaled(link, scale) for link in site.links)
    rules = site.policy.model_copy(update={"name": policy})
    return site.model_copy(update={"mode": "enforce", "links": links, "policy": rules})


def _scaled(link: Link, scale: float) -> Link:
    update: dict[str, object] = {"capacity": link.capacity * scale}
    if link.capacity_down is not None:
        update["capacity_down"] = link.capacity_down * scale
    if link.buffer_bytes is not None:
        update["buffer_bytes"] = round(link.buffer_bytes * scale)
    update["paths"] = tuple(path.model_copy(update={"capacity": path.capacity * scale}) for path in link.paths)
    return link.model_copy(update=update)


def numbers_of(site: Site) -> dict[str, int]:
    """Return the number of each place by its name; links come first, in the site's order."""
    names = [link.name for link in site.links]
    names += [path.name for link in site.links for path in link.paths]
    names += [node.name for link in site.links for node in link.nodes]
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def others_of(link: Link) -> tuple[AltPath | Node, ...]:
    """Return what else a link's flows can take: its paths, then its nodes."""
    return (*link.paths, *link.nodes)


def targets_of(site: Site) -> Site:
    """Return the site as policies see it: without the nodes that are the devices themselves, where nothing is moved."""
    kept = [tuple(node for node in link.nodes if node.tier != "device") for link in site.links]
    links = tuple(link.model_copy(update={"nodes": nodes}) for link, nodes in zip(site.links, kept, strict=True))
    return site.model_copy(update={"links": links})


def queues_of(site: Site, scenario: Scenario, traces: Traces) -> Queues:
    """Return the queues of all places of a site, as `enforcing` gives it."""
    network, numbers = scenario.network, numbers_of(site)
    capacity, limit, base = (np.zeros((len(numbers), DIRECTIONS)) for _ in range(3))
    for link in site.links:
        for place in others_of(link):
            at = numbers[place.name]
            capacity[at], base[at] = place.capacity, place.delay_ms
            limit[at] = place.capacity / 8e3 * network.path_buffer_ms
    for at, link in enumerate(site.links):  # after all paths, of which one may be a link
        capacity[at], base[at] = (link.capacity_bps, link.capacity_down_bps), network.delay_ms
        limit[at] = [link.buffer_bytes or each / 8e3 * BUFFER_MS for each in capacity[at]]
    return new_queues(capacity, limit, base, traces, traits_of(site))


def traits_of(site: Site) -> NDArray[np.int64]:
    """Return the traits of all places (`queues.CLASSES`): a path with another address is behind a NAT of its own."""
    numbers = numbers_of(site)
    traits = plain_traits(len(numbers))
    for path in (path for link in site.links for path in link.paths if numbers[path.name] >= len(site.links)):
        at = numbers[path.name]
        traits[at, FRAME], traits[at, ADDRESS] = path.mtu + HEADERS, 0 if path.same_address else at
    traits[: len(site.links), CLASSES] = [link.queues for link in site.links]
    return traits


def traces_of(scenario: Scenario, arrivals: Arrivals, here: Path, root: Path | None) -> Traces:
    """Return the opportunities that the link follows, repeated to the end, of as many bytes as give its capacity."""
    network, link = scenario.network, scenario.link
    found: Traces = {}
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


def split_places(site: Site, arrivals: Arrivals, shares: list[float], seed: int) -> NDArray[np.int64]:
    """Return where each flow begins: at its link, but for a share that a hash sends over the link's first path.

    shares: by link.
    """
    numbers, drawn = numbers_of(site), np.random.default_rng([seed, 2]).random(len(arrivals.down))
    share = np.array([share if link.paths else 0.0 for link, share in zip(site.links, shares, strict=True)])
    other = np.array([numbers[link.paths[0].name] if link.paths else 0 for link in site.links])
    places: NDArray[np.int64] = np.where(drawn < share[arrivals.link], other[arrivals.link], arrivals.link)
    return places
