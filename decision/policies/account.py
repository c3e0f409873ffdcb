"""What a look of the optimiser tells of itself in the reasons of its commands.

The queues that it found, what it changed, and of what it did not change the nearest, each with why not.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from offramp.decision.command import Command
from offramp.decision.policies.assignment import FURTHER, Change, Unit, Way, delay_ms, options
from offramp.decision.policies.demand import Key, device_key, is_device, key_of, match_of
from offramp.decision.traffic import Traffic

MOST_CANDIDATES, MOST_MOVED = 8, 64
"""That a reason tells of: nobody reads on, and a command stays small. The schema has the same numbers."""
SAVES, ENDED, AGAIN, TRIAL = "saves delay", "has ended", "fits again", "on trial"
"""Why a unit was moved."""
HEAVY, LIGHT = "is heavy", "need not give way"
"""Why a unit was marked, or its mark taken away: it stays where it is."""
FIXED, COMING, FULL = "may not be moved", "in flight", "no room in moves"
CLOSED, LATER, CHEAP, WORSE = "path closed", "next look", "below price", "no better there"
"""Why a unit was not."""


class Taken(NamedTuple):
    """A change that is made: the unit's rate, the numbers of its ways, what that saves where it was reckoned, why."""

    rate_bps: float
    at: int
    to: int
    saved_ms: float | None
    why: str


class Candidate(NamedTuple):
    """A unit that was looked at, and the address of its device; why: what kept it from being a choice, if any did."""

    key: Key
    unit: Unit
    device: str
    why: str = ""


class Search(NamedTuple):
    """What was looked at in one direction: the ways, the units to choose from, the changes that were found best.

    aside: units that were to stay where they are.
    """

    ways: Sequence[Way]
    units: Sequence[Candidate]
    changes: Sequence[Change]
    aside: Sequence[Candidate]


