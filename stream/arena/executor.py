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


Name = str | tuple[tuple[str, Any], ...]


class OpenMove(NamedTuple):
    """What a loop holds: flows (int64 numbers) by what names them, where they are, when its last command expires (ns).

    A name is a device's address, whose flows to come it holds too, or the match of a flow or of more.
    """

    flows: Mapping[Name, NDArray[np.int64]]
    place: int
    expires_ns: int

    def all_flows(self) -> NDArray[np.int64]:
        """Return the numbers of all its flows."""
        return np.unique(np.concatenate([np.empty(0, np.int64), *self.flows.values()]))


@dataclass
class Counts:
    """What was carried out: moved or marked and given back, flaps; commands lost, refused, expired, all of them.

    What a rule names counts as one: a flow, a source or a device, as it does in a site's limits.

    broken: connections that a move made begin anew; refused_tasks: those that found their node full; decided, swayed:
    looks at which a policy had something to change, and those at which its forecast changed what.
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
    decided: int = 0
    swayed: int = 0


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
        self._marked = np.zeros(len(self.flows.place), np.bool_)
        self._by_match: dict[tuple[Any, ...], int] = {}
        self._by_open_match: dict[Name, NDArray[np.int64]] = {}
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
            self._renew(command, now_ns)
        else:
            self._begin(command, now_ns)

    def _begin(self, command: Command, now_ns: int) -> None:
        action = command.action
        if action["type"] == "reroute":
            held = self._matched(action)
            place = self.places.get(str(action["path"]), NEVER)
        elif action["type"] == "offload":
            numbers = np.array(self._by_device.get(action["device"], []), np.int64)
            held = {str(action["device"]): numbers} if len(numbers) else {}
            place = self.places.get(str(action["to"]), NEVER)
        else:
            found = self._matched(action).items()
            here = {
                name: [which for which in flows.tolist() if self._going(which) == self.link] for name, flows in found
            }
            held = {name: np.array(flows, np.int64) for name, flows in here.items() if flows}
            place = self.lower if action["dscp"] == LOWER_EFFORT else NEVER
        if place == NEVER or not held:
            self.counts.refused += 1
            return
        life_ns = command.expires_at_ns - command.not_before_ns
        self._moves[command.loop_id] = move = OpenMove(held, place, now_ns + life_ns)
        if place == self.lower:
            self._mark(move.all_flows(), now_ns, marked=True)
        else:
            self._send(move.all_flows(), place, now_ns)
        self.counts.moved += len(held)
        self.counts.flaps += sum(bool((now_ns - self._returned_ns[flows] < FLAP_NS).any()) for flows in held.values())

    def _renew(self, command: Command, now_ns: int) -> None:
        """Hold a move for longer; what it does not name any more goes home."""
        move = self._moves[command.loop_id]
        named = {tuple(match.items()) for match in command.action.get("flows", ())}
        gone = {name for name in move.flows if isinstance(name, tuple) and name not in named}
        for name in gone:
            self._return(move.flows[name], move.place, now_ns)
        kept = {name: flows for name, flows in move.flows.items() if name not in gone}
        life_ns = command.expires_at_ns - command.not_before_ns
        self._moves[command.loop_id] = move._replace(flows=kept, expires_ns=now_ns + life_ns)

    def _matched(self, action: Mapping[str, Any]) -> dict[Name, NDArray[np.int64]]:
        """Return the numbers of the flows that each match of an action names; those of no flow left out."""
        names = [tuple(match.items()) for match in action["flows"]]
        return {name: flows for name in names if len(flows := self._named(name))}

    def _named(self, match: tuple[tuple[str, Any], ...]) -> NDArray[np.int64]:
        """Return the numbers of the flows of a match, which may leave fields open."""
        one = self._by_match.get(match)
        if one is not None:
            return np.array([one], np.int64)
        if match not in self._by_open_match:
            wanted = set(match)
            found = [number for each, number in self._by_match.items() if wanted.issubset(each)]
            self._by_open_match[match] = np.array(found, np.int64)
        return self._by_open_match[match]

    def _going(self, number: int) -> int:
        """Return the place where a flow is, or will be when the commands so far have arrived."""
        return int((self.flows.place if self.flows.due_ns[number] == NEVER else self.flows.following)[number])

    def _end(self, loop_id: str, now_ns: int) -> None:
        move = self._moves.pop(loop_id, None)
        if move is not None:
            for flows in move.flows.values():
                self._return(flows, move.place, now_ns)

    def _mark(self, flows: NDArray[np.int64], now_ns: int, *, marked: bool) -> None:
        """Mark flows, wherever they are, or take their marks back: it counts where they take the link."""
        self._marked[flows] = marked
        here = [which for which in flows.tolist() if self._going(which) in (self.link, self.lower)]
        self._send(np.array(here, np.int64), NEVER, now_ns)

    def _return(self, flows: NDArray[np.int64], place: int, now_ns: int) -> None:
        if place == self.lower:
            self._mark(flows, now_ns, marked=False)
        else:
            self._send(flows, NEVER, now_ns)
        self._returned_ns[flows] = now_ns
        self.counts.returned += 1

    def _send(self, flows: NDArray[np.int64], place: int, now_ns: int) -> None:
        """Let flows go to a place, or home, when the command has arrived."""
        home = self.flows.connection[flows, START]
        if self.lower != NEVER:
            home = np.where(self._marked[flows] & (home == self.link), self.lower, home)
        self.flows.following[flows] = home if place == NEVER else place
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
        self._by_open_match.clear()
        for loop_id, move in self._moves.items():
            held = dict(move.flows)
            for name, flows in move.flows.items():
                gone = flows[np.isin(flows, broken)]
                if isinstance(name, str) or (len(gone) and len(self._named(name)) > 1):  # it has what begins anew, too
                    self.flows.following[gone], self.flows.due_ns[gone] = move.place, now_ns
                else:
                    held[name] = flows[~np.isin(flows, broken)]
            self._moves[loop_id] = move._replace(flows=held)

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
