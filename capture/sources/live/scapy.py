"""The third live source: scapy's listening socket, for systems without Linux packet sockets. Hundreds of packets/s."""

from __future__ import annotations

import socket
import struct
import sys
import time
from typing import Any

from offramp.errors import ConfigError, InputError
from offramp.extras import require

MAX_PACKETS = 1024
SOL_PACKET, STATISTICS, IGNORE_OUTGOING = 263, 6, 23  # linux/if_packet.h
MAX_CAPLEN = 262_144


def open_scapy(name: str, bpf: str, snaplen: int, promiscuous: bool, buffer_mb: int) -> ScapyListener:
    """Return a listener on interface `name`.

    Raises PermissionError without the right to capture, ConfigError for a wrong filter or where scapy is missing,
    InputError for an interface whose link type scapy does not report.
    """
    require("--capture-backend scapy", "scapy")
    import scapy.arch  # these three fill conf with sockets, interfaces and link types
    import scapy.interfaces
    import scapy.layers.l2  # noqa: F401
    from scapy.config import conf
    from scapy.error import Scapy_Exception

    if name == "any":
        raise ConfigError("--capture-backend scapy listens to one interface; name it")
    conf.ifaces.reload()
    try:
        sock = conf.L2listen(iface=name, promisc=promiscuous, filter=bpf or None)
    except Scapy_Exception as error:
        raise ConfigError(f"--filter {bpf!r}: {error}; man pcap-filter tells what may be written") from error
    linktype = _link_type(name, sock, conf)
    if _on_linux(sock):
        sock.ins.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_mb << 20)
        if name == "lo":  # it shows each packet twice
            sock.ins.setsockopt(SOL_PACKET, IGNORE_OUTGOING, 1)
    return ScapyListener(name, sock, snaplen, linktype)


def _link_type(name: str, sock: Any, conf: Any) -> int:
    """Return the libpcap link type of what the socket gives."""
    if _on_linux(sock):
        from offramp.capture.sources.live.packet_filter import SLL2
        from offramp.capture.sources.live.packet_socket import hardware_type, link_type

        found = link_type(hardware_type(name, sock.ins))
        if found != SLL2:
            return found
    elif sock.LL in conf.l2types.layer2num:
        return int(conf.l2types.layer2num[sock.LL])
    raise InputError(f"{name}: scapy does not show this kind of interface as it is; use --capture-backend pcapy")


def _on_linux(sock: Any) -> bool:
    """Return whether scapy uses a packet socket, and not libpcap."""
    return sys.platform.startswith("linux") and isinstance(sock.ins, socket.socket)


class ScapyListener:
    """An open scapy socket; see polled.Listener. Times are floats of seconds: right to half a microsecond."""

    def __init__(self, name: str, sock: Any, snaplen: int, linktype: int) -> None:
        self.name, self.snaplen, self.linktype = name, snaplen, linktype
        self._socket = sock
        self._drops = 0

    def take(self, wait_s: float) -> list[tuple[int, bytes, int]]:
        """Return the packets that are there, or come within `wait_s`. Raises OSError when the interface is gone."""
        packets: list[tuple[int, bytes, int]] = []
        until = time.monotonic() + wait_s
        while len(packets) < MAX_PACKETS:
            wait = 0.0 if packets else max(0.0, until - time.monotonic())
            if not type(self._socket).select([self._socket], wait):
                break
            _, data, seconds = self._socket.recv_raw(MAX_CAPLEN)
            if data is not None:
                packets.append((round(float(seconds) * 1e9), data[: self.snaplen], len(data)))
        return packets

    def drops(self) -> int:
        """Return how many packets the kernel has dropped; 0 where scapy listens through libpcap and cannot tell."""
        if _on_linux(self._socket):
            statistics = self._socket.ins.getsockopt(SOL_PACKET, STATISTICS, 8)  # reading sets the counters to 0
            self._drops += int(struct.unpack("=II", statistics)[1])
        return self._drops

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
