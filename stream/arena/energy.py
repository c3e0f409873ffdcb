"""The energy of an episode: what stays costs its device, what is moved also whoever carries or serves it.

Paper eq. 16 and 17, with a bit for a task's data: E_l = d e_l for what stays, E_c = E_t + a d for what goes elsewhere.
e_l and E_t are the device's `energy_nj_per_bit` for what it sends, a that of the path or node (docs/site.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offramp.decision.known import known_of
from offramp.decision.site import Device, Site
from offramp.stream.arena.places import numbers_of, others_of
from offramp.stream.arena.traffic import Arrivals

UNKNOWN_NJ = float(Device.model_fields["energy_nj_per_bit"].default)
"""Of a bit that a device sends of which the site file says nothing."""


def sending_nj(known: tuple[Device, ...], address: str) -> float:
    """Return what a device spends to send a bit, nJ, of those known."""
    device = known_of(known).of(address)
    return UNKNOWN_NJ if device is None else device.energy_nj_per_bit


def spent_nj(
    site: Site, arrivals: Arrivals, flow: NDArray[np.int64], size: NDArray[np.int64], place: NDArray[np.int64]
) -> float:
    """Return the energy of all packets, lost ones too; flow, size, place: int64 [n] of each, bytes."""
    numbers = numbers_of(site)
    carried, sent = np.zeros(len(numbers)), np.where(arrivals.down, 0.0, UNKNOWN_NJ)
    for number, link in enumerate(site.links):
        for other in others_of(link):
            if numbers[other.name] >= len(site.links):
                carried[numbers[other.name]] = other.energy_nj_per_bit
        for which in np.flatnonzero(~arrivals.down & (arrivals.link == number)) if link.known else ():
            sent[which] = sending_nj(link.known, arrivals.flow_rate(int(which), 0.0).src)
    return float((size * 8.0 * (sent[flow] + carried[np.maximum(place, 0)])).sum())
