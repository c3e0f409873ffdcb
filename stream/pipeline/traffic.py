"""A bin's traffic as the policy gets it: the heaviest flows, the devices' rates, the link's load."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.decision.address import address_of
from offramp.decision.site import Link
from offramp.decision.traffic import DeviceRate, Direction, FlowRate, Traffic
from offramp.stream.bins.heavy_hitters import PORTS, PROTOCOL, SOURCE, TARGET
from offramp.stream.bins.packets import IPV4_MAPPED, TCP, UDP
from offramp.stream.bins.state import ClosedBins
from offramp.stream.channels import CHANNELS

Network = IPv4Network | IPv6Network
BACKLOG = CHANNELS.index("backlog_up"), CHANNELS.index("backlog_down")


@lru_cache(maxsize=4096)
def address_text(high: int, low: int) -> str:
    """Return an address as text; IPv4-mapped ones as IPv4."""
    high, low = int(high) & (2**64 - 1), int(low) & (2**64 - 1)
    if high == 0 and low >> 32 == IPV4_MAPPED >> 32:
        return str(IPv4Address(low & 0xFFFFFFFF))
    return str(IPv6Address(high << 64 | low))


def traffic_of(rows: ClosedBins, row: int, link: Link) -> Traffic:
    """Return the traffic at the end of the bin of `row`; of a device's row, with the flows of that device only."""
    bin_number = rows.bin_number[row]
    first = int(np.searchsorted(rows.bin_number, bin_number, side="left"))
    last = int(np.searchsorted(rows.bin_number, bin_number, side="right"))
    devices = [
        DeviceRate(address_text(*rows.key[at]), round(float(rows.rate_bps[at]), 1)) for at in range(first + 1, last)
    ]
    devices.sort(key=lambda device: -device.rate_bps)
    own = devices_key(rows, row)
    keys, rates = rows.flow_key[first], rows.flow_rate_bps[first]
    flows = tuple(
        flow_rate(keys[i], float(rates[i]), link.devices)
        for i in range(len(rates))
        if rates[i] > 0 and (own is None or own in (tuple(keys[i, :2]), tuple(keys[i, 2:4])))
    )
    load_bps = round(float(rows.rate_bps[first]), 1)
    least_bps = max(float(rates[-1]), 0.0)  # 0 where there is room for more flows
    sides = directions_of(rows, first, link, flows)
    return Traffic(flows, tuple(devices), load_bps, link.capacity_bps, sides, least_bps)


def directions_of(rows: ClosedBins, row: int, link: Link, flows: tuple[FlowRate, ...]) -> tuple[Direction, Direction]:
    """Return up and down of a link's row.

    The decayed load is known of the link as a whole: it is shared as the heaviest flows are, which tell their
    direction, and what they leave of it as the bits of the bin are.
    """
    capacities = link.capacity_bps, link.capacity_down_bps
    whole = float(rows.rate_bps[row])
    known = [sum(flow.rate_bps for flow in flows if flow.down == down) for down in (False, True)]
    bits = [float(rows.load[row, side]) * capacities[side] for side in (0, 1)]
    rest = max(whole - sum(known), 0.0)
    parts = [known[side] + rest * (bits[side] / sum(bits) if sum(bits) > 0 else 0.5) for side in (0, 1)]
    scale = whole / sum(parts) if sum(parts) > 0 else 0.0
    queues = queues_of(rows, row)
    up, down = (Direction(capacities[side], parts[side] * scale, queues[side], queues[side]) for side in (0, 1))
    return up, down


def queues_of(rows: ClosedBins, row: int) -> tuple[float, float]:
    """Return the virtual queues at the end of the bin of `row`, up and down, ms."""
    up, down = (float(np.expm1(rows.x[row, at])) for at in BACKLOG)
    return up, down


def devices_key(rows: ClosedBins, row: int) -> tuple[Any, ...] | None:
    """Return the address of a device's row as a pair; None for the link's row."""
    return None if rows.series[row] == 0 else tuple(rows.key[row])


@lru_cache(maxsize=4096)
def is_inside(address: str, networks: tuple[Network, ...]) -> bool:
    """Return whether an address is in one of the networks."""
    return any(address_of(address) in network for network in networks)


def flow_rate(key: NDArray[np.int64], rate_bps: float, networks: tuple[Network, ...] = ()) -> FlowRate:
    """Return a heavy hitter's key as a flow; networks: those behind the link."""
    proto = int(key[PROTOCOL])
    ports = int(key[PORTS]) if proto in (TCP, UDP) else 0
    source, target = (address_text(key[end], key[end + 1]) for end in (SOURCE, TARGET))
    return FlowRate(
        source,
        target,
        proto,
        ports >> 16,
        ports & 0xFFFF,
        round(rate_bps, 1),
        bool(networks) and not is_inside(source, networks) and is_inside(target, networks),
    )
