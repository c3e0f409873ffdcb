"""The traffic of an episode: packets in order of time, each of a flow, made from a scenario and a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.decision.site import Link, Site
from offramp.decision.traffic import FlowRate
from offramp.errors import InputError
from offramp.stream.arena import models
from offramp.stream.arena.scenario import SENDERS, Network, Scenario, TrafficSource
from offramp.stream.bins.packets import IPV4_MAPPED, UDP, Packets, no_packets, part_of
from offramp.stream.bins.state import LinkConfig
from offramp.stream.channels import BIN_NS, Counter
from offramp.stream.datasets import synthetic
from offramp.stream.datasets.arrivals import base_of, packet_times, read_capture
from offramp.stream.datasets.synthetic import NETWORK, Flow, Rng, mark, merged
from offramp.stream.datasets.trace_queue import goes_down
from offramp.stream.pipeline.traffic import flow_rate

PROTOCOL, PORTS = 4, 5
"""Columns of a flow's key."""
FIRST_DEVICE = 10
"""Of models but sensors, which are the devices before."""
UDP_MARK = mark(Counter.UDP)
HEADERS = 14
"""Bytes of Ethernet before packets of which only the length in IP is told."""
PACKET_TIMES_PORT = 5000
INSIDE, OUTSIDE = IPV4_MAPPED | 0x0A000001, IPV4_MAPPED | 0xC0000201
"""Addresses of device 0 and of the far end, as in datasets.synthetic.merged."""


class Arrivals(NamedTuple):
    """The packets of an episode, its first bin's begin at time 0.

    flow: int64 [n] the flow of each packet; down: bool [flows]; key: int64 [flows, 6] address (4), protocol, ports;
    scale: what all capacities are to be multiplied by, so that the traffic of files is the load that is asked for.
    link: int64 [flows] the number of the link that each is of; kind: int64 [flows] the class of each, of those named by
    `classes`.
    """

    packets: Packets
    flow: NDArray[np.int64]
    down: NDArray[np.bool_]
    key: NDArray[np.int64]
    scale: float
    link: NDArray[np.int64]
    kind: NDArray[np.int64]
    classes: tuple[str, ...]

    def flow_rate(self, which: int, rate_bps: float) -> FlowRate:
        """Return a flow as policies see it."""
        one = _flow(self.key[which].tobytes())
        down, rate_bps = bool(self.down[which]), round(rate_bps, 1)
        return FlowRate(one.src, one.dst, one.proto, one.sport, one.dport, rate_bps, down)


@lru_cache(maxsize=1 << 16)
def _flow(key: bytes) -> FlowRate:
    """Return the flow of a key, int64 [6]: what flows are loaded by is looked up in every bin."""
    return flow_rate(np.frombuffer(key, np.int64), 0.0)


def arrivals_of(scenario: Scenario, seed: int, here: Path, root: Path | None) -> Arrivals:
    """Return the traffic of one episode. Raises InputError and ConfigError for files that are not there."""
    bare = Scenario(  # what traffic depends on, so that tuning makes it once
        name=scenario.name, seconds=scenario.seconds, site=Site(links=scenario.site.links),
        network=Network(load=scenario.network.load), traffic=scenario.traffic,
    )  # fmt: skip
    return _made(bare, seed, here, root)


