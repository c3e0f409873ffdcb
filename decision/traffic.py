"""The traffic of a link as the policy sees it: its heaviest flows and devices, and its load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

TRANSPORT = {6: "tcp", 17: "udp"}
"""Names of the protocols that have ports, as OpenFlow's fields begin with them, by IP protocol."""
RATE_DECAY = 0.5 ** (1 / 100)
"""Of a running rate after a bin of 10 ms in which nothing came: rates are halved in a second."""


@dataclass(frozen=True, slots=True)
class FlowRate:
    """One flow: addresses as text, IP protocol number, ports (0 where there are none), bits per second, direction."""

    src: str
    dst: str
    proto: int
    sport: int
    dport: int
    rate_bps: float
    down: bool = False

    def match(self) -> dict[str, object]:
        """Return the flow under OpenFlow 1.3 match names (OXM fields, table 12 of the specification)."""
        six = ":" in self.src
        found: dict[str, object] = {
            "eth_type": 0x86DD if six else 0x0800,
            "ip_proto": self.proto,
            "ipv6_src" if six else "ipv4_src": self.src,
            "ipv6_dst" if six else "ipv4_dst": self.dst,
        }
        transport = TRANSPORT.get(self.proto)
        if transport:
            found[f"{transport}_src"] = self.sport
            found[f"{transport}_dst"] = self.dport
        return found


@dataclass(frozen=True, slots=True)
class DeviceRate:
    """One device behind the link: address as text, bits per second it sends and receives."""

    address: str
    rate_bps: float


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of a link, path or node: capacity and what it carries, bits per second; its queue.

    queue_ms: the longest in the bin where that is known, else as end_ms; end_ms: at the end of the bin.
    """

    capacity_bps: float = 0.0
    load_bps: float = 0.0
    queue_ms: float = 0.0
    end_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """A link's traffic at the end of a bin: heaviest flows and devices first, load and capacity in bits per second.

    directions: up and down, each by itself; flows: also those that were moved, where they are seen or counted.
    least_bps: what a flow that is not among them has at most; rate_decay: what is left of a running rate after a bin in
    which nothing came; places: up and down of paths and nodes, by name, as far as that is known; sees_moved: whether
    moved flows are among the flows.
    """

    flows: tuple[FlowRate, ...]
    devices: tuple[DeviceRate, ...]
    load_bps: float
    capacity_bps: float
    directions: tuple[Direction, Direction] = (Direction(), Direction())
    least_bps: float = 0.0
    rate_decay: float = RATE_DECAY
    places: Mapping[str, tuple[Direction, Direction]] = field(default_factory=dict)
    sees_moved: bool = True


@dataclass(frozen=True, slots=True)
class Quality:
    """How much of the traffic the decision rests on: shares of packets decoded, shed and dropped by the kernel."""

    decoded: float = 1.0
    shed: float = 0.0
    dropped: float = 0.0

    @property
    def share(self) -> float:
        """The share of packets that can be vouched for, which is compared with the site's quality floor."""
        return max(0.0, min(self.decoded, 1.0 - self.shed - self.dropped))

    def as_dict(self) -> dict[str, float]:
        """Return the shares as plain values."""
        return {"decoded": round(self.decoded, 6), "shed": round(self.shed, 6), "dropped": round(self.dropped, 6)}
