"""The site: links, paths, nodes, devices and limits, read from site.toml. Unknown keys are refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from glob import escape
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field, model_validator

from offramp.decision.address import network_of, spelled
from offramp.decision.bounds import number
from offramp.decision.rules import OptimiserRules, PriorityRules, StaticRules, ThresholdRules
from offramp.decision.tables import Label, Name, NetworkField, Strict, Switch, load_toml, printable
from offramp.toml import shown

PAGE = "docs/site.md"
BUFFER_MS = 250.0
"""The buffer of a link whose file has none: capacity times a long round trip, the old rule for routers' buffers."""
SHOWN = 3
"""Links named in a line."""

Rate = Annotated[float, number("rate")]
Milliseconds = Annotated[float, number("delay_ms")]
Energy = Annotated[float, number("energy")]
Probability = Annotated[float, number("probability")]


def _pattern(text: str) -> str:
    if not printable(text).strip():
        raise ValueError("expected a pattern such as 'eth*'; leave the key out for any interface")
    return text


def _site_name(text: str) -> str:
    if "/" in text:
        raise ValueError(f"expected a name without /, which parts site and link in keys; found {shown(text)}")
    return text


def _repeated(names: Iterable[str]) -> str | None:
    """Return the first name that stands twice."""
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]


def _address(text: str) -> str:
    return spelled(network_of(text))


class AltPath(Strict):
    """A way that flows of a link may take instead."""

    name: Name = Field(description="name that commands carry, as the controller knows it")
    capacity: Rate = Field(description="bits per second, or text such as '20 Mbit/s'")
    delay_ms: Milliseconds = Field(1.0, description="one-way delay without load")
    energy_nj_per_bit: Energy = Field(1.0, description="energy to carry a bit")
    link: Name | None = Field(None, repr=False, description="the watched link that this path is; none: none")
    # not in the repr, which the shipped policy's version hashes: they are nothing to it
    same_address: Switch = Field(
        True,
        repr=False,
        description="whether flows keep their address there; false: behind another NAT, where what has begun breaks",
    )
    mtu: Annotated[int, number("mtu")] = Field(
        1_500, repr=False, description="bytes of IP that a packet there may have"
    )

    def __repr_name__(self) -> str:
        """Return the name in the repr, which the version of the policy hashes."""
        return "Path"


class Node(Strict):
    """A place that can serve a device's traffic: edge, fog or cloud; or the devices themselves."""

    name: Name = Field(description="name that commands carry")
    tier: Literal["device", "edge", "fog", "cloud"] = Field(
        "edge", description="device (each its own), edge, fog or cloud"
    )
    delay_ms: Milliseconds = Field(1.0, description="one-way delay from the devices")
    capacity: Rate = Field(1e9, description="bits per second that it can take")
    energy_nj_per_bit: Energy = Field(1.0, description="energy to serve a bit")
    # what computes; not in the repr, which the shipped policy's version hashes: it does not reckon with it
    compute: Annotated[float, number("compute")] | None = Field(
        None, repr=False, description="cycles per second that it computes; none: its tasks take no time"
    )
    queue: Annotated[int, number("queue")] = Field(
        100, repr=False, description="tasks that may wait for it; one more is refused"
    )
    load: Annotated[float, number("load_share")] = Field(
        0.0, repr=False, description="share of its compute that others have"
    )
    energy_nj_per_cycle: Annotated[float, number("cycle_energy")] = Field(
        0.0, repr=False, description="energy of a cycle"
    )


class Device(Strict):
    """What is known of one device behind a link."""

    address: Annotated[str, AfterValidator(_address)] = Field(
        description="IPv4 or IPv6 address, or a network; the narrowest that holds an address counts"
    )
    name: Label = Field("", description="name for people")
    priority: Annotated[int, number("priority")] = Field(
        0, description="the higher, the later it is moved; below 0: never"
    )
    energy_nj_per_bit: Energy = Field(1.0, description="energy that the device spends to send a bit")


