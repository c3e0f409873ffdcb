"""Moves of traffic, and the loop of one: open from its onset, over its updates, to its clear or its expiry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from offramp.decision.traffic import DeviceRate, FlowRate, Traffic


@dataclass(slots=True)
class Move:
    """A proposed move: the action, the scope it falls under, and the traffic that it takes off the link."""

    scope: str
    action: dict[str, Any]
    rate_bps: float

    @property
    def size(self) -> int:
        """How many moves it counts for: its flows, or one device."""
        return len(self.action.get("flows", ())) or 1

    @property
    def target(self) -> str:
        """The path or node that takes the traffic; empty where it stays on the link."""
        return str(self.action.get("path") or self.action.get("to") or "")


@dataclass(slots=True)
class Loop:
    """An open move; times in nanoseconds of event time. `enforced`: some command of it was to be carried out."""

    loop_id: str
    move: Move
    opened_ns: int
    renewed_ns: int
    expires_ns: int
    sequence: int
    enforced: bool

    def state(self) -> dict[str, Any]:
        """Return the loop as plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Loop:
        """Return the loop of what `state` returned."""
        return cls(**{**state, "move": Move(**state["move"])})


@dataclass(frozen=True, slots=True)
class HeldMoves:
    """What open moves hold: flows and devices moved, the load they put on each place, and how many moves they are."""

    flows: frozenset[tuple[Any, ...]] = frozenset()
    devices: frozenset[str] = frozenset()
    used_bps: Mapping[str, float] = field(default_factory=dict)
    moves: int = 0

    def has(self, flow: FlowRate) -> bool:
        """Return whether the flow is moved, by itself or with its device."""
        if self.flows and tuple(flow.match().items()) in self.flows:
            return True
        return not self.devices.isdisjoint((flow.src, flow.dst))

    def left_of(self, device: DeviceRate, traffic: Traffic) -> DeviceRate:
        """Return the device with the rate that its moved flows leave on the link."""
        if device.address in self.devices:
            return DeviceRate(device.address, 0.0)
        own = (flow for flow in traffic.flows if device.address in (flow.src, flow.dst) and self.has(flow))
        return DeviceRate(device.address, max(0.0, device.rate_bps - sum(flow.rate_bps for flow in own)))

    def seen_bps(self, traffic: Traffic) -> float:
        """Return how much of the link's traffic is of moved flows and devices: all of it in a dry run."""
        if not self.moves:
            return 0.0
        devices = sum(device.rate_bps for device in traffic.devices if device.address in self.devices)
        alone = (flow for flow in traffic.flows if self.devices.isdisjoint((flow.src, flow.dst)) and self.has(flow))
        return devices + sum(flow.rate_bps for flow in alone)

    def plus(self, moves: Iterable[Move]) -> HeldMoves:
        """Return what these and `moves` hold together."""
        flows, devices, used, count = set(self.flows), set(self.devices), dict(self.used_bps), self.moves
        for move in moves:
            flows.update(tuple(match.items()) for match in move.action.get("flows", ()))
            devices.update([move.action["device"]] if "device" in move.action else [])
            used[move.target] = used.get(move.target, 0.0) + move.rate_bps
            count += move.size
        return HeldMoves(frozenset(flows), frozenset(devices), used, count)
