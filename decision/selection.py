"""What to move: flows to paths, then devices to nodes, then marks, until the forecast fits."""

from __future__ import annotations

from collections.abc import Mapping

from offramp.decision.hysteresis import QUANTILE
from offramp.decision.moves import HeldMoves, Move
from offramp.decision.offload import offload
from offramp.decision.reroute import mark, reroute
from offramp.decision.site import Link, Rules, Site
from offramp.decision.traffic import Traffic
from offramp.inference.forecast import Forecast


def choose(
    site: Site, link: Link, forecast: Forecast, traffic: Traffic, held: HeldMoves, p_high: Mapping[str, float]
) -> list[Move]:
    """Return the moves that bring the link back into its budget, as the site allows and has room.

    held: what open moves hold; p_high: P(High) of the devices that have a fresh bad forecast, by address.
    """
    limits = site.limits
    excess = excess_bps(link, site.policy, forecast, traffic, held)
    moves: list[Move] = []
    if "reroute" in limits.actions:
        moves += reroute(link, limits, traffic, excess, held)
    if "offload" in limits.actions:
        left = excess - sum(move.rate_bps for move in moves)
        moves += offload(link, limits, traffic, left, held.plus(moves), p_high)
    if "mark" in limits.actions and not moves:
        moves += mark(link, limits, traffic, excess, held)
    return moves


def excess_bps(link: Link, rules: Rules, forecast: Forecast, traffic: Traffic, held: HeldMoves) -> float:
    """Return the bits per second that must leave the link for the forecast to fit.

    What exceeds the target load, and what drains the foreseen queue down to the budget within the horizon; what open
    moves take counts as gone, whether it is still seen (dry run) or not. Without open moves at least something.
    """
    delay_ms = forecast.quantiles_ms[QUANTILE[rules.quantile]]
    late = max(0.0, delay_ms - link.budget_ms) / forecast.horizon_ms
    need = traffic.load_bps - held.seen_bps(traffic) - traffic.capacity_bps * (rules.target_load - late)
    return need if held.moves else max(need, 1.0)
