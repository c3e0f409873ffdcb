"""Offload: devices whose traffic another node serves, least important and most troubled first."""

from __future__ import annotations

from collections.abc import Mapping

from offramp.decision.costs import spread
from offramp.decision.known import known_of
from offramp.decision.moves import HeldMoves, Move
from offramp.decision.reroute import allowed, is_movable_size
from offramp.decision.site import Limits, Link
from offramp.decision.traffic import DeviceRate, Traffic

ENERGY_NJ_PER_BIT = 1.0
"""What a device of which nothing is known spends to send a bit: the default of site.toml."""


def offload(
    link: Link, limits: Limits, traffic: Traffic, excess_bps: float, held: HeldMoves, p_high: Mapping[str, float]
) -> list[Move]:
    """Return a move per device, each to the cheapest node, until they make up `excess_bps`.

    p_high: P(High) of the devices that have a fresh forecast, by address.
    """
    wanted, room = ranked(link, limits, traffic, held, p_high), limits.moves - held.moves
    moves: list[Move] = []
    for device, node, rate_bps in spread(wanted, link.nodes, held.used_bps, link.capacity_bps, room, excess_bps):
        action = {"type": "offload", "device": device.address, "from": link.name, "to": node.name}
        moves.append(Move(f"device:{link.name}/{device.address}", action, rate_bps))
    return moves


def ranked(
    link: Link, limits: Limits, traffic: Traffic, held: HeldMoves, p_high: Mapping[str, float]
) -> list[DeviceRate]:
    """Return the devices that may be moved: by priority, then P(High), then the power their sending takes."""
    known = known_of(link.known)

    def order(device: DeviceRate) -> tuple[float, ...]:
        details = known.of(device.address)
        chance = round(p_high.get(device.address, 0.0), 1)
        energy = details.energy_nj_per_bit if details else ENERGY_NJ_PER_BIT
        return details.priority if details else 0, -chance, -device.rate_bps * energy

    free = [
        device
        for device in (held.left_of(device, traffic) for device in traffic.devices)
        if is_movable_size(device.rate_bps, traffic)
        and not known.is_fixed(device.address)
        and allowed(limits, device.address)
    ]
    return sorted(free, key=order)
