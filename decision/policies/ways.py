"""The ways that traffic of a link may take, by number: the link itself, then its paths, then its nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from offramp.decision.policies.assignment import Way
from offramp.decision.site import BUFFER_MS, AltPath, Limits, Link, Node
from offramp.decision.traffic import Direction, Traffic

HOME = 0
PATH_BUFFER_MS = 100.0
"""Of a path or node, of which nothing is known: what operators of access links set, and the arena."""
UNKNOWN = Direction(), Direction()


class Ways:
    """The ways of one link. Flows may take `paths`, devices `nodes`: those that break nothing, as the site allows."""

    def __init__(self, link: Link, limits: Limits, base_ms: float, command_ms: float) -> None:
        self._link, self._base_ms, self._command_ms = link, base_ms, command_ms
        reroutes, offloads = ("reroute" in limits.actions), ("offload" in limits.actions)
        paths = [path for path in link.paths if reroutes and path.same_address]
        nodes = [node for node in link.nodes if offloads and node.tier != "device"]
        self.places: Sequence[AltPath | Node] = (*paths, *nodes)
        self.paths = range(1, len(paths) + 1)
        self.nodes = range(len(paths) + 1, len(self.places) + 1)
        self.count = len(self.places) + 1
        self.number = {place.name: number for number, place in enumerate(self.places, 1)}

    def name(self, number: int) -> str:
        """Return the name of a path or node."""
        return self.places[number - 1].name

    def opened(self, numbers: Sequence[int], others: Mapping[str, float]) -> tuple[int, ...]:
        """Return home and those of some ways that are not closed; others: what others put on each, by name."""
        return (HOME, *(number for number in numbers if others.get(self.name(number), 0.0) < math.inf))

    def at(
        self, traffic: Traffic, side: int, others: Mapping[str, float], told: Sequence[float], loads: Sequence[float],
        late: Sequence[float],
    ) -> list[Way]:  # fmt: skip
        """Return all ways in one direction as they will be when a command of now is carried out, bit/s by number.

        told: what the link tells of the units on each way; loads: what they have there; late: what will have gone, or
        come, only then.
        """
        direction = traffic.directions[side]
        bytes_ = self._link.buffer_bytes
        buffer_ms = bytes_ * 8e3 / direction.capacity_bps if bytes_ is not None else BUFFER_MS
        rest = max(0.0, direction.load_bps - told[HOME])
        home = Way(direction.capacity_bps, self._base_ms, buffer_ms, direction.end_ms, rest + loads[HOME])
        found = [self._later(home, late[HOME])]
        for number, place in enumerate(self.places, 1):
            here, other = traffic.places.get(place.name, UNKNOWN)[side], others.get(place.name, 0.0)
            rest = max(here.load_bps - told[number], other if other < math.inf else 0.0, 0.0)
            capacity = here.capacity_bps or place.capacity
            way = Way(capacity, place.delay_ms, PATH_BUFFER_MS, here.end_ms, rest + loads[number])
            found.append(self._later(way, late[number]))
        return found

    def _later(self, way: Way, late_bps: float) -> Way:
        growth = (way.load_bps + late_bps) / way.capacity_bps - 1.0
        return way._replace(queue_ms=min(max(way.queue_ms + growth * self._command_ms, 0.0), way.buffer_ms))
