"""What each unit of a link's traffic demands: running rates of a time constant of one's own.

A unit is a flow, or a source: all flows of one device, direction and service, those to come too. Its key is a match
of OpenFlow's fields; what it leaves open is ANY.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from offramp.decision.traffic import TRANSPORT, FlowRate, Traffic
from offramp.errors import ContractError
from offramp.inference.forecast import BIN_NS

Key = tuple[str, str, int, int, int]
"""Source, target, IP protocol, ports of a unit."""
ANY = ""
ANY_PORT = -1
LONG_NS = 1_000_000_000
"""Flows of a look before that are nothing to the next one: two are further apart, or it was not seen for so long."""
MAX_BPS = 1e15
"""More than any rate there is."""
MAX_UNITS = 65_536
"""Flows or units that are kept: more than a link tells in a second."""


def flow_key(flow: FlowRate) -> Key:
    """Return the key of one flow."""
    return flow.src, flow.dst, flow.proto, flow.sport, flow.dport


def source_key(flow: FlowRate) -> Key:
    """Return the key of all flows of its device, direction and service: the port of the other end."""
    if flow.down:
        return ANY, flow.dst, flow.proto, flow.sport, ANY_PORT
    return flow.src, ANY, flow.proto, ANY_PORT, flow.dport


def device_of(flow: FlowRate) -> str:
    """Return the address of the device that a flow is of."""
    return flow.dst if flow.down else flow.src


def device_key(address: str) -> Key:
    """Return the key of a device, which is no match."""
    return address, ANY, ANY_PORT, ANY_PORT, ANY_PORT


def is_device(key: Key) -> bool:
    """Return whether a key is that of a device."""
    return key[2] == ANY_PORT


def match_of(key: Key) -> dict[str, object]:
    """Return a key as OpenFlow 1.3 match names, what is ANY left out."""
    source, target, proto, sport, dport = key
    six = ":" in source or ":" in target
    found: dict[str, object] = {"eth_type": 0x86DD if six else 0x0800, "ip_proto": proto}
    version, transport = "ipv6" if six else "ipv4", TRANSPORT.get(proto)
    for name, address in (("src", source), ("dst", target)):
        if address != ANY:
            found[f"{version}_{name}"] = address
    for name, port in (("src", sport), ("dst", dport)):
        if transport and port != ANY_PORT:
            found[f"{transport}_{name}"] = port
    return found


def key_of(match: Mapping[str, Any]) -> Key:
    """Return the key that `match_of` was given."""
    version = "ipv6" if match["eth_type"] == 0x86DD else "ipv4"
    source, target = match.get(f"{version}_src", ANY), match.get(f"{version}_dst", ANY)
    transport = TRANSPORT.get(match["ip_proto"])
    open_port = ANY_PORT if transport else 0
    ports = match.get(f"{transport}_src", open_port), match.get(f"{transport}_dst", open_port)
    return source, target, match["ip_proto"], *ports


class Demand(NamedTuple):
    """A unit's rates, bit/s: as the link told it, and a sum that runs; the time when it was last seen to send, ns.

    weight: of all looks in the sum, 1 after many: without it what has just begun would seem light; flow: one of it.
    """

    told_bps: float
    sum_bps: float
    seen_ns: int
    weight: float
    flow: FlowRate

    @property
    def rate_bps(self) -> float:
        """The running rate."""
        return self.sum_bps / self.weight


class Demands:
    """Follows the traffic of a link from look to look.

    seconds: time constant of the running rates; sources: units are sources, not flows.
    """

    def __init__(self, seconds: float, *, sources: bool) -> None:
        self._seconds, self._kept_ns = seconds, max(LONG_NS, int(3e9 * seconds))
        self._unit_of = source_key if sources else flow_key
        self._told: dict[Key, float] = {}
        self._units: dict[Key, Demand] = {}
        self._least_bps = 0.0
        self._looked_ns = 0

    def look(self, traffic: Traffic, now_ns: int) -> Mapping[Key, Demand]:
        """Take what a link tells at the end of a bin; return all units that are known."""
        gap_ns = now_ns - self._looked_ns
        anew = not 0 < gap_ns <= LONG_NS
        left = 0.0 if anew else traffic.rate_decay ** (gap_ns / BIN_NS)
        weight = 1.0 if anew else -math.expm1(-gap_ns / 1e9 / self._seconds)
        told, now = dict[Key, float](), dict[Key, tuple[float, float, FlowRate]]()
        for flow in traffic.flows:
            key, unit = flow_key(flow), self._unit_of(flow)
            told[key] = rate = flow.rate_bps
            before = self._told.get(key)
            if before is None:
                before = min(rate, self._least_bps)
            sent = rate if anew else max(0.0, (rate - left * before) / (1.0 - left))
            others = now.get(unit)
            now[unit] = (others[0] + rate, others[1] + sent, others[2]) if others else (rate, sent, flow)
        units: dict[Key, Demand] = {}
        for unit, (rate, sent, flow) in now.items():
            known = None if anew else self._units.get(unit)
            total, much = (known.sum_bps, known.weight) if known else (0.0, 0.0)
            seen_ns = now_ns if sent > 0.0 or known is None else known.seen_ns
            total, much = total + weight * (sent - total), much + weight * (1.0 - much)
            units[unit] = Demand(rate, total, seen_ns, much, flow)
        for unit, known in () if anew else self._units.items():
            if unit not in units and now_ns - known.seen_ns <= self._kept_ns:
                total, much = (1.0 - weight) * known.sum_bps, known.weight + weight * (1.0 - known.weight)
                units[unit] = known._replace(told_bps=0.0, sum_bps=total, weight=much)
        self._told, self._units, self._least_bps, self._looked_ns = told, units, traffic.least_bps, now_ns
        return units

    def knows(self, unit: Key) -> bool:
        """Return whether a unit was seen of late."""
        return unit in self._units

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, for JSON."""
        units = [[*key, *each[:4], *flow_key(each.flow), each.flow.down] for key, each in self._units.items()]
        told = [[*key, rate] for key, rate in self._told.items()]
        return {"units": units, "told": told, "least_bps": self._least_bps, "looked_ns": self._looked_ns}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned. Raises ContractError for what is none."""
        units: Sequence[Sequence[Any]] = state["units"]
        told: Sequence[Sequence[Any]] = state["told"]
        if max(len(units), len(told)) > MAX_UNITS or not all(map(_is_unit, units)):
            raise ContractError("policy: traffic that no link tells")
        if not all(len(each) == 6 and is_key(each[:5]) and _is_rate(each[5]) for each in told):
            raise ContractError("policy: rates that no link tells")
        if type(state["looked_ns"]) is not int or not _is_rate(state["least_bps"]):
            raise ContractError("policy: a look of no time")
        self._told = {tuple(each[:5]): each[5] for each in told}  # type: ignore[misc]  # as checked
        self._units = {
            tuple(each[:5]): Demand(each[5], each[6], each[7], each[8], flow_of(each[9:15]))  # type: ignore[misc]
            for each in units
        }
        self._least_bps, self._looked_ns = state["least_bps"], state["looked_ns"]


def flow_of(value: Sequence[Any]) -> FlowRate:
    """Return a flow of its key and direction in a state."""
    source, target, proto, sport, dport, down = value
    return FlowRate(source, target, proto, sport, dport, 0.0, down)


def is_key(value: Sequence[Any]) -> bool:
    """Return whether five values of a state are a unit's key."""
    kinds = (str, str, int, int, int)
    return len(value) == 5 and all(type(each) is kind for each, kind in zip(value, kinds, strict=True))


def _is_rate(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < MAX_BPS  # type: ignore[operator]  # of these types


def _is_unit(each: Sequence[Any]) -> bool:
    if len(each) != 15 or not is_key(each[:5]) or not is_key(each[9:14]) or type(each[14]) is not bool:
        return False
    return _is_rate(each[5]) and _is_rate(each[6]) and type(each[7]) is int and each[7] >= 0 and 0 < each[8] <= 1