class Rules(Strict):
    """When to act, and for how long."""

    enter_bins: Annotated[int, number("bins")] = Field(
        5, description="bins in a row that must foresee congestion before an onset"
    )
    exit_bins: Annotated[int, number("bins")] = Field(
        50, description="bins without a run of enter_bins bad ones before it has abated"
    )
    enter_probability: Probability = Field(0.5, description="P(High) from which a bin foresees congestion")
    quantile: Literal["q50", "q90", "q99"] = Field("q50", description="delay quantile that is held against the budget")
    exit_probability: Probability = Field(
        0.35, description="P(High) below which a bin foresees none; at most enter_probability"
    )
    exit_share: Annotated[float, number("some_share")] = Field(
        0.8, description="share of the budget below which a delay foresees none"
    )
    hold_s: Annotated[float, number("wait_s")] = Field(1.0, description="shortest time a move stays")
    cooldown_s: Annotated[float, number("wait_s")] = Field(
        1.0, description="time after an abatement without a new onset"
    )
    expiry_s: Annotated[float, number("expiry_s")] = Field(
        10.0, description="a command is void after this, unless updated"
    )
    target_load: Annotated[float, number("some_share")] = Field(
        0.7, description="share of the capacity that may stay on the link"
    )
    # not in the repr, which the shipped policy's version hashes: they are nothing to it
    name: Literal["shipped", "none", "static", "threshold", "priority", "optimiser", "optimiser-reactive"] = Field(
        "shipped", repr=False, description="who decides; `offramp arena --list` tells of each"
    )
    threshold: ThresholdRules = Field(ThresholdRules(), repr=False, description="table [policy.threshold]")
    optimiser: OptimiserRules = Field(OptimiserRules(), repr=False, description="table [policy.optimiser]")
    priority: PriorityRules = Field(PriorityRules(), repr=False, description="table [policy.priority]")
    static: StaticRules = Field(StaticRules(), repr=False, description="table [policy.static]")

    def __repr_name__(self) -> str:
        """Return the name in the repr, which the version of the policy hashes."""
        return "Policy"

    @model_validator(mode="after")
    def _ordered(self) -> Rules:
        """Refuse an exit above the enter: each bin between them would open and end moves."""
        if self.exit_probability > self.enter_probability:
            raise ValueError(
                f"expected exit_probability of at most enter_probability ({self.enter_probability:g}); "
                f"found {self.exit_probability:g}"
            )
        return self


class Limits(Strict):
    """What the policy may never exceed."""

    moves: Annotated[int, number("moves")] = Field(8, description="moves open at once on a link")
    actions: tuple[Literal["reroute", "offload", "mark"], ...] = Field(
        ("reroute", "offload", "mark"), description="allowed actions; mark is tried only where the others find no room"
    )
    only: tuple[NetworkField, ...] = Field((), description="networks whose traffic may be moved; none: all")
    quality: Annotated[float, number("share")] = Field(
        0.99, description="share of the packets of the last seconds that must be accounted for to enforce"
    )


class Link(Strict):
    """What is watched: a capacity, the networks behind it, the paths and nodes that can take its load."""

    name: Name = Field(description="name in forecasts and commands")
    interface: Annotated[str, AfterValidator(_pattern)] | None = Field(
        None, description="pattern of the capture interface's name; none: any that no other link names"
    )
    capacity: Rate = Field(description="bits per second from the devices, or text such as '20 Mbit/s'")
    capacity_down: Rate | None = Field(None, description="bits per second towards the devices; none: as capacity")
    buffer_bytes: Annotated[int, number("buffer_bytes")] | None = Field(
        None, description="bytes that the link queues before it drops; none: 250 ms of the capacity of each direction"
    )
    # not in the repr, which the shipped policy's version hashes
    queues: Annotated[int, number("queues")] = Field(
        1,
        repr=False,
        description="classes of its queue; 2: what is marked as lower effort (DSCP 1) is sent only when nothing else "
        "waits",
    )
    budget_ms: Annotated[float, number("budget_ms")] = Field(25.0, description="queueing delay that users accept")
    tap: Literal["before", "after"] = Field(
        "before", repr=False, description="where the tap stands: before the point where flows are moved, or after it"
    )
    lateness_ms: Annotated[float, number("lateness_ms")] = Field(
        1.0, description="how long a bin waits for packets out of order, in the packets' own time"
    )
    devices: tuple[NetworkField, ...] = Field(
        (), description="networks behind the link; none: every packet counts as up"
    )
    paths: tuple[AltPath, ...] = Field((), description="other paths, tables [[links.paths]]")
    nodes: tuple[Node, ...] = Field((), description="nodes to offload to, tables [[links.nodes]]")
    known: tuple[Device, ...] = Field((), description="devices with a priority, tables [[links.known]]")

    @model_validator(mode="after")
    def _places_differ(self) -> Link:
        """Refuse names that stand for two places: loads are held by them, and moves say where by them."""
        places = [*(path.name for path in self.paths), *(node.name for node in self.nodes)]
        if (twice := _repeated(places)) is not None:
            raise ValueError(f"two of its paths and nodes have the name {shown(twice)}")
        if self.name in places:
            raise ValueError("a path or node has the name of the link itself; a move must lead somewhere else")
        if (twice := _repeated(device.address for device in self.known)) is not None:
            raise ValueError(f"{twice} stands twice in its known devices")
        return self

    @property
    def places(self) -> tuple[AltPath | Node, ...]:
        """Where its load may go: paths, then nodes."""
        return (*self.paths, *self.nodes)

    @property
    def capacity_bps(self) -> float:
        """Bits per second from the devices."""
        return self.capacity

    @property
    def capacity_down_bps(self) -> float:
        """Bits per second towards the devices."""
        return self.capacity_down or self.capacity

    @property
    def buffer_ms(self) -> float | None:
        """The buffer as time at the capacity of each direction, where the file tells no bytes."""
        return BUFFER_MS if self.buffer_bytes is None else None


