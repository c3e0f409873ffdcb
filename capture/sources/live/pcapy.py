"""The second live source: libpcap through pcapy-ng (optional: the extra `live`). Times are whole microseconds."""

from __future__ import annotations

import select
from contextlib import suppress
from typing import Any

from offramp.errors import ConfigError, InputError
from offramp.extras import require

MAX_PACKETS = 8192
HAND_OVER_MS = 10
NO_RIGHT, IS_DOWN = (-8, -11), -9  # PCAP_ERROR_PERM_DENIED, PCAP_ERROR_PROMISC_PERM_DENIED, PCAP_ERROR_IFACE_NOT_UP


def open_pcapy(name: str, bpf: str, snaplen: int, promiscuous: bool, buffer_mb: int) -> PcapyListener:
    """Return a listener on interface `name`.

    Raises PermissionError without the right to capture, ConfigError for a wrong filter or where pcapy-ng is missing.
    """
    require("--capture-backend pcapy", "pcapy")
    import pcapy

    reader = pcapy.create(name)
    reader.set_snaplen(snaplen)
    reader.set_promisc(promiscuous and name != "any")
    reader.set_timeout(HAND_OVER_MS)
    reader.set_buffer_size(buffer_mb << 20)
    state = reader.activate()
    if state in NO_RIGHT:
        raise PermissionError(f"libpcap: error {state}")
    if state < 0:
        reason = "it is down" if state == IS_DOWN else f"libpcap's error {state}"
        raise InputError(f"{name}: cannot be captured, {reason}; bring it up: ip link set {name} up")
    try:
        if bpf:
            reader.setfilter(bpf)
        reader.setnonblock(1)
    except pcapy.PcapError as error:
        raise ConfigError(f"--filter {bpf!r}: {error}; man pcap-filter tells what may be written") from error
    return PcapyListener(name, reader, snaplen, pcapy.PcapError)


class PcapyListener:
    """An open libpcap handle; see capture.sources.live.polled.Listener."""

    def __init__(self, name: str, reader: Any, snaplen: int, error: type[Exception]) -> None:
        self.name, self.snaplen, self.linktype = name, snaplen, int(reader.datalink())
        self._reader, self._error = reader, error
        self._poll = select.poll()
        self._poll.register(reader.getfd(), select.POLLIN)
        self._drops = 0

    def take(self, wait_s: float) -> list[tuple[int, bytes, int]]:
        """Return the packets that are there, or come within `wait_s`. Raises OSError when the interface is gone."""
        self._poll.poll(int(wait_s * 1000))
        packets: list[tuple[int, bytes, int]] = []

        def keep(header: Any, data: bytes) -> None:
            seconds, micros = header.getts()
            packets.append((seconds * 1_000_000_000 + micros * 1000, data, header.getlen()))

        try:
            self._reader.dispatch(MAX_PACKETS, keep)
        except self._error as error:
            raise OSError(str(error)) from error
        return packets

    def drops(self) -> int:
        """Return how many packets libpcap says were dropped, by the kernel and by the interface's driver."""
        with suppress(self._error):  # a vanished interface has none any more
            _, dropped, by_driver = self._reader.stats()
            self._drops = dropped + by_driver
        return self._drops

    def close(self) -> None:
        """Close the handle."""
        self._reader.close()
