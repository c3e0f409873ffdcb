"""Reroute: the link's heaviest flows go over other paths until the forecast fits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from offramp.decision.address import address_of
from offramp.decision.costs import spread
from offramp.decision.known import known_of
from offramp.decision.moves import HeldMoves, Move
from offramp.decision.site import Limits, Link
from offramp.decision.traffic import FlowRate, Traffic

MIN_SHARE = 0.02
"""Flows and devices below this share of the capacity are not worth a move."""
LOWER_EFFORT = 1
"""The DSCP of traffic that gives way to all other (RFC 8622)."""


def movable(link: Link, limits: Limits, traffic: Traffic, held: HeldMoves) -> Iterator[FlowRate]:
    """Yield the flows that may be moved and are not yet, heaviest first."""
    known = known_of(link.known)
    for flow in traffic.flows:
        if not is_movable_size(flow.rate_bps, traffic):
            return  # so are all that follow
        free = not (known.is_fixed(flow.src) or known.is_fixed(flow.dst) or held.has(flow))
        if free and allowed(limits, flow.src, flow.dst):
            yield flow


def is_movable_size(rate_bps: float, traffic: Traffic) -> bool:
    """Return whether a flow or device of this rate is worth a move."""
    return rate_bps >= MIN_SHARE * traffic.capacity_bps


def allowed(limits: Limits, *addresses: str) -> bool:
    """Return whether one of `addresses` is in the networks that the site allows to be moved."""
    return not limits.only or any(address_of(text) in network for text in addresses for network in limits.only)


def reroute(link: Link, limits: Limits, traffic: Traffic, excess_bps: float, held: HeldMoves) -> list[Move]:
    """Return one move per path: the heaviest flows, each to the cheapest path, until they make up `excess_bps`."""
    wanted, room = movable(link, limits, traffic, held), limits.moves - held.moves
    by_path: dict[str, list[FlowRate]] = {}
    for flow, path, _ in spread(wanted, link.paths, held.used_bps, link.capacity_bps, room, excess_bps):
        by_path.setdefault(path.name, []).append(flow)
    return [_move(link, {"type": "reroute", "path": path}, flows) for path, flows in sorted(by_path.items())]


def mark(link: Link, limits: Limits, traffic: Traffic, excess_bps: float, held: HeldMoves) -> list[Move]:
    """Return one move that marks the heaviest flows as giving way: what is left where no path or node has room."""
    flows: list[FlowRate] = []
    for flow in movable(link, limits, traffic, held):
        if len(flows) >= limits.moves - held.moves or excess_bps <= 0:
            break
        flows.append(flow)
        excess_bps -= flow.rate_bps
    return [_move(link, {"type": "mark", "dscp": LOWER_EFFORT}, flows)] if flows else []


def _move(link: Link, action: dict[str, Any], flows: list[FlowRate]) -> Move:
    action["flows"] = [flow.match() for flow in flows]
    return Move(f"link:{link.name}", action, sum(min(flow.rate_bps, link.capacity_bps) for flow in flows))
