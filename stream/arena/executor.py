"""Who carries commands out in the arena: after the command's latency, by the match of each flow, until they expire."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.decision.command import Command
from offramp.decision.site import Link
from offramp.stream.arena.network import NEVER, Flows
from offramp.stream.arena.traffic import Arrivals

FLAP_NS = 5_000_000_000
"""A flow that moves again within so long of its return flaps."""


class OpenMove(NamedTuple):
    """What a loop holds: its flows (int64 numbers), where they are, when its last command expires (ns)."""

    flows: NDArray[np.int64]
    place: int
    expires_ns: int


@dataclass
class Counts:
    """What was carried out: flows moved and given back, flaps; commands lost, refused, expired, and all of them.

    refused_tasks: those that found their node full.
    """

    moved: int = 0
    returned: int = 0
    flaps: int = 0
    lost: int = 0
    refused: int = 0
    expired: int = 0
    commands: int = 0
    refused_tasks: int = 0


@dataclass
class Executor:
    """Carries out the commands of one link; places: the names of paths and nodes, the link's own first."""

    arrivals: Arrivals
    flows: Flows
    link: Link
    command_ns: int
    loss: float
    rng: np.random.Generator
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        names = [self.link.name, *(path.name for path in self.link.paths), *(node.name for node in self.link.nodes)]
        self.places = {name: number for number, name in enumerate(names)}
        self._home = self.flows.place.copy()
        self._moves: dict[str, OpenMove] = {}
        self._returned_ns = np.full(len(self.flows.place), -FLAP_NS, np.int64)
        rates = (self.arrivals.flow_rate(which, 0.0) for which in range(len(self.flows.place)))
        self._by_match: dict[tuple[Any, ...], int] = {}
        self._by_device: dict[str, list[int]] = {}
        for which, flow in enumerate(rates):
            self._by_match[tuple(flow.match().items())] = which
            self._by_device.setdefault(flow.dst if flow.down else flow.src, []).append(which)

    def take(self, command: Command, now_ns: int) -> None:
        """Carry a command out, from now on and after its latency."""
        if command.mode != "enforce":
            return
        self.counts.commands += 1
        if self.loss and self.rng.random() < self.loss:
            self.counts.lost += 1
            return
        if command.phase == "abated":
            self._end(command.loop_id, now_ns)
        elif command.loop_id in self._moves:
            life_ns = command.expires_at_ns - command.not_before_ns
            self._moves[command.loop_id] = self._moves[command.loop_id]._replace(expires_ns=now_ns + life_ns)
        else:
            self._begin(command, now_ns)

    def _begin(self, command: Command, now_ns: int) -> None:
        action = command.action
        if action["type"] == "reroute":
            numbers = [self._by_match.get(tuple(match.items()), NEVER) for match in action["flows"]]
        elif action["type"] == "offload":
            numbers = self._by_device.get(action["device"], [])
        else:
            self.counts.refused += 1  # no queue here honours a mark
            return
        place = self.places.get(str(action.get("path") or action.get("to")), NEVER)
        flows = np.array([number for number in numbers if number != NEVER], np.int64)
        if place == NEVER or not len(flows):
            self.counts.refused += 1
            return
        self._send(flows, place, now_ns)
        self.counts.moved += len(flows)
        self.counts.flaps += int(np.count_nonzero(now_ns - self._returned_ns[flows] < FLAP_NS))
        life_ns = command.expires_at_ns - command.not_before_ns
        self._moves[command.loop_id] = OpenMove(flows, place, now_ns + life_ns)

    def _end(self, loop_id: str, now_ns: int) -> None:
        held = self._moves.pop(loop_id, None)
        if held is not None:
            self._send(held.flows, NEVER, now_ns)
            self._returned_ns[held.flows] = now_ns
            self.counts.returned += len(held.flows)

    def _send(self, flows: NDArray[np.int64], place: int, now_ns: int) -> None:
        """Let flows go to a place, or home, when the command has arrived."""
        self.flows.following[flows] = self._home[flows] if place == NEVER else place
        self.flows.due_ns[flows] = now_ns + self.command_ns

    def expire(self, now_ns: int) -> None:
        """End what was not renewed."""
        for loop_id in [name for name, held in self._moves.items() if held.expires_ns <= now_ns]:
            self._end(loop_id, now_ns)
            self.counts.expired += 1
