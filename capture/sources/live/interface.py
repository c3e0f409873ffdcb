"""Open live interfaces by one of the three capture backends.

Imports nothing heavy before the socket is open and the privileges are dropped: capabilities belong to a thread, and
numerical libraries start threads when they are imported.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from offramp.capture.sources.live.packet_socket import EVERY_INTERFACE, PacketSocket, open_packet_socket
from offramp.capture.sources.live.privileges import MEND, Confinement, confine
from offramp.errors import ConfigError, InputError
from offramp.extras import installed

if TYPE_CHECKING:
    from offramp.capture.sources.live.polled import Listener
    from offramp.capture.sources.source import PacketSource

BACKENDS = ("ring", "pcapy", "scapy")
"""In the order of preference."""


NOTHING_LEFT = Confinement()


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How to listen: filter text (pcap-filter(7)), bytes kept of a packet, backend, megabytes of kernel buffer.

    left: the rights that stay once the sockets are open; None: all.
    """

    bpf: str = ""
    snaplen: int = 262_144
    promiscuous: bool = True
    backend: str = "auto"
    buffer_mb: int = 64
    left: Confinement | None = NOTHING_LEFT


def open_interface(name: str, options: LiveOptions | None = None) -> PacketSource:
    """Return a source over the packets that pass interface `name`; see open_interfaces."""
    return open_interfaces((name,), options)[0]


def open_interfaces(names: Sequence[str], options: LiveOptions | None = None) -> list[PacketSource]:
    """Return a source over the packets that pass each interface (`any`, alone: every interface, on Linux).

    Once the sockets are open the calling thread gives up all rights but those that the options leave it.
    Raises InputError for an unknown interface or a missing right, ConfigError for a wrong filter or backend.
    """
    options = options or LiveOptions()
    there = [each for _, each in socket.if_nameindex()]
    for name in names:
        if name not in there and name != EVERY_INTERFACE:
            raise InputError(f"{name}: there is no such interface; there are {', '.join(sorted(there))} and any")
        if names.count(name) > 1:
            raise ConfigError(f"{name}: is named twice; each interface is watched once")
    if EVERY_INTERFACE in names and len(names) > 1:
        raise ConfigError("any: is every interface; name it alone, or the interfaces without it")
    backend = options.backend if options.backend != "auto" else usable()[0]
    if backend not in BACKENDS:
        raise ConfigError(f"--capture-backend {backend}: expected auto, {', '.join(BACKENDS)}")
    opened: list[_Opened] = []
    try:
        for name in names:
            opened.append(_opened(backend, name, options))  # noqa: PERF401 - what is open is closed where one fails
    except BaseException:
        for each in opened:
            each.handle.close()
        raise
    if options.left is not None:
        confine(options.left)
    return [each.source() for each in opened]


def usable() -> list[str]:
    """Return the backends that this machine has, the best first."""
    found = ["ring"] if sys.platform.startswith("linux") and hasattr(socket, "AF_PACKET") else []
    return found + [name for name in ("pcapy", "scapy") if installed(name)]


class _Opened(NamedTuple):
    """An open handle, which needed the right to capture, and what makes a source of it, importing what reads."""

    handle: Any
    source: Callable[[], PacketSource]


def _opened(backend: str, name: str, options: LiveOptions) -> _Opened:
    """Open an interface with a backend, its errors in words."""
    try:
        return _open(backend, name, options)
    except PermissionError as error:
        raise InputError(f"{name}: no right to capture; {MEND}") from error
    except OSError as error:
        raise InputError(f"{name}: cannot be captured: {error.strerror or error}") from error


def _open(backend: str, name: str, options: LiveOptions) -> _Opened:
    arguments = (name, options.bpf, options.snaplen, options.promiscuous, options.buffer_mb)
    if backend == "ring":
        sock = open_packet_socket(*arguments)
        return _Opened(sock, lambda: _ring(sock))
    listener: Listener
    if backend == "pcapy":
        from offramp.capture.sources.live.pcapy import open_pcapy

        listener = open_pcapy(*arguments)
    else:
        from offramp.capture.sources.live.scapy import open_scapy

        listener = open_scapy(*arguments)
    return _Opened(listener, lambda: _polled(listener))


def _ring(sock: PacketSocket) -> PacketSource:
    from offramp.capture.sources.live.ring import RingSource

    return RingSource(sock)


def _polled(listener: Listener) -> PacketSource:
    from offramp.capture.sources.live.polled import PolledSource

    return PolledSource(listener)
