"""A scenario: a site, its network and its traffic, as a TOML file (docs/arena.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from offramp.decision.bounds import number
from offramp.decision.site import AltPath, Link, Node, Site
from offramp.decision.tables import Label, Name, Strict, load_toml
from offramp.toml import shown

PAGE = "docs/arena.md"

MODELS = (
    "sensors", "web", "onoff", "ramp", "overload", "bulk", "jobs", "steady", "flood", "rollout", "xr_frames",
)  # fmt: skip
"""Of the open loop: what they send is known before."""
SENDERS = ("tcp_long", "tcp_files", "tcp_pages", "video")
"""What reacts to the network."""
REQUESTS = ("xr_frames", "packet_times")
"""What may ask something of a node."""
OF_REQUESTS = {"answer_bytes", "cycles_per_bit", "computed_by"}
MEANT_FOR = {
    "direction": SENDERS, "rtt_ms": SENDERS, "size_bytes": SENDERS[1:3], "pause_s": SENDERS[1:3],
    "deadline_ms": REQUESTS, **dict.fromkeys(OF_REQUESTS, REQUESTS),
}  # fmt: skip
"""Keys of traffic that say nothing of most models, and the models that they are for."""
XR_DEADLINE_MS = 11.0
"""A frame's time at 90 Hz, as the article has it."""


class Outage(Strict):
    """Some time in which a place sends nothing: packets wait there, up to its buffer."""

    place: Name = Field(description="name of a link, path or node")
    from_s: Annotated[float, number("wait_s")] = Field(description="when it begins, seconds into the episode")
    seconds: Annotated[float, number("outage_s")] = Field(description="how long it lasts")
    most_s: Annotated[float, number("outage_s")] | None = Field(
        None, description="the longest that it lasts: drawn anew for each, of seeds; none: always seconds"
    )
    every_s: Annotated[float, number("wait_s")] = Field(
        0.0, description="from one beginning to the next, longer than the longest; 0: it comes once"
    )

    @model_validator(mode="after")
    def _fits(self) -> Outage:
        """Refuse what would never end."""
        longest = self.most_s if self.most_s is not None else self.seconds
        if longest < self.seconds:
            raise ValueError(f"expected most_s of at least seconds ({self.seconds:g}); found {longest:g}")
        if self.every_s and self.every_s <= longest:
            raise ValueError(f"expected every_s above {longest:g}, the longest outage; found {self.every_s:g}")
        return self


class RecordedCapacity(Strict):
    """A place that follows recorded capacity: delivery opportunities, one time in ms a line."""

    place: Name = Field(description="name of a link, path or node")
    file: str = Field(description="file of delivery opportunities that it follows up, one time in ms a line")
    file_down: str | None = Field(None, description="the same towards the devices; none: as file")


class Network(Strict):
    """What of the network no site file says."""

    delay_ms: Annotated[float, number("delay_ms")] = Field(1.0, description="delay of each link without load")
    path_buffer_ms: Annotated[float, number("buffer_ms")] = Field(
        100.0, description="buffer of each path and node, as time at its capacity"
    )
    command_ms: Annotated[float, number("delay_ms")] = Field(
        15.0, description="from the end of the bin that a command is of until it is carried out"
    )
    command_loss: Annotated[float, number("share")] = Field(0.0, description="share of the commands that get lost")
    load: Annotated[float, number("load")] | None = Field(
        None, description="scale all capacities so that the rate of the files is this share of the first link's"
    )
    loss: Annotated[float, number("share")] = Field(
        0.0, description="share of the packets on each link that get lost at random, as on a radio"
    )
    lost_ms: Annotated[float, number("delay_ms")] = Field(200.0, description="delay that a lost packet counts as")
    reconnect_ms: Annotated[float, number("reconnect_ms")] = Field(
        1_000.0,  # the first retransmission timeout of TCP (RFC 6298): what a sender waits for before it doubts
        description="from a break of a flow's connection until its sender begins anew, as a flow of its own",
    )
    capacity: Literal["measured", "nominal", "known"] = Field(
        "measured",
        description="what is told of a capacity that varies: what it was in the last 0.1 s, the nominal one, or what "
        "it will be in the next 0.2 s, which nobody knows",
    )
    sees: Literal["counters", "tap"] = Field(
        "counters",
        description="what a policy without a forecast is shown: a switch's counters, or what the tap sees",
    )
    trace: str | None = Field(
        None, description="file of delivery opportunities that the first link follows up, one time in ms a line"
    )
    trace_down: str | None = Field(None, description="the same towards the devices; none: as trace")
    traces: tuple[RecordedCapacity, ...] = Field(
        (), description="tables [[network.traces]]: recorded capacity of any place"
    )
    outages: tuple[Outage, ...] = Field((), description="tables [[network.outages]]: when places send nothing")


