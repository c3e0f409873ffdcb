"""Who makes requests with a deadline, which node computes them, and what became of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.decision.site import Site
from offramp.stream.arena.energy import sending_nj
from offramp.stream.arena.models import XR_PORT
from offramp.stream.arena.places import numbers_of
from offramp.stream.arena.scenario import Scenario
from offramp.stream.arena.senders.tasks import NOWHERE, REQUEST, SERVER, USER, Tasks
from offramp.stream.arena.traffic import PACKET_TIMES_PORT, PORTS, PROTOCOL, Arrivals, inside_of, made
from offramp.stream.bins.packets import UDP
from offramp.stream.pipeline.traffic import address_text

SILENCE_NS = 1_000_000
"""A packet that comes so long after the one before begins a request. In the recorded traffic of a fully offloaded
headset gaps within a frame are up to 0.1 ms, those between frames 12 ms and more, and 3 of 197,418 lie between."""


class User(NamedTuple):
    """Who makes requests: the number of the source, the row of its packets, the row of the answers."""

    source: int
    up: int
    back: int


class Requests(NamedTuple):
    """Requests of an episode whose deadline lies in it, [r] each, in order of user and time.

    made_ns: int64; kind: int64 the class that it is of, of traffic.Arrivals.classes; latency_ms: float64 until the last
    packet of the answer, NaN where none came; in_time: bool; refused: bool, its node was full; place: int64 where its
    packets went, -1 where they did not all arrive; energy_j: float64 of sending and computing.
    """

    made_ns: NDArray[np.int64]
    kind: NDArray[np.int64]
    latency_ms: NDArray[np.float64]
    in_time: NDArray[np.bool_]
    refused: NDArray[np.bool_]
    place: NDArray[np.int64]
    energy_j: NDArray[np.float64]


def askers(scenario: Scenario, arrivals: Arrivals) -> list[tuple[int, int]]:
    """Return the sources that make requests and the rows of their packets, those that send any."""
    ports = [(number, device, XR_PORT) for number, _, device in made(scenario)]
    ports += [(number, each.device, PACKET_TIMES_PORT + each.device) for number, each in enumerate(scenario.traffic)]
    found = []
    for number, device, port in ports:
        source = scenario.traffic[number]
        if source.due_ms is None or (source.file is None) != (port == XR_PORT):
            continue
        key = arrivals.key
        address = inside_of(scenario.link_number(source), device)
        own = (key[:, 1] == address) & (key[:, PROTOCOL] == UDP) & (key[:, PORTS] & 0xFFFF == port)
        found += [(number, int(row)) for row in np.flatnonzero(own)]
    return found


def tasks_of(scenario: Scenario, site: Site, arrivals: Arrivals, users: list[User]) -> Tasks:
    """Return requests, who makes them and what serves them, nothing done yet; site: as it is enforced."""
    numbers = numbers_of(site)
    nodes = {node.name: node for link in site.links for node in link.nodes}
    ways = {path.name: path.energy_nj_per_bit for link in site.links for path in link.paths}
    links = {link.name for link in site.links}
    way_nj = [0.0 if name in links else ways.get(name, 0.0) for name in numbers]
    inside = [name in nodes and nodes[name].tier == "device" for name in numbers]
    servers: list[tuple[Any, ...]] = []
    shared: dict[str, int] = {}
    server_of = np.full((len(users), len(numbers)), NOWHERE, np.int64)
    for number, user in enumerate(users):
        home = scenario.traffic[user.source].computed_by
        for name, place in numbers.items():
            node = nodes.get(name if name in nodes or home is None else home)
            own = node is not None and node.tier == "device"
            if node is None or node.compute is None or (own and node.name != name):
                continue
            if own or node.name not in shared:
                shared[node.name] = len(servers)
                left = node.compute * (1 - node.load)
                servers.append((left, node.queue, node.energy_nj_per_bit, node.energy_nj_per_cycle, 0, 0))
            server_of[number, place] = shared[node.name]
    queue = max([1, *(server[1] for server in servers)])
    asked, request_of = _requests(arrivals, users)
    who = [_user(scenario, site, arrivals, user) for user in users]
    return Tasks(
        asked, np.array(who, USER).view(np.recarray), np.array(servers, SERVER).view(np.recarray), server_of,
        np.array(inside), np.array([name in nodes for name in numbers]), np.array(way_nj),
        np.zeros((len(servers), queue), np.int64), request_of, np.zeros(1),
    )  # fmt: skip


def _user(scenario: Scenario, site: Site, arrivals: Arrivals, user: User) -> tuple[Any, ...]:
    source, link = scenario.traffic[user.source], site.links[arrivals.link[user.up]]
    address = address_text(*arrivals.key[user.up, :2])
    return user.up, user.back, source.answer_bytes, source.cycles_per_bit, sending_nj(link.known, address)


def _requests(arrivals: Arrivals, users: list[User]) -> tuple[Any, NDArray[np.int64]]:
    """Return the requests, records of REQUEST, and which one each packet is of, int64 [packets]."""
    time_ns, size = arrivals.packets.time_ns, arrivals.packets.size
    request_of = np.full(len(time_ns) if users else 0, NOWHERE, np.int64)
    parts = [np.zeros(0, REQUEST)]
    count = 0
    for number, user in enumerate(users):
        own = np.flatnonzero(arrivals.flow == user.up)
        first = np.flatnonzero(np.diff(time_ns[own], prepend=-SILENCE_NS - 1) > SILENCE_NS)
        found = np.zeros(len(first), REQUEST)
        found["user"], found["made_ns"], found["place"] = number, time_ns[own][first], NOWHERE
        found["bits"], found["left"] = np.add.reduceat(size[own], first) * 8, np.diff(first, append=len(own))
        request_of[own] = count + np.repeat(np.arange(len(first)), found["left"])
        count += len(first)
        parts.append(found)
    return np.concatenate(parts).view(np.recarray), request_of


def at_home(places: NDArray[np.int64], scenario: Scenario, site: Site, users: list[User]) -> NDArray[np.int64]:
    """Return where flows begin: those of requests that the devices themselves compute at the place of these."""
    found, numbers = places.copy(), numbers_of(site)
    devices = {node.name for link in site.links for node in link.nodes if node.tier == "device"}
    for user in users:
        name = scenario.traffic[user.source].computed_by
        if name is not None and name in devices:
            found[[user.up, user.back]] = numbers[name]
    return found


def requests_of(scenario: Scenario, tasks: Tasks, users: list[User], kind: NDArray[np.int64]) -> Requests | None:
    """Return what became of the requests whose deadline lies in the episode, None where nobody makes any.

    kind: int64 [flows] the class of each flow.
    """
    if not users:
        return None
    due_ms = np.array([scenario.traffic[user.source].due_ms for user in users], np.float64)
    of_user = kind[[user.up for user in users]]
    each = tasks.each.view(REQUEST, np.ndarray)
    each = each[each["made_ns"] + due_ms[each["user"]] * 1e6 <= scenario.seconds * 1e9]
    latency_ms = np.where(each["done_ns"] > 0, (each["done_ns"] - each["made_ns"]) / 1e6, np.nan)
    return Requests(
        each["made_ns"], of_user[each["user"]], latency_ms, latency_ms <= due_ms[each["user"]], each["refused"] > 0,
        each["place"], each["energy_nj"] / 1e9,
    )  # fmt: skip
