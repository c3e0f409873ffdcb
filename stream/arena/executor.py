"""Who carries commands out in the arena: after the command's latency, by the match of each flow, until they expire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.decision.command import Command
from offramp.decision.reroute import LOWER_EFFORT
from offramp.stream.arena.network.flows import NEVER, PARTNER, START, Flows
from offramp.stream.arena.traffic import PORTS, Arrivals

FIRST_PORT, LAST_PORT = 49_152, 65_535
"""Ports that senders take for themselves (RFC 6335)."""
FLAP_NS = 5_000_000_000
"""A flow that moves again within so long of its return flaps."""


class OpenMove(NamedTuple):
    """What a loop holds: its flows (int64 numbers), where they are, when its last command expires (ns).

    device: whether it holds all flows of a device, those to come too.
    """

    flows: NDArray[np.int64]
    place: int
    expires_ns: int
    device: bool


@dataclass
class Counts:
    """What was carried out: flows moved or marked and given back, flaps; commands lost, refused, expired, all of them.

    broken: connections that a move made begin anew; refused_tasks: those that found their node full.
    """

    moved: int = 0
    returned: int = 0
    flaps: int = 0
    lost: int = 0
    refused: int = 0
    expired: int = 0
    commands: int = 0
    broken: int = 0
    refused_tasks: int = 0


@dataclass
class Executor:
    """Carries out the commands of one link; places: the numbers of its paths and nodes, by name.

    lower: the place of what gives way on the link (network), or NEVER where its queue has one class.
    """

    arrivals: Arrivals
    flows: Flows
    link: int
    places: Mapping[str, int]
    lower: int
    command_ns: int
    loss: float
    rng: np.random.Generator
    counts: Counts

    def __post_init__(self) -> None:
        self._moves: dict[str, OpenMove] = {}
        self._returned_ns = np.full(len(self.flows.place), -FLAP_NS, np.int64)
        self._by_match: dict[tuple[Any, ...], int] = {}
        self._by_device: dict[str, list[int]] = {}
        for which in np.flatnonzero(self.arrivals.link == self.link).tolist():
            flow = self.arrivals.flow_rate(which, 0.0)
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
            numbers = self._matched(action)
            place = self.places.get(str(action["path"]), NEVER)
        elif action["type"] == "offload":
            numbers = self._by_device.get(action["device"], [])
            place = self.places.get(str(action["to"]), NEVER)
        else:
            numbers = [number for number in self._matched(action) if self._going(number) == self.link]
            place = self.lower if action["dscp"] == LOWER_EFFORT else NEVER
        flows = np.array(numbers, np.int64)
        if place == NEVER or not len(flows):
            self.counts.refused += 1
            return
        self._send(flows, place, now_ns)
        self.counts.moved += len(flows)
        self.counts.flaps += int(np.count_nonzero(now_ns - self._returned_ns[flows] < FLAP_NS))
        life_ns = command.expires_at_ns - command.not_before_ns
        self._moves[command.loop_id] = OpenMove(flows, place, now_ns + life_ns, action["type"] == "offload")

    def _matched(self, action: Mapping[str, Any]) -> list[int]:
        """Return the numbers of the flows that an action names, those of no flow left out."""
        found = (self._by_match.get(tuple(match.items()), NEVER) for match in action["flows"])
        return [number for number in found if number != NEVER]

    def _going(self, number: int) -> int:
        """Return the place where a flow is, or will be when the commands so far have arrived."""
        return int((self.flows.place if self.flows.due_ns[number] == NEVER else self.flows.following)[number])

    def _end(self, loop_id: str, now_ns: int) -> None:
        held = self._moves.pop(loop_id, None)
        if held is not None:
            self._send(held.flows, NEVER, now_ns)
            self._returned_ns[held.flows] = now_ns
            self.counts.returned += len(held.flows)

    def _send(self, flows: NDArray[np.int64], place: int, now_ns: int) -> None:
        """Let flows go to a place, or home, when the command has arrived."""
        self.flows.following[flows] = self.flows.connection[flows, START] if place == NEVER else place
        self.flows.due_ns[flows] = now_ns + self.command_ns

    def begin_anew(self, broken: NDArray[np.int64], now_ns: int) -> None:
        """Take it that the connections of some flows broke in this bin; both directions of one are among them.

        Their senders come from other ports, so matches do not hold what follows; what is of a device is held on.
        """
        partner = self.flows.connection[broken, PARTNER]
        for which, other in zip(broken.tolist(), partner.tolist(), strict=True):
            if other == NEVER or which < other:
                self.counts.broken += 1
                self._renumber(which, other)
        for loop_id, held in self._moves.items():
            gone = np.isin(held.flows, broken)
            if held.device:
                self.flows.following[held.flows[gone]], self.flows.due_ns[held.flows[gone]] = held.place, now_ns
            else:
                self._moves[loop_id] = held._replace(flows=held.flows[~gone])

    def _renumber(self, which: int, other: int) -> None:
        """Give a flow, and the other direction of its connection, a port that no flow of the same ends has."""
        ports = self.arrivals.key[:, PORTS]
        del self._by_match[self._match(which)]
        source, target = int(ports[which]) >> 16, int(ports[which]) & 0xFFFF
        client = max(source, target)
        while True:
            client = client + 1 if client < LAST_PORT else FIRST_PORT
            source, target = (client, target) if source > target else (source, client)
            ports[which] = source << 16 | target
            if self._match(which) not in self._by_match:
                break
        self._by_match[self._match(which)] = which
        if other != NEVER:
            del self._by_match[self._match(other)]
            ports[other] = target << 16 | source
            self._by_match[self._match(other)] = other

    def _match(self, which: int) -> tuple[Any, ...]:
        return tuple(self.arrivals.flow_rate(which, 0.0).match().items())

    def expire(self, now_ns: int) -> None:
        """End what was not renewed."""
        for loop_id in [name for name, held in self._moves.items() if held.expires_ns <= now_ns]:
            self._end(loop_id, now_ns)
            self.counts.expired += 1
