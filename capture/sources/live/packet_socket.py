"""The packet socket of Linux with a TPACKET_V3 ring (packet(7), Documentation/networking/packet_mmap.rst).

Here is all that needs the right to capture. Imports nothing heavy: rights are dropped before threads are started.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from dataclasses import dataclass

from offramp.capture.sources.live.packet_filter import (
    NOTHING,
    RAW,
    SLL2,
    Instruction,
    compile_filter,
    everything,
    without_loopback_copies,
)
from offramp.errors import InputError

EVERY_INTERFACE = "any"
ETHERNET = 1
ALL_PROTOCOLS = 3  # ETH_P_ALL
SOL_PACKET = 263
ADD_MEMBERSHIP, RX_RING, STATISTICS, VERSION = 1, 5, 6, 10  # linux/if_packet.h
TPACKET_V3, PROMISCUOUS = 2, 1
ATTACH_FILTER = 26
GET_NAME = 0x8910  # SIOCGIFNAME
GET_HARDWARE_ADDRESS = 0x8927  # SIOCGIFHWADDR
ETHERNET_TYPES = frozenset({1, 772})  # ARPHRD_ETHER, ARPHRD_LOOPBACK
RAW_TYPES = frozenset({0xFFFE, 519, 768, 776})  # ARPHRD_NONE (tun), RAWIP, TUNNEL, SIT: packets begin with IP
BLOCK_BYTES = 1 << 17
"""Small, as a block that is handed over half empty takes the room of a full one; the longest packet (64 KB) fits."""

RETIRE_MS = 2
"""The kernel hands over a block after this time, full or not. Blocks times this is the longest pause we can make."""


@dataclass(slots=True)
class PacketSocket:
    """An opened, not yet listening packet socket: `start` lets packets in, `stop` none any more.

    Statistics are counts since `start`: packets put into the ring, packets dropped as it was full.
    """

    interface: str
    linktype: int
    snaplen: int
    blocks: int
    sock: socket.socket
    index: int
    packets: int = 0
    drops: int = 0

    def start(self) -> None:
        """Listen to the interface. Raises InputError where it is down or gone."""
        address = struct.pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(ALL_PROTOCOLS), self.index, 0, 0, 0, b"")
        libc = ctypes.CDLL(None, use_errno=True)
        number = ctypes.get_errno() if libc.bind(self.sock.fileno(), address, len(address)) else self.failure()
        if number:
            raise InputError(f"{self.interface}: {os.strerror(number)}; bring it up: ip link set {self.interface} up")

    def stop(self) -> None:
        """Let no further packet in; what is in the ring can still be read."""
        self.attach(NOTHING)

    def attach(self, program: list[Instruction]) -> None:
        """Set the filter."""
        code = b"".join(struct.pack("=HBBI", *each) for each in program)
        buffer = ctypes.create_string_buffer(code, len(code))
        self.sock.setsockopt(
            socket.SOL_SOCKET, ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(buffer))
        )

    def failure(self) -> int:
        """Return the error number that is pending on the socket, and clear it: ENETDOWN for a vanished interface."""
        return self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def count(self) -> int:
        """Bring the statistics up to date; return the drops since the last call."""
        # struct tpacket_stats_v3; reading sets the kernel's counters to 0, and its packets include the dropped ones
        packets, drops, _ = struct.unpack("=III", self.sock.getsockopt(SOL_PACKET, STATISTICS, 12))
        self.packets += packets - drops
        self.drops += drops
        return int(drops)

    def exists(self) -> bool:
        """Return whether the interface is still there, in the network namespace of the socket."""
        try:
            hardware_type(self.interface, self.sock)
        except OSError:
            return False
        return True

    def name_of(self, index: int) -> str:
        """Return an interface's name by its number, in the network namespace of the socket. Raises OSError."""
        answer = fcntl.ioctl(self.sock, GET_NAME, struct.pack("16si20x", b"", index))
        return answer[:16].split(b"\0", 1)[0].decode(errors="replace")

    def close(self) -> None:
        """Close the socket; the ring goes with the last view of it."""
        self.sock.close()


def open_packet_socket(name: str, bpf: str, snaplen: int, promiscuous: bool, ring_mb: int) -> PacketSocket:
    """Return a packet socket on interface `name` (`any`: all of them) with filter and ring.

    Raises PermissionError without CAP_NET_RAW, ConfigError for a wrong filter, InputError for what the kernel lacks.
    """
    every = name == EVERY_INTERFACE
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        linktype = SLL2 if every else link_type(hardware_type(name, asked))
    kind = socket.SOCK_DGRAM if linktype == SLL2 else socket.SOCK_RAW
    sock = socket.socket(socket.AF_PACKET, kind, 0)  # protocol 0: no packet comes in before the filter is set
    opened = PacketSocket(
        name,
        linktype,
        snaplen,
        max(2, (ring_mb << 20) // BLOCK_BYTES),
        sock,
        0 if every else socket.if_nametoindex(name),
    )
    try:
        program = compile_filter(bpf, linktype, snaplen, name) if bpf else everything(snaplen)
        loopback = _loopback(name)
        opened.attach(without_loopback_copies(program, loopback, every) if loopback else program)
        _map_ring(opened)
        if promiscuous and not every:
            request = struct.pack("=iHH8s", opened.index, PROMISCUOUS, 0, b"")
            sock.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, request)
    except BaseException:
        sock.close()
        raise
    return opened


def hardware_type(name: str, asked: socket.socket) -> int:
    """Return an interface's ARPHRD_* number. Raises OSError where there is none of that name."""
    answer = fcntl.ioctl(asked, GET_HARDWARE_ADDRESS, struct.pack("16sH22x", name.encode(), 0))
    return int(struct.unpack_from("=H", answer, 16)[0])


def link_type(hardware: int) -> int:
    """Return the libpcap link type for a hardware type; what is neither Ethernet nor bare IP is captured cooked."""
    if hardware in ETHERNET_TYPES:
        return ETHERNET
    return RAW if hardware in RAW_TYPES else SLL2


def _loopback(name: str) -> int:
    """Return the number of the loopback interface if `name` shows it, else 0."""
    if name not in (EVERY_INTERFACE, "lo"):
        return 0
    return next((number for number, each in socket.if_nameindex() if each == "lo"), 0)


def _map_ring(opened: PacketSocket) -> None:
    """Ask the kernel for the ring: struct tpacket_req3."""
    try:
        opened.sock.setsockopt(SOL_PACKET, VERSION, struct.pack("=i", TPACKET_V3))
        frames = opened.blocks * (BLOCK_BYTES // 2048)
        request = struct.pack("=7I", BLOCK_BYTES, opened.blocks, 2048, frames, RETIRE_MS, 0, 0)
        opened.sock.setsockopt(SOL_PACKET, RX_RING, request)
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise InputError(
                f"{opened.interface}: no memory for a ring of {opened.blocks * BLOCK_BYTES >> 20} MB; ask for less"
            ) from error
        raise