class Clairvoyance(Strict):
    """What the bound knows, and what a move costs it."""

    horizons_ms: tuple[Annotated[float, number("budget_ms")], ...] = Field(
        (50.0, 100.0, 200.0, 500.0), min_length=1, max_length=16,
        description="how far it knows every packet, behind the command's latency: each is played, the best counts",
    )  # fmt: skip
    price: Annotated[float, number("budget_ms")] = Field(
        0.5, description="what a move must save to be made, ms summed over packets"
    )


class TrafficSource(Strict):
    """Some traffic: of a model, from a list of packet times, or from a capture."""

    model: Literal[
        "sensors", "web", "onoff", "ramp", "overload", "bulk", "jobs", "steady", "flood", "rollout", "xr_frames",
        "tcp_long", "tcp_files", "tcp_pages", "video", "packet_times", "capture",
    ] = Field(description="what it is: a model's name, packet_times or capture")  # fmt: skip
    count: Annotated[int, number("count")] = Field(1, description="how many of a model")
    share: Annotated[float, number("load")] = Field(
        0.5, description="rate that a model is made for, of video the most, as a share of its link's capacity"
    )
    file: str | None = Field(None, description="of packet_times (seconds and bytes a line) or of a capture")
    start_s: Annotated[float, number("wait_s")] = Field(
        0.0, description="where in the file to begin; of what reacts: when, up to a second later each"
    )
    step_s: Annotated[float, number("wait_s")] = Field(0.0, description="start_s moves on by so much with each seed")
    device: Annotated[int, number("device")] = Field(1, description="number of the device that packet_times are of")
    link: Name | None = Field(None, description="name of the link that it is of; none: the first")
    label: Label = Field("", alias="class", description="the class that it is told by; none: the model's name")
    direction: Literal["up", "down"] = Field("down", description="where the data of what reacts go")
    size_bytes: Annotated[int, number("bytes")] = Field(
        1_000_000, description="of each file of tcp_files; the mean of a page of tcp_pages"
    )
    pause_s: Annotated[float, number("wait_s")] = Field(
        1.0, description="mean pause of tcp_files and tcp_pages before the next, exponential"
    )
    rtt_ms: Annotated[float, number("delay_ms")] = Field(
        20.0, description="round trip beyond the site, of what reacts; none is added where a node answers"
    )
    deadline_ms: Annotated[float, number("budget_ms")] | None = Field(
        None, description="time of a request, up, node and down; none: 11 ms of xr_frames, no requests of packet_times"
    )
    answer_bytes: Annotated[int, number("answer")] = Field(0, description="of the answer to a request; 0: none is sent")
    cycles_per_bit: Annotated[float, number("cycles")] = Field(
        0.0, description="what a bit of a request takes to compute"
    )
    computed_by: Name | None = Field(
        None, description="node that computes requests that were not moved to another; none: they take no time"
    )

    @model_validator(mode="after")
    def _has_what_its_model_needs(self) -> TrafficSource:
        if (self.model in (*MODELS, *SENDERS)) == (self.file is not None):
            raise ValueError(f"model {self.model}: expected {'no file' if self.file else 'a file'}")
        for key in sorted(self.model_fields_set & MEANT_FOR.keys()):
            if self.model not in MEANT_FOR[key]:
                raise ValueError(f"model {self.model}: expected no {key}, which is of {' and '.join(MEANT_FOR[key])}")
        if self.due_ms is None and (needless := sorted(self.model_fields_set & OF_REQUESTS)):
            raise ValueError(f"model {self.model}: expected a deadline_ms beside {needless[0]}")
        return self

    @property
    def name(self) -> str:
        """The class of traffic, as tables have it."""
        return self.label or self.model

    @property
    def due_ms(self) -> float | None:
        """The deadline of its requests; None where it makes none."""
        return XR_DEADLINE_MS if self.model == "xr_frames" and self.deadline_ms is None else self.deadline_ms


