"""The optimiser: every few bins, over the queues of the link and of all its paths, what goes where; no forecast.

Each direction by itself. A flow goes where the mean delay of all falls by more than the price of a move; it comes back
for the same reason, so only when it fits, or when it has ended.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.decision.command import Command
from offramp.decision.known import known_of
from offramp.decision.moves import Loop, Move
from offramp.decision.policies.assignment import Unit, Way, improve
from offramp.decision.policies.demand import MAX_BPS, Demands, Key, flow_key, flow_of, is_key, key_of, match_of
from offramp.decision.policies.open_moves import SECOND_NS, KeepsMoves, OpenMoves, is_count
from offramp.decision.reroute import allowed
from offramp.decision.site import BUFFER_MS, AltPath, Site
from offramp.decision.traffic import Direction, FlowRate, Quality, Traffic
from offramp.errors import ContractError
from offramp.inference.forecast import BIN_NS, Forecast

PATH_BUFFER_MS = 100.0
"""Of a path, of which nothing is known: what operators of access links set, and the arena."""
WAKE_MS = 0.5
"""Below this queue, with nothing moved, there is nothing to win: a packet of 1,500 bytes at 24 Mbit/s."""
ENDED_NS = 2 * SECOND_NS
"""A moved flow of which nothing is seen for so long has ended."""
SOURCES_MS = 100.0
"""From this command latency on a rule for a source is in place when its next flow begins, one for a flow is late."""
CHANGES = 4
"""Of one direction at one look: the next look sees what they brought."""
HOME = 0
PROBE_S, MOST_PROBE_S = 5.0, 160.0
"""What is moved and not seen is assumed to demand what it did for so long, then it is tried at home; each trial that
fails doubles it."""
FITS = 0.7
"""Share of the capacity up to which load and moved demand fit a direction: as a threshold gives back."""
CALM_MS = 2.0
"""Something is tried at home only below this queue: a packet of 1,500 bytes at 6 Mbit/s."""
FAILED_NS = 5 * SECOND_NS
"""What is moved again so soon after it came back had not ended: as long as the arena calls it a flap."""
UNKNOWN = Direction(), Direction()


class Record(NamedTuple):
    """The last change of a unit's way: its rate and a flow of it then, when, and for how long that is assumed."""

    rate_bps: float
    flow: FlowRate
    changed_ns: int
    pause_s: float
    away: bool


class Seen(NamedTuple):
    """A unit at a look: its running rate, that which the link tells, one of its flows, its way, what may not be moved.

    coming: whether the command that brought it to its way is still on its own.
    """

    rate_bps: float
    told_bps: float
    flow: FlowRate
    way: int
    coming: bool
    ended: bool = False