@lru_cache(maxsize=8)
def _made(scenario: Scenario, seed: int, here: Path, root: Path | None) -> Arrivals:
    rng, links = np.random.default_rng([seed, sum(scenario.name.encode())]), scenario.site.links
    files = [source for source in scenario.traffic if source.file]
    of_file = [scenario.link_number(source) for source in files]
    captured = [
        _from_file(source, link, scenario.seconds, seed, here, root)
        for source, link in zip(files, of_file, strict=True)
    ]
    scale = _scale(scenario, [part for part, number in zip(captured, of_file, strict=True) if number == 0])
    classes = tuple(dict.fromkeys(source.name for source in scenario.traffic))
    flows: list[list[Flow]] = [[] for _ in links]
    kinds: list[list[int]] = [[] for _ in links]
    for at, number, device in made(scenario):
        source, link = scenario.traffic[at], scenario.link_number(scenario.traffic[at])
        if source.model not in SENDERS:
            rate_bps = links[link].capacity_bps * scale * source.share
            own_flows = MODELS[source.model](rng, scenario.seconds, device, rate_bps, number)
            flows[link] += own_flows
            kinds[link] += [classes.index(source.name)] * len(own_flows)
    sending = [number for number, own in enumerate(flows) if any(len(each.time) for each in own)]
    of_part = [*sending, *of_file]
    if not of_part and not scenario.reacts:
        raise InputError(f"scenario {scenario.name}: no packet in {scenario.seconds:g} s of seed {seed}; give it more")
    parts = [*(_of_link(flows[number], number) for number in sending), *captured]
    kind = [_kinds(flows[number], kinds[number]) for number in sending]
    kind += [np.full(len(part.time_ns), classes.index(each.name)) for part, each in zip(captured, files, strict=True)]
    packets, order = _together(parts)
    order = order[: int(np.searchsorted(packets.time_ns, int(scenario.seconds * 1e9)))]
    packets = part_of(packets, 0, len(order))
    link_of = np.repeat(np.array(of_part, np.int64), [len(part.time_ns) for part in parts])[order]
    # of one link the last column says nothing; of several the same addresses are flows of their own
    fields = np.column_stack([packets.address, packets.protocol, packets.ports, link_of])
    key, flow = np.unique(fields, axis=0, return_inverse=True)
    flow = np.ascontiguousarray(flow.ravel().astype(np.int64))
    own, kind_of = np.ascontiguousarray(key[:, -1]), np.zeros(len(key), np.int64)
    kind_of[flow] = np.concatenate([np.empty(0, np.int64), *kind])[order]
    down, key = _down(packets, flow, own, links), np.ascontiguousarray(key[:, :-1])
    return Arrivals(packets, flow, down, key, scale, own, kind_of, classes)


def _kinds(flows: list[Flow], kinds: list[int]) -> NDArray[np.int64]:
    """Return the class of each packet of some flows, in the order in which `merged` has them."""
    kind = np.repeat(np.array(kinds, np.int64), [len(flow.time) for flow in flows])
    return kind[np.argsort(np.concatenate([flow.time for flow in flows]), kind="stable")]


def inside_of(link: int, device: int) -> int:
    """Return the low half of the address of a made-up device, those of link n in 10.n.0.0/16."""
    return INSIDE + device + (link << 16)


def partners(arrivals: Arrivals) -> NDArray[np.int64]:
    """Return the flow of the other direction of each flow's connection, int64 [flows], -1 where there is none."""
    key = arrivals.key
    ports = key[:, PORTS] >> 16 | (key[:, PORTS] & 0xFFFF) << 16
    turned = np.column_stack([key[:, 2:4], key[:, :2], key[:, PROTOCOL], ports])
    number = {tuple(row): at for at, row in enumerate(np.column_stack([key, arrivals.link]).tolist())}
    found = [number.get(tuple(row), -1) for row in np.column_stack([turned, arrivals.link]).tolist()]
    return np.where(np.array(found) == np.arange(len(key)), -1, found)


def _of_link(flows: list[Flow], number: int) -> Packets:
    """Return the packets of a link's made-up flows, its devices in 10.NUMBER.0.0/16."""
    packets = merged(flows)
    packets.address[packets.address >> 24 == (IPV4_MAPPED >> 24 | 10)] += number << 16
    return packets


def _down(
    packets: Packets, flow: NDArray[np.int64], link: NDArray[np.int64], links: tuple[Link, ...]
) -> NDArray[np.bool_]:
    """Return which flows go towards the devices of their link."""
    down = np.zeros(len(link), np.bool_)
    for number, each in enumerate(links):
        if each.devices:
            towards = goes_down(packets, tuple(str(network) for network in each.devices))
            down |= (np.bincount(flow, towards, len(link)) > 0) & (link == number)
    return down


def made(scenario: Scenario) -> Iterator[tuple[int, int, int]]:
    """Return what is made of no file: the number of its source, which of the source's it is, its device's number."""
    device = FIRST_DEVICE
    for at, source in enumerate(scenario.traffic):
        for number in range(0 if source.file else source.count):
            yield at, number, number if source.model == "sensors" else device
            device += source.model != "sensors"


def _scale(scenario: Scenario, captured: list[Packets]) -> float:
    """Return what makes the traffic of files the load that the network asks for, of the link's capacity up."""
    if scenario.network.load is None:
        return 1.0
    bits = sum(float(each.size.sum()) for each in captured) * 8
    return bits / scenario.seconds / scenario.network.load / scenario.link.capacity_bps


