"""Find what the site says of a device by its address: the narrowest network that holds it counts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from offramp.decision.address import address_of, network_of
from offramp.decision.site import Device


class KnownDevices:
    """Finds the device of an address."""

    def __init__(self, devices: Iterable[Device]) -> None:
        found = [(network_of(device.address), device) for device in devices]
        self._narrowest_first = sorted(found, key=lambda each: -each[0].prefixlen)

    def of(self, address: str) -> Device | None:
        """Return the device that an address belongs to; address: as the pipeline writes it."""
        number = address_of(address)
        return next((device for network, device in self._narrowest_first if number in network), None)

    def is_fixed(self, address: str) -> bool:
        """Return whether what an address sends and receives is never moved."""
        device = self.of(address)
        return device is not None and device.priority < 0


@lru_cache(maxsize=256)
def known_of(devices: tuple[Device, ...]) -> KnownDevices:
    """Return the known devices of a link."""
    return KnownDevices(devices)
