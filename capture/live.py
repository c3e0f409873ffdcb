"""Live interfaces: one door to the three ways of capturing.

Imports nothing heavy before the socket is open and the rights are dropped: a capability belongs to a thread, and
numerical libraries start threads when they are imported.
"""

from __future__ import annotations

import importlib.util
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from capture.packet_filter import library_name
from capture.packet_socket import EVERY_INTERFACE, open_packet_socket
from capture.privileges import MEND, drop_privileges
from offramp_errors import ConfigError, InputError

if TYPE_CHECKING:
    from capture.block import PacketSource

BACKENDS = ("ring", "pcapy", "scapy")
"""In the order of preference."""


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How to listen: filter text (pcap-filter(7)), bytes kept of a packet, backend, megabytes of kernel buffer."""

    bpf: str = ""
    snaplen: int = 262_144
    promiscuous: bool = True
    backend: str = "auto"
    buffer_mb: int = 64
    drop_rights: bool = True


def open_interface(name: str, options: LiveOptions | None = None) -> PacketSource:
    """Return a source over the packets that pass interface `name` (`any`: every interface, on Linux).

    All capabilities of the calling thread are dropped once the socket is open, unless the options say otherwise.
    Raises InputError for an unknown interface or a missing right, ConfigError for a wrong filter or backend.
    """
    options = options or LiveOptions()
    names = [each for _, each in socket.if_nameindex()]
    if name not in names and name != EVERY_INTERFACE:
        raise InputError(f"{name}: there is no such interface; there are {', '.join(sorted(names))} and any")
    backend = options.backend if options.backend != "auto" else usable()[0]
    if backend not in BACKENDS:
        raise ConfigError(f"--backend {backend}: expected auto, {', '.join(BACKENDS)}")
    try:
        return _open(backend, name, options)
    except PermissionError as error:
        raise InputError(f"{name}: no right to capture; {MEND}") from error
    except OSError as error:
        raise InputError(f"{name}: cannot be captured: {error.strerror or error}") from error


def usable() -> list[str]:
    """Return the backends that this machine has, the best first."""
    found = ["ring"] if sys.platform.startswith("linux") and hasattr(socket, "AF_PACKET") else []
    return found + [name for name in ("pcapy", "scapy") if importlib.util.find_spec(name) is not None]


def filters() -> str | None:
    """Return the name of the library that compiles filters, or None."""
    return library_name()


def _open(backend: str, name: str, options: LiveOptions) -> PacketSource:
    """Open with one backend, drop the rights, and only then import what reads."""
    if backend == "ring":
        sock = open_packet_socket(name, options.bpf, options.snaplen, options.promiscuous, options.buffer_mb)
        _drop(options)
        from capture.ring import RingSource

        return RingSource(sock)
    if backend == "pcapy":
        from capture.live_pcapy import open_pcapy

        reader = open_pcapy(name, options.bpf, options.snaplen, options.promiscuous, options.buffer_mb)
        _drop(options)
        from capture.polled import PolledSource

        return PolledSource(reader)
    from capture.live_scapy import open_scapy

    listener = open_scapy(name, options.bpf, options.snaplen, options.promiscuous, options.buffer_mb)
    _drop(options)
    from capture.polled import PolledSource

    return PolledSource(listener)


def _drop(options: LiveOptions) -> None:
    if options.drop_rights:
        drop_privileges()