class Scenario(Strict):
    """A site under some traffic for some time."""

    name: Name = Field(description="name in tables")
    about: Label = Field("", description="what it is, for people")
    seconds: Annotated[float, number("seconds")] = Field(30.0, description="length of an episode")
    site: Site = Field(description="the site: tables [site] and [[site.links]], as in site.toml")
    network: Network = Field(Network(), description="table [network]")
    clairvoyant: Clairvoyance = Field(Clairvoyance(), description="table [clairvoyant]: the bound's settings")
    traffic: tuple[TrafficSource, ...] = Field(min_length=1, description="tables [[traffic]], at least one")

    @model_validator(mode="after")
    def _names_are_of_the_site(self) -> Scenario:
        """Refuse what is of no link, node or place, and a place that two links tell of differently: it is one queue."""
        links = [link.name for link in self.site.links]
        for source in self.traffic:
            if source.link is not None and source.link not in links:
                raise ValueError(
                    f"traffic: expected a link of the site ({', '.join(links)}); found {shown(source.link)}"
                )
            nodes = [node.name for node in self.site.links[self.link_number(source)].nodes]
            if source.computed_by is not None and source.computed_by not in nodes:
                raise ValueError(
                    f"traffic: computed_by: expected a node of its link ({', '.join(nodes) or 'it has none'}); "
                    f"found {shown(source.computed_by)}"
                )
        asking = [(each.link, each.device) for each in self.traffic if each.file and each.deadline_ms is not None]
        if len(set(asking)) < len(asking):
            raise ValueError("traffic: expected each packet_times with a deadline_ms to have a device of its own")
        known: dict[str, tuple[AltPath | Node, str]] = {}
        for link in self.site.links:
            for place in link.places:
                first, where = known.setdefault(place.name, (place, link.name))
                if first != place:
                    both = f"{shown(where)} and {shown(link.name)}"
                    raise ValueError(
                        f"site: {shown(place.name)} of the links {both} is one place with one queue: "
                        "expected the same keys in both"
                    )
        places = [*links, *known]
        for key, tables in (("traces", self.network.traces), ("outages", self.network.outages)):
            for table in tables:
                if table.place not in places:
                    raise ValueError(
                        f"network.{key}: expected a place of the site ({', '.join(places)}); found {shown(table.place)}"
                    )
        traced = [place for place, _ in self.traces]
        if len(set(traced)) < len(traced):
            raise ValueError("network.traces: two tables of one place; its capacity follows one file a direction")
        return self

    @property
    def traces(self) -> list[tuple[str, tuple[str | None, str | None]]]:
        """The places that follow recorded capacity, each with its files up and down."""
        network = self.network
        first = (self.link.name, (network.trace, network.trace_down or network.trace))
        found = [(each.place, (each.file, each.file_down or each.file)) for each in network.traces]
        return [first, *found] if any(first[1]) else list(found)

    @property
    def varies(self) -> bool:
        """Whether seeds give other episodes; where they do not, there is one."""
        network = self.network
        drawn = network.command_loss > 0 or network.loss > 0 or any(outage.most_s for outage in network.outages)
        return drawn or any(source.file is None or source.step_s > 0 for source in self.traffic)

    @property
    def reacts(self) -> bool:
        """Whether some of it sends what the network lets it: nobody knows its packets before."""
        return any(source.model in SENDERS for source in self.traffic)

    @property
    def link(self) -> Link:
        """The first link."""
        return self.site.links[0]

    def link_number(self, source: TrafficSource) -> int:
        """Return the number of the link that some traffic is of."""
        names = [link.name for link in self.site.links]
        return names.index(source.link) if source.link is not None else 0


def of_capture(file: Path, site: Site, seconds: float) -> Scenario:
    """Return the scenario of a user's own traffic, whole, on the first link of a user's own site."""
    name = "".join(letter for letter in file.name if letter.isprintable())[:80]
    source = TrafficSource(model="capture", file=str(file.absolute()))
    first = site.model_copy(update={"links": site.links[:1]})
    return Scenario(name=name, about="one episode", seconds=max(seconds, 1.0), site=first, traffic=(source,))


def load_scenario(path: Path) -> Scenario:
    """Read a scenario. Raise ConfigError naming file, key, what was expected and what was found."""
    return load_toml(Scenario, path, PAGE)
