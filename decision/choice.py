"""What to move, and where to: the heaviest flows of a link to another path, a device's traffic to another node."""

from __future__ import annotations

from typing import Any

from decision.costs import cheapest
from decision.site import Link, Site
from decision.traffic import FlowRate, Traffic

LEAST_SHARE = 0.02
"""Flows and devices below this share of the capacity are not worth a move."""


def choose(site: Site, link: Link, scope: str, traffic: Traffic) -> dict[str, Any] | None:
    """Return the action for a scope that foresees congestion, or None where nothing allowed would help."""
    if scope.startswith("device:"):
        return _offload(site, link, scope, traffic)
    return _reroute(site, link, traffic)


def heaviest(traffic: Traffic, target_load: float) -> list[FlowRate]:
    """Return the heaviest flows, as many as bring the load to `target_load` of the capacity or below."""
    chosen: list[FlowRate] = []
    left = traffic.load_bps
    for flow in traffic.flows:
        if left <= target_load * traffic.capacity_bps or flow.rate_bps < LEAST_SHARE * traffic.capacity_bps:
            break
        chosen.append(flow)
        left -= flow.rate_bps
    return chosen


def _reroute(site: Site, link: Link, traffic: Traffic) -> dict[str, Any] | None:
    flows = heaviest(traffic, site.policy.target_load)
    if not flows or "reroute" not in site.limits.actions:
        return None
    path = cheapest(link.paths, min(sum(flow.rate_bps for flow in flows), traffic.capacity_bps))
    if path is None:
        return None
    return {"type": "reroute", "flows": [flow.match() for flow in flows], "path": path.name}


def _offload(site: Site, link: Link, scope: str, traffic: Traffic) -> dict[str, Any] | None:
    address = scope.rsplit("/", 1)[1]
    rate = next((device.rate_bps for device in traffic.devices if device.address == address), 0.0)
    if "offload" not in site.limits.actions or rate < LEAST_SHARE * traffic.capacity_bps:
        return None
    if any(device.address == address and device.priority < 0 for device in link.known):
        return None
    node = cheapest(link.nodes, min(rate, traffic.capacity_bps))
    if node is None:
        return None
    return {"type": "offload", "device": address, "from": link.name, "to": node.name}
