"""Live sources over libraries that hand out packets one by one: pcapy-ng and scapy. Slower than the ring."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from offramp.capture.block import Interface, PacketBlock, tick
from offramp.capture.sources.source import Fault, Progress

WAIT_S = 0.05
LAG_NS = 50_000_000


Packet = tuple[int, bytes, int]
"""One packet: nanoseconds since the epoch, the bytes kept of it, its length on the wire."""


class Listener(Protocol):
    """An open capture of one interface by a library.

    drops: packets lost so far, as far as the library reports. take: the packets that come within a time, none if none
    do; raises OSError with what happened when the interface is gone.
    """

    name: str
    linktype: int
    snaplen: int

    def take(self, wait_s: float) -> list[Packet]:
        """Wait for packets, and return those that are there."""
        ...

    def drops(self) -> int:
        """Return how many packets the kernel has dropped since the opening."""
        ...

    def close(self) -> None:
        """Close the capture."""
        ...


class PolledSource:
    """Packets of one interface from a listener; see source.PacketSource and ring.RingSource."""

    def __init__(self, listener: Listener) -> None:
        self.name = listener.name
        self.progress = Progress()
        self.faults: list[Fault] = []
        self._listener = listener
        self._interface = Interface(listener.name, listener.linktype, listener.snaplen)
        self._packets = 0
        self._drops = 0
        self._closed = False

    def read(self) -> Iterator[PacketBlock]:
        """Yield packets as they come, and a tick when none has come for a while."""
        try:
            yield tick(self._interface, time.time_ns() - LAG_NS, 1, 0)
            while True:
                closed, now_ns = self._closed, time.time_ns()
                packets = self._take(0.0 if closed else WAIT_S)
                if packets:
                    yield self._block(packets)
                    continue
                yield tick(self._interface, now_ns - LAG_NS, self._packets + 1, self._new_drops())
                if closed:
                    return
        finally:
            self._listener.close()

    def close(self) -> None:
        """Let `read` yield what is left and end. May be called from any thread."""
        self._closed = True

    def _take(self, wait_s: float) -> list[Packet]:
        try:
            return self._listener.take(wait_s)
        except OSError as error:
            if not self.faults:
                reason = error.strerror or str(error)
                self.faults.append(Fault(self.name, self._packets, 0, reason))
            self._closed = True
            return []

    def _new_drops(self) -> int:
        before, self._drops = self._drops, self._listener.drops()
        return self._drops - before

    def _block(self, packets: list[Packet]) -> PacketBlock:
        caplen = np.array([len(data) for _, data, _ in packets], np.int32)
        ends = np.cumsum(caplen, dtype=np.int64)
        first = self._packets + 1
        self._packets += len(packets)
        return PacketBlock(
            np.frombuffer(b"".join(data for _, data, _ in packets), np.uint8),
            ends - caplen,
            caplen,
            np.array([length for _, _, length in packets], np.int32),
            np.array([time_ns for time_ns, _, _ in packets], np.int64),
            np.zeros(len(packets), np.int32),
            (self._interface,),
            first,
            self._new_drops(),
        )
