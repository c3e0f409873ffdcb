"""What the policy is told of a bin's traffic: the heaviest flows, the devices' rates, the link's load."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.decision.site import Link
from offramp.decision.traffic import DeviceRate, FlowRate, Traffic
from offramp.stream.bins.heavy_hitters import PORTS, PROTOCOL, SOURCE, TARGET
from offramp.stream.bins.packets import IPV4_MAPPED, TCP, UDP
from offramp.stream.bins.state import ClosedBins


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
        flow_rate(keys[i], float(rates[i]))
        for i in range(len(rates))
        if rates[i] > 0 and (own is None or own in (tuple(keys[i, :2]), tuple(keys[i, 2:4])))
    )
    return Traffic(flows, tuple(devices), round(float(rows.rate_bps[first]), 1), link.capacity_bps)


def devices_key(rows: ClosedBins, row: int) -> tuple[Any, ...] | None:
    """Return the address of a device's row as a pair; None for the link's row."""
    return None if rows.series[row] == 0 else tuple(rows.key[row])


def flow_rate(key: NDArray[np.int64], rate_bps: float) -> FlowRate:
    """Return a heavy hitter's key as a flow."""
    proto = int(key[PROTOCOL])
    ports = int(key[PORTS]) if proto in (TCP, UDP) else 0
    return FlowRate(
        address_text(key[SOURCE], key[SOURCE + 1]),
        address_text(key[TARGET], key[TARGET + 1]),
        proto,
        ports >> 16,
        ports & 0xFFFF,
        round(rate_bps, 1),
    )
