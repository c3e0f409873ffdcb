"""The optimiser: every few bins, over the queues of the link and of all its paths, what goes where.

Each direction by itself. A flow goes where the mean delay of all falls by more than the price of a move; it comes back
for the same reason, so only when it fits, or when it has ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from offramp.decision.command import Command
from offramp.decision.known import known_of
from offramp.decision.moves import Loop, Move
from offramp.decision.policies.account import (
    COMING,
    FIXED,
    HEAVY,
    LIGHT,
    SAVES,
    Account,
    Candidate,
    Search,
    Taken,
)
from offramp.decision.policies.assignment import Change, Unit, Way, improve
from offramp.decision.policies.demand import (
    Demands,
    Key,
    device_key,
    device_of,
    is_device,
    key_of,
    match_of,
)
from offramp.decision.policies.memory import Memory, Seen
from offramp.decision.policies.open_moves import SECOND_NS, ActsEveryBin, OpenMoves, is_count
from offramp.decision.policies.ways import HOME, Ways
from offramp.decision.reroute import LOWER_EFFORT, allowed
from offramp.decision.site import Site
from offramp.decision.traffic import Direction, FlowRate, Quality, Traffic
from offramp.errors import ContractError
from offramp.inference.forecast import BIN_NS, Forecast

WAKE_MS = 0.5
"""Below this queue, with nothing moved, there is nothing to win: a packet of 1,500 bytes at 24 Mbit/s."""
ENDED_NS = 2 * SECOND_NS
"""A moved flow of which nothing is seen for so long has ended."""
SOURCES_MS = 100.0
"""From this command latency on a rule for a source is in place when its next flow begins, one for a flow is late."""
DEVICE_PRICE = 2.0
"""The price of a device's move, of that of a flow's: it takes along what queues nowhere, in both directions."""
CHANGES = 16
"""Of one direction at one look: as many flows as a link tells of."""


class OptimiserPolicy(ActsEveryBin):
    """Revises what goes where; settings: [policy.optimiser].

    needs_forecast: whether moves are cheaper where congestion is foreseen.
    """

    split = 0.0

    def __init__(
        self, site: Site, link: str, *, mode: Literal["dry_run", "enforce"] | None = None, needs_forecast: bool = True
    ) -> None:
        self.needs_forecast = needs_forecast
        self.site, self.link, self.rules = site, site.link(link), site.policy.optimiser
        self._pace, mode = self.rules.resolved, mode or site.mode
        rules = f"{self.rules!r}|{self._pace!r}|{site.policy.priority!r}|{site.policy.expiry_s!r}|{site.limits!r}"
        text = f"{mode}|{site.name}|{rules}|{self.link!r}|{self.link.queues}"
        self.scope = f"link:{link}"
        kind = "optimiser" if needs_forecast else "reactive"
        self.version = f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        self._moves = OpenMoves(site, link, self.version, mode)
        slow = self.rules.command_ms >= SOURCES_MS
        sources = self.rules.unit == "source" or (slow and self.rules.unit == "auto")
        self._demands = Demands(self._pace.rate_s, sources=sources)
        self._ways = Ways(self.link, site.limits, self.rules.base_ms, self.rules.command_ms)
        self._marks = self.link.queues > 1 and "mark" in site.limits.actions
        self._known = known_of(self.link.known)
        self._command_ns = int(self.rules.command_ms * 1e6)
        self._memory = Memory(self._command_ns)
        self._busy_ns = 0
        """When there was a queue that marks are for."""
        self.swayed = (0, 0)

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
        seen, others, marked = self._look(traffic, now_ns), self._moves.elsewhere(), self._marked()
        self._memory.keep(seen, now_ns)
        if not self._moves.trusts(quality):
            return []
        over, searches = self._memory.over(seen, traffic, now_ns), list[Search]()
        taken = {key: Taken(seen[key].rate_bps, seen[key].way, HOME, None, why) for key, why in over.items()}
        back = set(over)
        for key in over:
            self._memory.note(key, seen[key], now_ns, moved=False)
        bare = self._unmarked(marked, traffic, now_ns)
        marks = {key: Taken(seen[key].rate_bps if key in seen else 0.0, HOME, HOME, None, LIGHT) for key in bare}
        to, price_ms = dict[tuple[str, str], list[Key]](), self._price_ms(forecast)
        room = self.site.limits.moves - self._moves.moved[0] + len(back) + len(bare)
        for side in (0, 1):
            if self._marks:
                heavy = self._heavy(seen, marked, traffic.directions[side], side)[: max(room, 0)]
                room -= len(heavy)
                to.setdefault(("mark", ""), []).extend(heavy)
                marks |= {key: Taken(seen[key].rate_bps, HOME, HOME, None, HEAVY) for key in heavy}
            searches.append(found := self._search(seen, traffic, side, others, price_ms))
            for key, way, saved_ms in self._apart(found, seen):
                away = seen[key].way != HOME
                if key in back or (way != HOME and room + away <= 0):
                    continue
                room += away - (way != HOME)
                back.update([key] if away else [])
                if way != HOME:
                    to.setdefault(("offload" if is_device(key) else "reroute", self._ways.name(way)), []).append(key)
                taken[key] = Taken(seen[key].rate_bps, seen[key].way, way, saved_ms, SAVES)
                self._memory.note(key, seen[key], now_ns, moved=way != HOME)
        if not (back or bare or any(to.values())):
            return []
        rule = f"queues {traffic.directions[0].end_ms:.1f} ms up, {traffic.directions[1].end_ms:.1f} ms down"
        held = {loop.loop_id: keys_of(loop) for loop in self._moves.loops}
        marking = {loop.loop_id for loop in self._moves.loops if is_mark(loop)}
        commands = self._give_back(back, bare, seen, forecast, quality, rule)
        moves = [move for (kind, place), keys in sorted(to.items()) for move in self._moves_of(kind, place, keys, seen)]
        commands += self._moves.open(moves, forecast, quality, rule)
        names = self.link.name, *(place.name for place in self._ways.places)
        paths, nodes = (HOME, *self._ways.paths), (HOME, *self._ways.nodes)
        _, share, horizon_ms = self._pace[:3]
        account = Account(names, paths, nodes, price_ms, share, horizon_ms, traffic, searches, taken, marks)
        return account.told(commands, held, marking)

    def _moves_of(self, kind: str, place: str, keys: Sequence[Key], seen: Mapping[Key, Seen]) -> Iterator[Move]:
        """Yield one move for all flows that go one way, or for each device."""
        if kind == "offload":
            for key in keys:
                action = {"type": kind, "device": key[0], "from": self.link.name, "to": place}
                yield Move(f"device:{self.link.name}/{key[0]}", action, seen[key].rate_bps)
        elif keys:
            how: dict[str, Any] = {"dscp": LOWER_EFFORT} if kind == "mark" else {"path": place}
            flows = [match_of(key) for key in keys]
            yield Move(self.scope, {"type": kind, **how, "flows": flows}, sum(seen[key].rate_bps for key in keys))

    def _look(self, traffic: Traffic, now_ns: int) -> dict[Key, Seen]:
        """Return all units at the end of a bin, those that are moved too, and devices that are."""
        demands, late_ns = self._demands.look(traffic, now_ns), now_ns - ENDED_NS
        coming_ns = now_ns - self._command_ns
        held = {
            key: (self._ways.number.get(loop.move.target, HOME), loop.opened_ns)
            for loop in self._moves.loops
            if not is_mark(loop)
            for key in keys_of(loop)
        }
        found, devices = dict[Key, Seen](), dict[Key, Seen]()
        for key, demand in demands.items():
            whole = device_key(device_of(demand.flow))
            name = key if key in held else whole
            way, opened_ns = held.get(name, (HOME, now_ns))
            record = self._memory.records.get(name)
            coming = record is not None and record.changed_ns > coming_ns
            over = max(demand.seen_ns, opened_ns) <= late_ns
            unit = Seen(demand.rate_bps, demand.told_bps, demand.flow, way, coming, over and key in held)
            found[key] = unit
            if self._ways.nodes and (name != key or way == HOME):
                devices[whole] = unit.added_to(devices.get(whole), over=over and name in held)
        found |= devices
        for key, (way, opened_ns) in held.items():
            record = self._memory.records.get(key)
            if record is None or (key in found and (traffic.sees_moved or found[key].told_bps > 0)):
                continue
            if traffic.sees_moved:
                found[key] = Seen(0.0, 0.0, record.flow, way, False, ended=opened_ns <= late_ns)
            else:
                found[key] = Seen(record.rate_bps, 0.0, record.flow, way, record.changed_ns > coming_ns)
        return found

    def _search(
        self, seen: Mapping[Key, Seen], traffic: Traffic, side: int, others: Mapping[str, float], price_ms: float
    ) -> Search:
        """Return which units of one direction are to change their ways, and what was looked at for that."""
        told, loads, late = ([0.0] * self._ways.count for _ in range(3))
        capacity_bps = traffic.directions[side].capacity_bps
        least_bps = (self.site.policy.priority.share if self._marks else self.rules.min_share) * capacity_bps
        paths, nodes = self._ways.opened(self._ways.paths, others), self._ways.opened(self._ways.nodes, others)
        found, aside = list[Candidate](), list[Candidate]()
        for key, unit in seen.items():
            if unit.flow.down != bool(side) or unit.ended or not unit.counted:
                continue
            told[unit.way] += unit.told_bps
            loads[unit.way] += unit.rate_bps
            if unit.coming:
                late[unit.way] -= unit.rate_bps
                late[HOME] += unit.rate_bps
                aside.append(Candidate(key, Unit(unit.rate_bps, unit.way, paths), device_of(unit.flow), COMING))
            elif unit.rate_bps >= least_bps and (unit.way == HOME or key in self._memory.records):
                one = Candidate(key, Unit(unit.rate_bps, unit.way, paths), device_of(unit.flow))
                if not self._may(unit.flow):
                    aside.append(one._replace(why=FIXED))
                else:
                    (found if len(paths) > 1 else aside).append(one)
        for key, unit in seen.items():
            here = not unit.counted and unit.flow.down == bool(side) and not unit.ended and not unit.coming
            if here and len(nodes) > 1 and unit.rate_bps >= least_bps and self._may(unit.flow):
                found.append(Candidate(key, Unit(unit.rate_bps, unit.way, nodes, DEVICE_PRICE), key[0]))
        ways, units = self._ways.at(traffic, side, others, told, loads, late), [each.unit for each in found]
        changes = self._chosen(ways, units, price_ms) if found else []
        return Search(ways, found, changes, aside)

    def _chosen(self, ways: Sequence[Way], units: Sequence[Unit], price_ms: float) -> list[Change]:
        """Return what is to change; count where the forecast changed that."""
        flat_ms, share, horizon_ms = self._pace[:3]
        look = partial(improve, ways, units, horizon_ms=horizon_ms, changes=CHANGES, price_share=share)
        changes = look(price_ms=price_ms)
        if price_ms != flat_ms:
            without = look(price_ms=flat_ms)
            decided, swayed = self.swayed
            other = [each[:2] for each in changes] != [each[:2] for each in without]
            self.swayed = decided + bool(changes or without), swayed + other
        return changes

    def _apart(self, found: Search, seen: Mapping[Key, Seen]) -> list[tuple[Key, int, float]]:
        """Return the changes, without what is of a device that changes as a whole, or a device of which a part did."""
        kept, whole, parts = list[tuple[Key, int, float]](), set[str](), set[str]()
        for number, way, saved_ms in found.changes:
            key = found.units[number].key
            address = key[0] if is_device(key) else device_of(seen[key].flow)
            if address in whole or (is_device(key) and address in parts):
                continue
            (whole if is_device(key) else parts).add(address)
            kept.append((key, way, saved_ms))
        return kept

    def _marked(self) -> set[Key]:
        return {key for loop in self._moves.loops if is_mark(loop) for key in keys_of(loop)}

    def _unmarked(self, marked: set[Key], traffic: Traffic, now_ns: int) -> set[Key]:
        """Return the marks that are to end: all in calm, those of what has not been seen for long."""
        rules = self.site.policy.priority
        if max(side.queue_ms for side in traffic.directions) >= rules.queue_ms * rules.exit_share:
            self._busy_ns = now_ns
        if now_ns - self._busy_ns >= rules.exit_s * SECOND_NS:
            return marked
        return {key for key in marked if not self._demands.knows(key)}

    def _heavy(self, seen: Mapping[Key, Seen], marked: set[Key], direction: Direction, side: int) -> list[Key]:
        """Return the heavy units of a direction with a queue that are to give way, the heaviest first."""
        rules = self.site.policy.priority
        if direction.queue_ms <= rules.queue_ms:
            return []
        found = [
            (-unit.rate_bps, key)
            for key, unit in seen.items()
            if unit.flow.down == bool(side) and unit.way == HOME and key not in marked
            and not is_device(key) and unit.rate_bps >= rules.share * direction.capacity_bps and self._may(unit.flow)
        ]  # fmt: skip
        return [key for _, key in sorted(found)]

    def _price_ms(self, forecast: Forecast) -> float:
        """Return the price of a move: the surer congestion is foreseen, the cheaper it is."""
        trust = self.rules.trust if self.needs_forecast else 0.0
        return self._pace.price_ms * (1.0 - trust * float(forecast.probabilities[2]))

    def _may(self, flow: FlowRate) -> bool:
        """Return whether a flow may be moved."""
        if self._known.is_fixed(flow.src) or self._known.is_fixed(flow.dst):
            return False
        return allowed(self.site.limits, flow.src, flow.dst)

    def _give_back(
        self, back: set[Key], bare: set[Key], seen: Mapping[Key, Seen], forecast: Forecast, quality: Quality, rule: str
    ) -> list[Command]:
        """Return the commands that give units back: moves that lose all of theirs end, others keep the rest.

        back: what comes home; bare: what loses its mark.
        """
        done, commands = list[Loop](), list[Command]()
        for loop in self._moves.loops if back or bare else ():
            keys, over = keys_of(loop), bare if is_mark(loop) else back
            kept = [key for key in keys if key not in over]
            if not kept:
                done.append(loop)
            elif len(kept) < len(keys):
                rate_bps, matches = sum(seen[key].rate_bps for key in kept if key in seen), list(map(match_of, kept))
                commands.append(self._moves.shrink(loop, matches, rate_bps, forecast, quality, rule))
        return commands + self._moves.clear(done, forecast, quality, rule)

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, for JSON."""
        return {
            "version": self.version,
            "loops": self._moves.state(),
            "demands": self._demands.state(),
            "memory": self._memory.state(),
            "busy_ns": self._busy_ns,
            "swayed": list(self.swayed),
            "expired": self._moves.expired,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned. Raises ContractError where this policy cannot have returned it."""
        swayed = state["swayed"]
        if len(swayed) != 2 or not all(map(is_count, (*swayed, state["busy_ns"], state["expired"]))):
            raise ContractError("policy: counts or times that are none")
        self._moves.restore(state["loops"], state["expired"])
        self._demands.restore(state["demands"])
        self._memory.restore(state["memory"])
        self._busy_ns, self.swayed = state["busy_ns"], (swayed[0], swayed[1])


def is_mark(loop: Loop) -> bool:
    """Return whether a move leaves its flows where they are, and marks them."""
    return bool(loop.move.action["type"] == "mark")


def keys_of(loop: Loop) -> list[Key]:
    """Return what a move holds."""
    if "device" in loop.move.action:
        return [device_key(loop.move.action["device"])]
    return [key_of(match) for match in loop.move.action.get("flows", ())]
