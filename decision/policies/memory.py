"""What an optimiser remembers of what it moved: what is to come back, and when something is tried at home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from offramp.decision.policies.account import AGAIN, ENDED, TRIAL
from offramp.decision.policies.demand import MAX_BPS, Key, flow_key, flow_of, is_device, is_key
from offramp.decision.policies.open_moves import SECOND_NS, is_count
from offramp.decision.policies.ways import HOME
from offramp.decision.traffic import FlowRate, Traffic
from offramp.errors import ContractError

PROBE_S, MOST_PROBE_S = 5.0, 160.0
"""What is moved and not seen is assumed to demand what it did for so long, then it is tried at home; each trial that
fails doubles it."""
FITS = 0.7
"""Share of the capacity up to which load and moved demand fit a direction: as a threshold gives back."""
CALM_MS = 2.0
"""Something is tried at home only below this queue: a packet of 1,500 bytes at 6 Mbit/s."""
FAILED_NS = 5 * SECOND_NS
"""What is moved again so soon after it came back had not ended: as long as the arena calls it a flap."""


class Record(NamedTuple):
    """The last change of a unit's way: its rate and a flow of it then, when, and for how long that is assumed."""

    rate_bps: float
    flow: FlowRate
    changed_ns: int
    pause_s: float
    away: bool


class Seen(NamedTuple):
    """A unit at a look: its running rate, that which the link tells, one of its flows, its way.

    coming: whether the command that brought it to its way is still on its own; counted: whether its load is not that of
    other units, as a device's is that of its flows.
    """

    rate_bps: float
    told_bps: float
    flow: FlowRate
    way: int
    coming: bool
    ended: bool = False
    counted: bool = True

    def added_to(self, device: Seen | None, *, over: bool) -> Seen:
        """Return the device that has this unit, and all before: of the direction of its heaviest one."""
        rate_bps, told_bps = (device.rate_bps, device.told_bps) if device else (0.0, 0.0)
        flow = self.flow if device is None or self.rate_bps > device.flow.rate_bps else device.flow
        return self._replace(
            rate_bps=rate_bps + self.rate_bps, told_bps=told_bps + self.told_bps, counted=False, ended=over,
            flow=replace(flow, rate_bps=max(self.rate_bps, device.flow.rate_bps if device else 0.0)),
        )  # fmt: skip


class Memory:
    """Remembers the changes of units of one link; command_ns: how long a change takes.

    records: the last change of each unit, by key, as long as it tells something.
    """

    def __init__(self, command_ns: int) -> None:
        self.records: dict[Key, Record] = {}
        self._command_ns = command_ns
        self._tight_ns = [0, 0]
        """When load and moved demand of a direction did not fit last."""

    def over(self, seen: Mapping[Key, Seen], traffic: Traffic, now_ns: int) -> dict[Key, str]:
        """Return what is to come back whatever it brings, and why.

        What has ended; all of a direction where load and moved demand have fitted for long; of what is not seen one
        that is to be tried.
        """
        over = {key: ENDED for key, unit in seen.items() if unit.ended}
        for side, direction in enumerate(traffic.directions):
            away = {key: unit for key, unit in seen.items() if unit.way != HOME and unit.flow.down == bool(side)}
            demand_bps = sum(unit.rate_bps for unit in away.values() if unit.counted)
            if direction.load_bps + demand_bps > FITS * direction.capacity_bps:
                self._tight_ns[side] = now_ns
        fits = [now_ns - tight_ns > FAILED_NS for tight_ns in self._tight_ns]
        for key, unit in seen.items():
            if unit.way != HOME and key in self.records and (all(fits) if is_device(key) else fits[unit.flow.down]):
                over.setdefault(key, AGAIN)
        if traffic.sees_moved or max(side.end_ms for side in traffic.directions) > CALM_MS:
            return over
        tried = [
            (record.changed_ns, key)
            for key, record in self.records.items()
            if record.away and now_ns - record.changed_ns > record.pause_s * SECOND_NS and not seen[key].told_bps
        ]
        return {key: TRIAL for _, key in sorted(tried)[:1]} | over

    def note(self, key: Key, unit: Seen, now_ns: int, *, moved: bool) -> None:
        """Remember a change of a unit's way; one that comes back only to be moved again is left away for longer."""
        if moved:
            self._tight_ns[unit.flow.down] = now_ns
        before = self.records.get(key)
        pause_s = before.pause_s if before else PROBE_S
        if moved and before and not before.away and now_ns - before.changed_ns <= FAILED_NS:
            pause_s = min(2 * pause_s, MOST_PROBE_S)
        self.records[key] = Record(float(unit.rate_bps), unit.flow, now_ns, pause_s, moved)

    def keep(self, seen: Mapping[Key, Seen], now_ns: int) -> None:
        """Let go of what is over: a move may have expired, and what came back long ago tells nothing."""
        oldest_ns = now_ns - max(self._command_ns, FAILED_NS)
        away = {key for key, unit in seen.items() if unit.way != HOME}
        self.records = {
            key: record if key in away else record._replace(away=False)
            for key, record in self.records.items()
            if key in away or record.changed_ns >= oldest_ns
        }

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, for JSON."""
        records = [
            [*key, each.rate_bps, each.changed_ns, each.pause_s, each.away, *flow_key(each.flow), each.flow.down]
            for key, each in self.records.items()
        ]
        return {"records": records, "tight_ns": list(self._tight_ns)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned. Raises ContractError for what is none."""
        records: Sequence[Sequence[Any]] = state["records"]
        times = state["tight_ns"]
        if len(times) != 2 or not all(map(is_count, times)) or not all(map(_is_record, records)):
            raise ContractError("policy: changes, or times, that are none")
        self._tight_ns = list(times)
        self.records = {
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
