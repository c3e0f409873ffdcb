"""The places of an episode: the site's links, then all their paths, then all nodes, each name once, with its queues.

What two links both have among their paths or nodes is one place, with one queue a direction that both of them fill.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.decision.site import BUFFER_MS, AltPath, Link, Node, Site
from offramp.stream.arena.network.queues import (
    ADDRESS,
    CLASSES,
    DIRECTIONS,
    FRAME,
    Outages,
    Queues,
    Traces,
    new_queues,
    plain_traits,
)
from offramp.stream.arena.scenario import Scenario
from offramp.stream.arena.traffic import HEADERS, Arrivals, place_of
from offramp.stream.bins.virtual_queue import read_trace


def enforcing(scenario: Scenario, policy: str, scale: float) -> Site:
    """Return the scenario's site under a policy, its commands enforced, its capacities scaled."""
    site = scenario.site
    links = tuple(_scaled(link, scale) for link in site.links)
    executed = site.policy.optimiser.model_copy(update={"command_ms": scenario.network.command_ms})
    rules = site.policy.model_copy(update={"name": policy, "optimiser": executed})
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
    names += [path.link or path.name for link in site.links for path in link.paths]
    names += [node.name for link in site.links for node in link.nodes]
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def others_of(link: Link) -> tuple[AltPath | Node, ...]:
    """Return what else a link's flows can take, its paths, then its nodes; one that is a link by its name."""
    paths = (path.model_copy(update={"name": path.link or path.name}) for path in link.paths)
    return (*paths, *link.nodes)


def capacities_of(site: Site) -> NDArray[np.float64]:
    """Return the capacities of all places, bit/s by direction: float64 [P, 2]."""
    numbers = numbers_of(site)
    capacity = np.zeros((len(numbers), DIRECTIONS))
    for place in (place for link in site.links for place in others_of(link)):
        capacity[numbers[place.name]] = place.capacity
    capacity[: len(site.links)] = [(link.capacity_bps, link.capacity_down_bps) for link in site.links]
    return capacity


def targets_of(site: Site) -> Site:
    """Return the site as policies see it: without the nodes that are the devices themselves, where nothing is moved."""
    kept = [tuple(node for node in link.nodes if node.tier != "device") for link in site.links]
    links = tuple(link.model_copy(update={"nodes": nodes}) for link, nodes in zip(site.links, kept, strict=True))
    return site.model_copy(update={"links": links})


def queues_of(site: Site, scenario: Scenario, traces: Traces, outages: Outages | None = None) -> Queues:
    """Return the queues of all places of a site, as `enforcing` gives it."""
    network, numbers = scenario.network, numbers_of(site)
    capacity = capacities_of(site)
    limit, base = capacity / 8e3 * network.path_buffer_ms, np.zeros_like(capacity)
    for place in (place for link in site.links for place in others_of(link)):
        base[numbers[place.name]] = place.delay_ms
    for at, link in enumerate(site.links):  # after all paths, of which one may be a link
        base[at] = network.delay_ms
        limit[at] = [link.buffer_bytes or each / 8e3 * BUFFER_MS for each in capacity[at]]
    return new_queues(capacity, limit, base, traces, traits_of(site), outages)


def traits_of(site: Site) -> NDArray[np.int64]:
    """Return the traits of all places (`queues.CLASSES`): a path with another address is behind a NAT of its own."""
    numbers = numbers_of(site)
    traits = plain_traits(len(numbers))
    for path in (path for link in site.links for path in link.paths):
        at = numbers[path.link or path.name]
        if at < len(site.links):
            continue
        traits[at, FRAME], traits[at, ADDRESS] = path.mtu + HEADERS, 0 if path.same_address else at
    traits[: len(site.links), CLASSES] = [link.queues for link in site.links]
    return traits


def traces_of(scenario: Scenario, arrivals: Arrivals, here: Path, root: Path | None) -> Traces:
    """Return the opportunities that places follow, repeated to the end, of as many bytes as give their capacity."""
    found: Traces = {}
    site, numbers = enforcing(scenario, "none", arrivals.scale), numbers_of(scenario.site)
    capacity = capacities_of(site)
    for place, (side, name) in ((numbers[place], one) for place, files in scenario.traces for one in enumerate(files)):
        if name is not None:
            times = read_trace(place_of(name, here, root))
            period, end_ns = int(times[-1]), int((scenario.seconds + 10) * 1e9)
            whole = np.concatenate([times + turn * period for turn in range(end_ns // period + 1)])
            found[place, side] = whole, float(capacity[place, side]) / 8e9 * period / len(times)
    return found


def outages_of(scenario: Scenario, seed: int) -> Outages:
    """Return when the places of a scenario are out in an episode; what runs into the next is one."""
    found: dict[int, list[NDArray[np.int64]]] = {}
    numbers = numbers_of(scenario.site)
    for number, outage in enumerate(scenario.network.outages):
        begin = np.array([outage.from_s])
        if outage.every_s:
            begin = np.arange(outage.from_s, scenario.seconds, outage.every_s)
        most_s = max(outage.most_s or 0.0, outage.seconds)
        length = np.random.default_rng([seed, 3, number]).uniform(outage.seconds, most_s, len(begin))
        spans = (np.column_stack([begin, begin + length]) * 1e9).astype(np.int64)
        if len(spans):
            found.setdefault(numbers[outage.place], []).append(spans)
    return {place: _joined(np.concatenate(spans)) for place, spans in found.items()}


def _joined(spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return spans of time [k, 2] in order, those that touch as one."""
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    reached = np.maximum.accumulate(spans[:, 1])
    new = np.concatenate([[True], spans[1:, 0] > reached[:-1]])
    last = np.append(np.flatnonzero(new)[1:] - 1, len(spans) - 1)
    return np.column_stack([spans[new, 0], reached[last]])


def split_places(site: Site, arrivals: Arrivals, shares: list[float], seed: int) -> NDArray[np.int64]:
    """Return where each flow begins: at its link, but for a share that a hash sends over the link's first path.

    shares: by link.
    """
    numbers, drawn = numbers_of(site), np.random.default_rng([seed, 2]).random(len(arrivals.down))
    share = np.array([share if link.paths else 0.0 for link, share in zip(site.links, shares, strict=True)])
    other = np.array([numbers[others_of(link)[0].name] if link.paths else 0 for link in site.links])
    places: NDArray[np.int64] = np.where(drawn < share[arrivals.link], other[arrivals.link], arrivals.link)
    return places
