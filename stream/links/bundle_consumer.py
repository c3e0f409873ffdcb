"""A bundle in a worker: its links' consumers, where their bins meet, and its marks; one state, one checkpoint.

The result depends on the messages of the bundle and their order alone, marks among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from offramp.capture.message.decode import FeatureMessage, RefusedError
from offramp.capture.message.mark import MAX_RATE, Mark
from offramp.decision.site import Site
from offramp.errors import ContractError
from offramp.stream.links.link_consumer import LinkConsumer
from offramp.stream.pipeline.marks import links_of
from offramp.stream.pipeline.meeting import Meeting
from offramp.stream.pipeline.pipeline import Pipeline, Step
from offramp.stream.windows.windows import Windowed

MAX_WAITING = 100_000
"""Rows that wait for another link until it counts as away: a quarter of an hour of a link, 65 MB."""
MAX_SAVED = 2_048
"""Rows of a checkpoint: while more wait, which a recording's links do for each other, none is written."""


class Held(NamedTuple):
    """A link that others wait for: its name, the bin that it has reached, whether any of the bundle's links is live."""

    link: str
    reached: int
    live: bool


class BundleConsumer:
    """The links of a bundle with their place in the topic, all of one meeting.

    next_offset: the state holds every earlier message of the bundle.
    """

    def __init__(self, name: str, links: Mapping[str, LinkConsumer], meeting: Meeting) -> None:
        self.name, self.links, self.meeting = name, dict(links), meeting
        self.next_offset = 0
        self.capacity: dict[str, tuple[float, float]] = {}

    @classmethod
    def of(cls, site: Site, name: str, make: Callable[[str, Meeting], Pipeline]) -> BundleConsumer:
        """Return the consumer of a bundle of a site; make: an empty pipeline of a link, again where it begins anew."""
        bundle = next(each for each in site.bundles if each.name == name)
        meeting = Meeting(site, bundle)
        links = {each.name: LinkConsumer(each.name, lambda link: make(link, meeting)) for each in bundle.links}
        return cls(name, links, meeting)

    def accept(self, message: FeatureMessage, offset: int) -> list[Step]:
        """Take the message at an offset of the topic; return its steps for `conclude`, in order."""
        if offset < self.next_offset:
            return []  # the checkpoint has it
        self.next_offset = offset + 1
        return self.links[message.link].accept(message, offset)

    def note(self, mark: Mark, offset: int) -> list[Step]:
        """Take a mark; return its steps. Raises RefusedError for one of what the bundle has not."""
        if offset < self.next_offset:
            return []
        self.next_offset = offset + 1
        one = next(iter(self.links.values()))
        if not links_of(mark, self.meeting.bundle.links):
            raise RefusedError("mark", f"a {mark.kind} of {mark.about[:40]!r}, which bundle {self.name} has not")
        if mark.kind == "capacity":
            self.capacity[mark.about] = mark.members["up_bps"], mark.members["down_bps"]
            self.links[mark.about].set_capacity(*self.capacity[mark.about])
        return [Step(one.pipeline, Windowed([], act=lambda: self.meeting.act(mark)))]

    @property
    def held_by(self) -> Held | None:
        """The link that others wait for, if there is one."""
        if len(self.links) < 2 or not self.meeting.waiting:
            return None
        seat = min(self.meeting.seats.values(), key=lambda seat: seat.waits_until)
        return Held(seat.link.name, seat.reached, any(link.live for link in self.links.values()))

    @property
    def may_be_saved(self) -> bool:
        """Whether a checkpoint has room for what waits."""
        return self.meeting.waiting <= MAX_SAVED

    def state(self) -> dict[str, Any]:
        """Return everything that the next message depends on, for a checkpoint."""
        return {
            "next_offset": self.next_offset,
            "capacity": {link: list(each) for link, each in self.capacity.items()},
            "links": {name: link.state() for name, link in self.links.items()},
            "meeting": self.meeting.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> bool:
        """Restore a state; return whether its pipelines are of the same models and policies and so were restored, too.

        Raises an error for a state that no run gives; the consumer is then of no use.
        """
        if state["links"].keys() != self.links.keys():
            raise ContractError("state.links: of other links")
        if type(state["next_offset"]) is not int or not 0 <= state["next_offset"] < 1 << 63:
            raise ContractError("state.next_offset: is none")
        for link, (up_bps, down_bps) in state["capacity"].items():
            if not all(type(each) is float and 1 <= each <= MAX_RATE for each in (up_bps, down_bps)):
                raise ContractError(f"state.capacity: {str(link)[:40]} has none that a link can have")
            self.capacity[link] = up_bps, down_bps
            self.links[link].set_capacity(*self.capacity[link])
        same = [link.restore(state["links"][name]) for name, link in self.links.items()]
        self.next_offset = state["next_offset"]
        for each in self.links.values():
            each.next_offset = 0  # the bundle's counts
        for link, capacity in self.capacity.items():
            self.meeting.seats[link].resize(*capacity)
        if all(same):
            self.meeting.restore(state["meeting"])
        return all(same)