class OptimiserPolicy(KeepsMoves):
    """Revises what goes where; settings: [policy.optimiser]."""

    needs_forecast = False
    split = 0.0

    def __init__(self, site: Site, link: str, *, mode: Literal["dry_run", "enforce"] | None = None) -> None:
        self.site, self.link, self.rules = site, site.link(link), site.policy.optimiser
        self._pace, mode = self.rules.resolved, mode or site.mode
        rules = f"{self.rules!r}|{self._pace!r}|{site.policy.expiry_s!r}|{site.limits!r}"
        text = f"{mode}|{site.name}|{rules}|{self.link!r}"
        self.scope = f"link:{link}"
        self.version = f"optimiser-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        self._moves = OpenMoves(site, link, self.version, mode)
        slow = self.rules.command_ms >= SOURCES_MS
        sources = self.rules.unit == "source" or (slow and self.rules.unit == "auto")
        self._demands = Demands(self._pace.rate_s, sources=sources)
        self._records: dict[Key, Record] = {}
        self._tight_ns = [0, 0]
        """When load and moved demand of a direction did not fit last."""
        self._known = known_of(self.link.known)
        reroutes = "reroute" in site.limits.actions
        self._paths: tuple[AltPath, ...] = tuple(path for path in self.link.paths if reroutes and path.same_address)
        self._ways = range(len(self._paths) + 1)
        self._numbers = {path.name: number for number, path in enumerate(self._paths, 1)}

    @property
    def open_scopes(self) -> frozenset[str]:
        """The link: every bin counts."""
        return frozenset((self.scope,))

    def may_trigger(self, probabilities: NDArray[np.float32], quantiles_ms: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return bool [n], all True: what it acts on is not among forecasts."""
        return np.ones(len(probabilities), np.bool_)

    def decide(self, forecast: Forecast, traffic: Traffic | Callable[[], Traffic], quality: Quality) -> list[Command]:
        """Return the commands of one bin, mostly none."""
        if forecast.scope != self.scope:
            return []
        now_ns, queue_ms = forecast.window_end_ns, forecast.bin_end_ms
        self._moves.expire(now_ns)
        commands = self._moves.renew(forecast, quality, f"queue {queue_ms:.1f} ms")
        if now_ns // BIN_NS % self._pace.every_bins or not (self._moves.loops or queue_ms > WAKE_MS):
            return commands
        return commands + self._revise(traffic() if callable(traffic) else traffic, forecast, quality)

    def _revise(self, traffic: Traffic, forecast: Forecast, quality: Quality) -> list[Command]:
        """Return the commands of a look at all queues."""
        now_ns = forecast.window_end_ns
        seen, others = self._look(traffic, now_ns), self._moves.elsewhere()
        self._keep_records(seen, now_ns)
        back = self._over(seen, traffic, now_ns)
        for key in back:
            self._note(key, seen[key], now_ns, moved=False)
        to = dict[str, list[Key]]()
        room = self.site.limits.moves - self._moves.moved[0] + len(back)
        for side, direction in enumerate(traffic.directions):
            for key, way in self._changes(seen, traffic, side, direction, others):
                if key in back:
                    continue
                away = seen[key].way != HOME
                if way != HOME and room + away <= 0:
                    continue
                room += away - (way != HOME)
                back.update([key] if away else [])
                if way != HOME:
                    to.setdefault(self._paths[way - 1].name, []).append(key)
                self._note(key, seen[key], now_ns, moved=way != HOME)
        if not back and not to:
            return []
        rule = f"queues {traffic.directions[0].end_ms:.1f} ms up, {traffic.directions[1].end_ms:.1f} ms down"
        commands = self._give_back(back, seen, forecast, quality, rule) if self._moves.trusts(quality) else []
        moves = [
            Move(
                self.scope,
                {"type": "reroute", "path": path, "flows": [match_of(key) for key in keys]},
                sum(seen[key].rate_bps for key in keys),
            )
            for path, keys in sorted(to.items())
        ]
        return commands + self._moves.open(moves, forecast, quality, rule)

    def _look(self, traffic: Traffic, now_ns: int) -> dict[Key, Seen]:
        """Return all units at the end of a bin, those that are moved too."""
        demands, late_ns = self._demands.look(traffic, now_ns), now_ns - ENDED_NS
        coming_ns = now_ns - int(self.rules.command_ms * 1e6)
        held = {
            key_of(match): (self._numbers.get(loop.move.target, HOME), loop.opened_ns)
            for loop in self._moves.loops
            for match in loop.move.action.get("flows", ())
        }
        found = dict[Key, Seen]()
        for key, demand in demands.items():
            way, opened_ns = held.get(key, (HOME, now_ns))
            record = self._records.get(key)
            coming = record is not None and record.changed_ns > coming_ns
            ended = way != HOME and max(demand.seen_ns, opened_ns) <= late_ns
            found[key] = Seen(demand.rate_bps, demand.told_bps, demand.flow, way, coming, ended)
        for key, (way, opened_ns) in held.items():
            record = self._records.get(key)
            seen = key in found and (traffic.sees_moved or found[key].told_bps > 0)
            if seen or record is None:
                continue
            if traffic.sees_moved:
                found[key] = Seen(0.0, 0.0, record.flow, way, False, ended=opened_ns <= late_ns)
            else:
                found[key] = Seen(record.rate_bps, 0.0, record.flow, way, record.changed_ns > coming_ns)
        return found

    def _over(self, seen: Mapping[Key, Seen], traffic: Traffic, now_ns: int) -> set[Key]:
        """Return what is to come back whatever it brings.

        What has ended; all of a direction where load and moved demand have fitted for long; of what is not seen one
        that is to be tried.
        """
        over = {key for key, unit in seen.items() if unit.ended}
        for side, direction in enumerate(traffic.directions):
            away = {
                key: unit.rate_bps for key, unit in seen.items() if unit.way != HOME and unit.flow.down == bool(side)
            }
            if direction.load_bps + sum(away.values()) > FITS * direction.capacity_bps:
                self._tight_ns[side] = now_ns
            elif now_ns - self._tight_ns[side] > FAILED_NS:
                over.update(away)
        if traffic.sees_moved or max(side.end_ms for side in traffic.directions) > CALM_MS:
            return over
        tried = [
            (record.changed_ns, key)
            for key, record in self._records.items()
            if record.away and now_ns - record.changed_ns > record.pause_s * SECOND_NS and not seen[key].told_bps
        ]
        return over | {key for _, key in sorted(tried)[:1]}

    def _changes(
        self, seen: Mapping[Key, Seen], traffic: Traffic, side: int, direction: Direction, others: Mapping[str, float]
    ) -> list[tuple[Key, int]]:
        """Return which units of one direction are to change their ways, and the numbers of these."""
        told, loads, late = ([0.0] * len(self._ways) for _ in range(3))
        may = tuple(way for way in self._ways if way == HOME or others.get(self._paths[way - 1].name, 0.0) < math.inf)
        keys, units = list[Key](), list[Unit]()
        least_bps = self.rules.min_share * direction.capacity_bps
        for key, unit in seen.items():
            if unit.flow.down != bool(side) or unit.ended:
                continue
            told[unit.way] += unit.told_bps
            loads[unit.way] += unit.rate_bps
            if unit.coming:
                late[unit.way] -= unit.rate_bps
                late[HOME] += unit.rate_bps
            elif unit.rate_bps >= least_bps and self._may(unit.flow):
                keys.append(key)
                units.append(Unit(unit.rate_bps, unit.way, may))
        ways = [self._home(direction, max(0.0, direction.load_bps - told[HOME]) + loads[HOME], late[HOME])]
        for number, path in enumerate(self._paths, 1):
            here, other = traffic.places.get(path.name, UNKNOWN)[side], others.get(path.name, 0.0)
            rest = max(here.load_bps - told[number], other if other < math.inf else 0.0, 0.0)
            way = Way(
                here.capacity_bps or path.capacity, path.delay_ms, PATH_BUFFER_MS, here.end_ms, rest + loads[number]
            )
            ways.append(self._when_it_counts(way, late[number]))
        pace = self._pace
        changes = improve(ways, units, horizon_ms=pace.horizon_ms, price_ms=pace.price_ms, changes=CHANGES)
        return [(keys[change.unit], change.to) for change in changes]

    def _home(self, direction: Direction, load_bps: float, late_bps: float) -> Way:
        bytes_ = self.link.buffer_bytes
        buffer_ms = bytes_ * 8e3 / direction.capacity_bps if bytes_ is not None else BUFFER_MS
        way = Way(direction.capacity_bps, self.rules.base_ms, buffer_ms, direction.end_ms, load_bps)
        return self._when_it_counts(way, late_bps)

    def _when_it_counts(self, way: Way, late_bps: float) -> Way:
        """Return a way as it will be when a command of now is carried out; late_bps: what is there until then."""
        growth = (way.load_bps + late_bps) / way.capacity_bps - 1.0
        queue_ms = min(max(way.queue_ms + growth * self.rules.command_ms, 0.0), way.buffer_ms)
        return way._replace(queue_ms=queue_ms)

    def _note(self, key: Key, unit: Seen, now_ns: int, *, moved: bool) -> None:
        """Remember a change of a unit's way; one that comes back only to be moved again is left away for longer."""
        if moved:
            self._tight_ns[unit.flow.down] = now_ns
        before = self._records.get(key)
        pause_s = before.pause_s if before else PROBE_S
        if moved and before and not before.away and now_ns - before.changed_ns <= FAILED_NS:
            pause_s = min(2 * pause_s, MOST_PROBE_S)
        self._records[key] = Record(float(unit.rate_bps), unit.flow, now_ns, pause_s, moved)

    def _keep_records(self, seen: Mapping[Key, Seen], now_ns: int) -> None:
        """Let go of what is over: a move may have expired, and what came back long ago tells nothing."""
        oldest_ns = now_ns - max(int(self.rules.command_ms * 1e6), FAILED_NS)
        away = {key for key, unit in seen.items() if unit.way != HOME}
        self._records = {
            key: record if key in away else record._replace(away=False)
            for key, record in self._records.items()
            if key in away or record.changed_ns >= oldest_ns
        }

    def _may(self, flow: FlowRate) -> bool:
        """Return whether a flow may be moved."""
        if self._known.is_fixed(flow.src) or self._known.is_fixed(flow.dst):
            return False
        return allowed(self.site.limits, flow.src, flow.dst)

    def _give_back(
        self, back: set[Key], seen: Mapping[Key, Seen], forecast: Forecast, quality: Quality, rule: str
    ) -> list[Command]:
        """Return the commands that give units back: moves that lose all of theirs end, others keep the rest."""
        done, commands = list[Loop](), list[Command]()
        for loop in self._moves.loops if back else ():
            matches = loop.move.action.get("flows", ())
            kept = [match for match in matches if key_of(match) not in back]
            if not kept:
                done.append(loop)
            elif len(kept) < len(matches):
                rate_bps = sum(seen[key_of(match)].rate_bps for match in kept if key_of(match) in seen)
                commands.append(self._moves.shrink(loop, kept, rate_bps, forecast, quality, rule))
        return commands + self._moves.clear(done, forecast, quality, rule)

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, for JSON."""
        records = [
            [*key, each.rate_bps, each.changed_ns, each.pause_s, each.away, *flow_key(each.flow), each.flow.down]
            for key, each in self._records.items()
        ]
        return {
            "version": self.version,
            "loops": self._moves.state(),
            "demands": self._demands.state(),
            "records": records,
            "tight_ns": list(self._tight_ns),
            "expired": self._moves.expired,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned. Raises ContractError where this policy cannot have returned it."""
        records: Sequence[Sequence[Any]] = state["records"]
        times = state["tight_ns"]
        counts = len(times) == 2 and all(is_count(each) for each in (*times, state["expired"]))
        if not counts or not all(_is_record(each) for each in records):
            raise ContractError("policy: counts or times that are none")
        self._moves.restore(state["loops"], state["expired"])
        self._demands.restore(state["demands"])
        self._tight_ns = list(times)
        self._records = {
            tuple(each[:5]): Record(  # type: ignore[misc]  # as checked
                each[5], flow_of(each[9:15]), each[6], each[7], each[8]
            )
            for each in records
        }


def _is_record(each: Sequence[Any]) -> bool:
    if len(each) != 15 or not is_key(each[:5]) or not is_key(each[9:14]):
        return False
    kinds = (float, int, float, bool)
    known = all(type(value) is kind for value, kind in zip(each[5:9], kinds, strict=True)) and type(each[14]) is bool
    return known and 0 <= each[5] < MAX_BPS and is_count(each[6]) and PROBE_S <= each[7] <= MOST_PROBE_S