class Bundle(NamedTuple):
    """Links that share a path or a node, or are paths of each other: what one policy decides over.

    name: that of its first link in the file, of which alone it is in most sites.
    """

    name: str
    links: tuple[Link, ...]


class Site(Strict):
    """One site: its links, and how commands are decided."""

    name: Annotated[Name, AfterValidator(_site_name)] = Field("site", description="name in messages")
    mode: Literal["dry_run", "enforce"] = Field(
        "dry_run", description="dry_run decides and tells; enforce is asked for"
    )
    links: tuple[Link, ...] = Field(min_length=1, description="tables [[links]], at least one")
    policy: Rules = Field(Rules(), description="table [policy]")
    limits: Limits = Field(Limits(), description="table [limits]")

    @model_validator(mode="after")
    def _names_differ(self) -> Site:
        if (twice := _repeated(link.name for link in self.links)) is not None:
            raise ValueError(f"two links have the name {shown(twice)}")
        return self

    @model_validator(mode="after")
    def _shared_places_agree(self) -> Site:
        """Refuse one name for two things: a path or node that several links name is the same one for all."""
        known: dict[str, tuple[str, AltPath | Node]] = {}
        links = {link.name for link in self.links}
        for link in self.links:
            for place in link.places:
                other, before = known.setdefault(place.name, (link.name, place))
                if type(before) is not type(place) or before.capacity != place.capacity:
                    raise ValueError(
                        f"links {shown(other)} and {shown(link.name)} have {shown(place.name)} of two kinds or "
                        "capacities; one name is one path or node, shared by the links that name it"
                    )
            for path in link.paths:
                if path.link is not None and (path.link not in links or path.link == link.name):
                    raise ValueError(
                        f"path {shown(path.name)} of link {shown(link.name)}: link: expected another link of the site; "
                        f"found {shown(path.link)}"
                    )
        return self

    @property
    def bundles(self) -> tuple[Bundle, ...]:
        """The links that are decided over together, in the file's order: its connected parts."""
        parts: list[tuple[set[str], list[Link]]] = []
        for link in self.links:
            places = {f"link {link.name}", *(f"place {node.name}" for node in link.nodes)}
            places |= {f"place {path.name}" for path in link.paths}
            places |= {f"link {path.link or path.name}" for path in link.paths}
            joined = [part for part in parts if part[0] & places]
            parts = [part for part in parts if not part[0] & places]
            names = set().union(places, *(part[0] for part in joined))
            parts.append((names, [*(each for part in joined for each in part[1]), link]))
        order = {link.name: number for number, link in enumerate(self.links)}
        found = [sorted(links, key=lambda link: order[link.name]) for _, links in parts]
        return tuple(
            Bundle(links[0].name, tuple(links)) for links in sorted(found, key=lambda each: order[each[0].name])
        )

    @property
    def bundle_names(self) -> dict[str, str]:
        """The name of each link's bundle."""
        return {link.name: bundle.name for bundle in self.bundles for link in bundle.links}

    def bundle_of(self, link: str) -> Bundle:
        """Return the bundle that a link is of."""
        return next(bundle for bundle in self.bundles if any(each.name == link for each in bundle.links))

    def link(self, name: str) -> Link:
        """Return the link of this name."""
        return next(link for link in self.links if link.name == name)

    def assumed(self) -> str:
        """Return in words what the file leaves to be assumed, empty where it leaves nothing."""
        without = [link.name for link in self.links if link.buffer_bytes is None]
        if not without:
            return ""
        more = f" and {len(without) - SHOWN} more" if len(without) > SHOWN else ""
        names = f"link{'s' if len(without) > 1 else ''} {', '.join(without[:SHOWN])}{more}"
        return f"{names}: no buffer_bytes; {BUFFER_MS:g} ms of the capacity of each direction are assumed ({PAGE})"


def load_site(path: Path) -> Site:
    """Read a site from a TOML file. Raise ConfigError naming file, key, what was expected and what was found."""
    return load_toml(Site, path, PAGE)


def default_site(interfaces: Sequence[str] = ()) -> Site:
    """Return the site assumed without a file: links of 100 Mbit/s with a delay budget of 25 ms.

    One, `capture`; where several interfaces are watched, one each, of its name.
    """
    if len(interfaces) < 2:
        return Site(links=(Link(name="capture", capacity=100e6),))
    names = [each for each in interfaces if each.isprintable()]
    return Site(links=tuple(Link(name=each, interface=escape(each), capacity=100e6) for each in names))


def load_or_default(path: Path | None, interfaces: Sequence[str] = ()) -> Site:
    """Return the site of a file, or without one the assumed site; see load_site and default_site."""
    return load_site(path) if path is not None else default_site(interfaces)