class Account(NamedTuple):
    """A look: the searches of both directions, what was moved and what was marked, or is not any more.

    names: of the link, its paths and nodes, by number; paths, nodes: the numbers of the ways of flows and of devices,
    closed ones, too; price_ms: of a move at this look, and price_share of the delay besides.
    """

    names: Sequence[str]
    paths: tuple[int, ...]
    nodes: tuple[int, ...]
    price_ms: float
    price_share: float
    horizon_ms: float
    traffic: Traffic
    searches: Sequence[Search]
    taken: Mapping[Key, Taken]
    marks: Mapping[Key, Taken]

    def told(
        self, commands: Iterable[Command], held: Mapping[str, Sequence[Key]], marking: Container[str]
    ) -> list[Command]:
        """Return the commands of the look with what it tells in their reasons.

        held: what each open move had before the look, by loop: what an update or a clear takes away is among them;
        marking: the loops of marks.
        """
        common = {
            "directions": self._directions(),
            "candidates": self._candidates(),
            "price_ms": _ms(self.price_ms),
            "network": "supposed" if self.traffic.sees_moved else "applied",
        }
        return [
            replace(command, reason={**command.reason, **common, "moved": self._moved(command, held, marking)})
            for command in commands
        ]

    def _directions(self) -> dict[str, dict[str, float]]:
        """Return the load of both directions as it was reckoned with, before the changes, and the queue as it is."""
        return {
            name: {
                "load_bps": round(search.ways[0].load_bps),
                "capacity_bps": round(search.ways[0].capacity_bps),
                "queue_ms": _ms(side.end_ms),
            }
            for name, search, side in zip(("up", "down"), self.searches, self.traffic.directions, strict=True)
        }

    def _moved(
        self, command: Command, held: Mapping[str, Sequence[Key]], marking: Container[str]
    ) -> list[dict[str, Any]]:
        """Return what a command changes, the heaviest first."""
        action = command.action
        of = self.marks if action["type"] == "mark" or command.loop_id in marking else self.taken
        if command.loop_id in held:
            keys = held[command.loop_id]
        else:
            keys = [device_key(action["device"])] if "device" in action else [key_of(each) for each in action["flows"]]
        found = sorted(((key, of[key]) for key in keys if key in of), key=lambda each: (-each[1].rate_bps, each[0]))
        return [
            {
                **self._way(key, each.rate_bps, each.at, each.to),
                **({} if each.saved_ms is None else {"saved_ms": _ms(each.saved_ms)}),
                "why": each.why,
            }
            for key, each in found[:MOST_MOVED]
        ]

    def _candidates(self) -> list[dict[str, Any]]:
        """Return what was not changed, the nearest to it first."""
        found = [each for search in self.searches for each in self._left(search)]
        found.sort(key=lambda each: (-each[1].saved_ms, each[0].key))
        return [
            {
                **self._way(each.key, each.unit.rate_bps, each.unit.at, change.to),
                "saved_ms": _ms(change.saved_ms),
                "why": each.why,
            }
            for each, change in found[:MOST_CANDIDATES]
        ]

    def _left(self, search: Search) -> Iterable[tuple[Candidate, Change]]:
        """Yield the units of a direction that were left where they are, why, and the best other way of each.

        What moved with its device, or a device of which a part moved, is not left.
        """
        made = [change for change in search.changes if search.units[change.unit].key in self.taken]
        further_ms = FURTHER * self.price_ms
        first_ms = 0.0 if made else self._first_ms(search.ways) - further_ms
        all_of = [*search.units, *search.aside]
        wholes = {key[0] for key in self.taken if is_device(key)}
        parts = {each.device for each in all_of if each.key in self.taken}
        refused = {change.unit for change in search.changes}
        for number, (change, shut) in self._best(search, made, first_ms, further_ms).items():
            each = all_of[number]
            if each.key in self.taken or each.device in (parts if is_device(each.key) else wholes):
                continue
            why = each.why or (CLOSED if shut else FULL if number in refused else "")
            if not why:
                dear = change.saved_ms <= first_ms + further_ms * each.unit.dear
                why = LATER if not dear else CHEAP if change.saved_ms > 0.0 else WORSE
            yield each._replace(why=why), change

    def _best(
        self, search: Search, made: Sequence[Change], first_ms: float, further_ms: float
    ) -> dict[int, tuple[Change, bool]]:
        """Return the best other way of each unit, and whether it is closed, while no open one pays and that would."""
        units = [each.unit for each in (*search.units, *search.aside)]
        ways, horizon_ms = search.ways, self.horizon_ms
        best = {one.unit: (one, False) for one in options(ways, units, made, horizon_ms=horizon_ms)}
        kinds = [
            each.unit._replace(may=self.nodes if is_device(each.key) else self.paths)
            for each in (*search.units, *search.aside)
        ]
        if all(len(free.may) == len(unit.may) for free, unit in zip(kinds, units, strict=True)):
            return best
        for one in options(ways, kinds, made, horizon_ms=horizon_ms):
            unit, known = units[one.unit], best.get(one.unit)
            price = first_ms + further_ms * unit.dear
            if one.to not in unit.may and one.saved_ms > price and (known is None or known[0].saved_ms <= price):
                best[one.unit] = one, True
        return best

    def _first_ms(self, ways: Sequence[Way]) -> float:
        """Return what the first change of a direction has to save."""
        whole = sum(way.load_bps for way in ways)
        delays = sum(way.load_bps * delay_ms(way, way.load_bps, self.horizon_ms) for way in ways)
        return self.price_ms + (self.price_share * delays / whole if whole > 0.0 else 0.0)

    def _way(self, key: Key, rate_bps: float, at: int, to: int) -> dict[str, Any]:
        what = {"device": key[0]} if is_device(key) else {"match": match_of(key)}
        return {**what, "rate_bps": round(rate_bps), "from": self.names[at], "to": self.names[to]}


def _ms(value: float) -> float:
    """Return a time rounded, so that it prints alike on every machine; what is rounded to nothing has no sign."""
    return round(float(value), 3) + 0.0