def _together(parts: list[Packets]) -> tuple[Packets, NDArray[np.int64]]:
    """Return the packets of all parts in order of time, and that order: int64 [n], of the parts one after the other.

    The bin of each part's first packet is at time 0.
    """
    if not parts:
        return no_packets(), np.empty(0, np.int64)
    moved = [part._replace(time_ns=part.time_ns - part.time_ns.min() // BIN_NS * BIN_NS) for part in parts]
    whole = Packets._make(np.concatenate(columns) for columns in zip(*moved, strict=True))
    order = np.argsort(whole.time_ns, kind="stable")
    return Packets._make(column[order] for column in whole), order


def _from_file(source: TrafficSource, link: int, seconds: float, seed: int, here: Path, root: Path | None) -> Packets:
    """Return the packets of a file's stretch."""
    path = place_of(source.file or "", here, root)
    begin_s = source.start_s + seed * source.step_s
    if source.model == "packet_times":
        time, size = _times(path).T
        span = float(time.max(initial=0.0)) - seconds
        begin_s = begin_s % span if span > 0 else 0.0  # a file that is no longer than an episode is taken whole
        inside = (time >= begin_s) & (time < begin_s + seconds)
        times, sizes = time[inside] - begin_s, size[inside] + HEADERS
        flow = Flow(times, sizes, False, source.device, UDP, PACKET_TIMES_PORT + source.device, UDP_MARK)
        packets = _of_link([flow], link)
    else:
        packets = packets_of(path)
        begin = (int(packets.time_ns[0]) if len(packets.time_ns) else 0) + int(begin_s * 1e9)
        first, last = np.searchsorted(packets.time_ns, [begin, begin + int(seconds * 1e9)])
        packets = part_of(packets, int(first), int(last))
    if not len(packets.time_ns):
        raise InputError(f"{path}: no packet in {seconds:g} s from {begin_s:g} s on")
    return packets


def place_of(name: str, here: Path, root: Path | None) -> Path:
    """Return a file of a scenario: beside it, or below --root where its name begins with $ROOT/."""
    base, rest = base_of(name, here, root)
    return base / rest


@lru_cache(maxsize=2)
def packets_of(path: Path) -> Packets:
    """Return the packets of a capture in order of time. Raises InputError for a file that is none."""
    packets = read_capture(path.name, path).packets
    order = np.argsort(packets.time_ns, kind="stable")
    return Packets._make(column[order] for column in packets)


_times = lru_cache(maxsize=4)(packet_times)


def _sensors(rng: Rng, seconds: float, device: int, _: float, __: int) -> list[Flow]:
    return synthetic.periodic_device(rng, seconds, device) + synthetic.name_lookups(rng, seconds, device)


def _bulk(rng: Rng, seconds: float, device: int, rate_bps: float, _: int) -> list[Flow]:
    config = LinkConfig(rate_bps, rate_bps, rate_bps / 8 * 0.1, (NETWORK,))
    return synthetic.bulk_transfers(rng, seconds, device, config)


def _jobs(rng: Rng, seconds: float, device: int, rate_bps: float, number: int) -> list[Flow]:
    """0.4 s of datagrams every 2 s, each of these jobs a little slower than the one before, so that phases drift."""
    phase, period = rng.uniform(0, 2), 2.0 + 0.05 * number
    count = synthetic.packets_in(0.4, rate_bps, 1_400)
    times = [synthetic.paced(at, at + 0.4, count, rng) for at in np.arange(phase, seconds - 0.5, period)]
    whole = np.concatenate(times) if times else np.empty(0)
    return [Flow(whole, np.full(len(whole), 1_400.0), False, device, UDP, 6000 + number, UDP_MARK)]


def _plain(make: Callable[[Rng, float, int, float], list[Flow]]) -> Callable[[Rng, float, int, float, int], list[Flow]]:
    return lambda rng, seconds, device, rate_bps, _: make(rng, seconds, device, rate_bps)


MODELS: dict[str, Callable[[Rng, float, int, float, int], list[Flow]]] = {
    "sensors": _sensors,
    "web": _plain(synthetic.web_bursts),
    "onoff": _plain(synthetic.on_off),
    "ramp": _plain(synthetic.ramp),
    "overload": _plain(synthetic.overload),
    "bulk": _bulk,
    "jobs": _jobs,
    "xr_frames": models.xr_frames,
    "steady": models.steady,
    "flood": models.flood,
    "rollout": models.rollout,
}
"""Models of traffic by name: of a generator, seconds, a device's number, the rate it is made for, its number."""
