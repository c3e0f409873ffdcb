"""Conversations built with scapy: segments in any order, with any numbers, written to a capture."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.utils import PcapWriter

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
WORD = 0xFFFFFFFF

Said = list[tuple[int, bytes]]
"""Who says what: 0 the client, 1 the server."""


class Conversation:
    """A client and a server over TCP or UDP; times go on by `gap` seconds a packet, or by what a packet says."""

    def __init__(
        self, client: int, server: int, *, start: float = 1.0, gap: float = 0.01, handshake: bool = True
    ) -> None:
        self.packets: list[tuple[float, Packet, int]] = []
        self.ports = (client, server)
        self.following = [1000, 5000]
        self.time = start
        self.gap = gap
        if handshake:
            self.segment(0, b"", "S", sequence=999, acknowledged=0)
            self.segment(1, b"", "SA", sequence=4999, acknowledged=1000)
            self.segment(0, b"", "A")

    def segment(
        self,
        side: int,
        payload: bytes = b"",
        flags: str = "PA",
        *,
        sequence: int | None = None,
        acknowledged: int | None = None,
        after: float | None = None,
        cut: int = 0,
    ) -> None:
        """Add a TCP segment of `side` (0 the client) that does not move the side's own numbers on.

        after: seconds since the packet before; cut: bytes at the end that were not captured.
        """
        layer = TCP(
            sport=self.ports[side],
            dport=self.ports[1 - side],
            flags=flags,
            seq=(self.following[side] if sequence is None else sequence) & WORD,
            ack=(self.following[1 - side] if acknowledged is None else acknowledged) & WORD,
            window=8192,
        )
        self._add(side, layer / Raw(payload) if payload else layer, after, cut)

    def send(self, side: int, payload: bytes, flags: str = "PA", after: float | None = None) -> None:
        """Add a TCP segment and move the side's numbers on."""
        self.segment(side, payload, flags, after=after)
        self.following[side] += len(payload) + ("F" in flags)

    def datagram(self, side: int, payload: bytes, after: float | None = None) -> None:
        """Add a UDP datagram."""
        self._add(side, UDP(sport=self.ports[side], dport=self.ports[1 - side]) / Raw(payload), after, 0)

    def _add(self, side: int, layer: Packet, after: float | None, cut: int) -> None:
        self.time += self.gap if after is None else after
        ends = (CLIENT, SERVER) if side == 0 else (SERVER, CLIENT)
        packet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src=ends[0], dst=ends[1]) / layer
        self.packets.append((self.time, packet, cut))


class Captures:
    """Conversations after one another, each with a client port of its own."""

    def __init__(self) -> None:
        self.conversations: list[Conversation] = []

    def new(self, server: int = 80, gap: float = 0.01, handshake: bool = True) -> Conversation:
        """Begin another conversation."""
        start = self.conversations[-1].time + 1 if self.conversations else 1.0
        client = 40_000 + len(self.conversations)
        self.conversations.append(Conversation(client, server, start=start, gap=gap, handshake=handshake))
        return self.conversations[-1]

    def say(self, said: Said, server: int = 80, handshake: bool = True) -> Conversation:
        """Say things in turn; the server's empty word is its FIN."""
        talk = self.new(server, handshake=handshake)
        for side, payload in said:
            talk.send(side, payload, "PA" if payload else "FA")
        return talk


def write_capture(path: Path, conversations: Iterable[Conversation]) -> Path:
    """Write the packets of conversations in the order of their times."""
    found = sorted((item for one in conversations for item in one.packets), key=lambda item: item[0])
    with PcapWriter(str(path), linktype=1) as writer:
        writer.write_header(None)
        for time, packet, cut in found:
            raw = bytes(packet)
            kept = raw[: len(raw) - cut]
            writer.write_packet(
                kept, sec=int(time), usec=round(time % 1 * 1_000_000) % 1_000_000, caplen=len(kept), wirelen=len(raw)
            )
    return path
