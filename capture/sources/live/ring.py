"""The first live source: the kernel's TPACKET_V3 ring, mapped and read as arrays, no Python object per packet."""

from __future__ import annotations

import errno
import mmap
import os
import select
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from offramp.capture.block import Interface, PacketBlock, tick
from offramp.capture.sources.live.cooked import InterfacesOfAny
from offramp.capture.sources.live.packet_filter import SLL2
from offramp.capture.sources.live.packet_socket import BLOCK_BYTES, ETHERNET, EVERY_INTERFACE, PacketSocket
from offramp.capture.sources.source import Fault, Progress
from offramp.kernels import kernel_entry, kernel_lean

TICK_MS = 50
LAG_NS = 30_000_000
"""A packet lies at most this long in a block that the kernel has not handed over yet."""

LAST_BLOCK_S = 1.0
VANISHING_S = 0.05  # an interface that is being removed goes down first
STATUS, COUNT, FIRST, USED = 2, 3, 4, 5
"""Places of struct tpacket_hdr_v1 in a block, in 32-bit words: block_status, num_pkts, offset_to_first_pkt, blk_len."""

MAX_BLOCKS = 16  # blocks that are copied at once
MAX_ADDED = 24  # bytes that a packet may grow by: the cooked header, a VLAN tag


class RingSource:
    """Packets of one interface, or of each (`any`), from a packet socket; see capture.sources.source.PacketSource.

    `read` starts to listen when its first block is asked for. An interface that vanishes ends it with a fault; after
    `close` it yields what the ring still holds, so that packets and drops account for all that came in.
    """

    def __init__(self, sock: PacketSocket) -> None:
        self.name = sock.interface
        self.progress = Progress()
        self.faults: list[Fault] = []
        self._socket = sock
        self._interface = Interface(sock.interface, sock.linktype, sock.snaplen)
        every = sock.interface == EVERY_INTERFACE
        self._every = InterfacesOfAny(sock.name_of, sock.snaplen) if every else None
        self._packets = 0
        self._closed = False

    def read(self) -> Iterator[PacketBlock]:
        """Yield the packets of each block that the kernel hands over, and a tick when none has come for a while."""
        fd = self._socket.sock.fileno()
        mapped = mmap.mmap(fd, self._socket.blocks * BLOCK_BYTES, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        ring = np.frombuffer(mapped, np.uint8).reshape(self._socket.blocks, BLOCK_BYTES)
        poll = select.poll()
        poll.register(fd, select.POLLIN | select.POLLERR)
        try:
            self._socket.start()
            yield from self._blocks(ring, poll)
        finally:
            self._socket.close()

    def close(self) -> None:
        """Let no further packet in; `read` yields what is left and ends. May be called from any thread."""
        self._closed = True

    def _blocks(self, ring: Any, poll: select.poll) -> Iterator[PacketBlock]:
        words = ring.view(np.uint32)
        place, stopped_s, waited = 0, 0.0, True
        while True:
            now_ns = time.time_ns()
            ready = self._ready(words, place)
            if ready:
                block = self._take(ring[place : place + ready], words[place : place + ready], now_ns)
                words[place : place + ready, STATUS] = 0  # the kernel's again
                place = (place + ready) % len(ring)
                waited = False
                yield block
                continue
            drops = self._socket.count()
            if stopped_s and (self._packets == self._socket.packets or time.monotonic() - stopped_s > LAST_BLOCK_S):
                yield self._tick(now_ns, drops)
                return
            if waited or drops:
                yield self._tick(now_ns, drops)
            if self._closed and not stopped_s:
                self._socket.stop()
                stopped_s = time.monotonic()
            events = poll.poll(5 if stopped_s else TICK_MS)
            waited = not events
            if any(event & select.POLLERR for _, event in events):
                self._fail()
                stopped_s = stopped_s or time.monotonic()

    def _tick(self, now_ns: int, drops: int) -> PacketBlock:
        return self._told_apart(tick(self._interface, now_ns - LAG_NS, self._packets + 1, drops))

    def _told_apart(self, block: PacketBlock) -> PacketBlock:
        return block if self._every is None else self._every.told_apart(block)

    def _ready(self, words: Any, place: int) -> int:
        """Return how many blocks from `place` on are ours, as far as they lie in a row."""
        state = words[place : place + MAX_BLOCKS, STATUS] & 1
        return len(state) if state.all() else int(np.argmin(state))

    def _take(self, ring: Any, words: Any, now_ns: int = 0) -> PacketBlock:
        """Copy the packets of some blocks out of the ring."""
        counts = words[:, COUNT].astype(np.int64)
        count = int(counts.sum())
        data = np.empty(int(words[:, USED].sum()) + MAX_ADDED * count, np.uint8)
        offset, time_ns = np.empty(count, np.int64), np.empty(count, np.int64)
        caplen, length = np.empty(count, np.int32), np.empty(count, np.int32)
        used = copy_packets(
            ring, ring.view(np.uint16), words, counts, self._socket.linktype, self._socket.snaplen,
            data, offset, caplen, length, time_ns,
        )  # fmt: skip
        first = self._packets + 1
        self._packets += count
        block = PacketBlock(
            data[:used], offset, caplen, length, time_ns, np.zeros(count, np.int32), (self._interface,), first,
            self._socket.count(), read_ns=now_ns,
        )  # fmt: skip
        return self._told_apart(block)

    def _fail(self) -> None:
        """End because of the socket's error."""
        number = self._socket.failure()
        if number and not self.faults:
            reason = os.strerror(number)
            if number == errno.ENETDOWN:
                time.sleep(VANISHING_S)
                reason = "the interface went down" if self._socket.exists() else "the interface vanished"
            self.faults.append(Fault(self.name, self._packets, 0, reason))
        self._closed = True


def load_kernel() -> None:
    """Load the kernel that copies packets, so that a link does not wait for a compiler."""
    ring, many, few = np.empty((0, BLOCK_BYTES), np.uint8), np.empty(0, np.int64), np.empty(0, np.int32)
    copy_packets(
        ring, ring.view(np.uint16), ring.view(np.uint32), many, ETHERNET, 0, np.empty(0, np.uint8), many, few, few, many
    )


@kernel_entry
def copy_packets(
    ring: Any, halves: Any, words: Any, counts: Any, linktype: int, snaplen: int,
    data: Any, offset: Any, caplen: Any, length: Any, time_ns: Any,
) -> int:  # fmt: skip
    """Copy the packets of some blocks of the ring to `data`, one after the other; return the bytes used.

    ring, halves, words: [blocks, ...] as uint8, uint16, uint32; counts: int64 packets of each. As libpcap records it: a
    VLAN tag that the kernel took out is put back (Ethernet), a cooked packet gets its SLL2 header, and no more than
    snaplen bytes are kept.
    """
    row = 0
    used: Any = 0
    for place in range(len(counts)):
        at: Any = np.int64(words[place, FIRST])
        for _ in range(counts[place]):
            offset[row] = used
            used = copy_packet(
                ring[place], halves[place], words[place], at, linktype, snaplen, data, used, row, length, time_ns
            )
            caplen[row] = used - offset[row]
            row += 1
            at += np.int64(words[place, at >> 2])
    return int(used)


@kernel_lean
def copy_packet(
    block: Any, halves: Any, words: Any, at: Any, linktype: int, snaplen: int,
    data: Any, used: Any, row: int, length: Any, time_ns: Any,
) -> Any:  # fmt: skip
    """Copy the packet whose struct tpacket3_hdr begins at `at`; return where its bytes in `data` end."""
    word = at >> 2
    start = at + np.int64(halves[(at >> 1) + 12])
    kept, wire = np.int64(words[word + 3]), np.int64(words[word + 4])
    status, tag = np.int64(words[word + 5]), np.int64(words[word + 8])
    time_ns[row] = np.int64(words[word + 1]) * 1_000_000_000 + np.int64(words[word + 2])
    end: Any = used
    copied = 0
    if linktype == ETHERNET and kept >= 12 and (tag != 0 or status & 0x10):
        kind = np.int64(halves[(at >> 1) + 18]) if status & 0x40 else 0x8100
        for byte in range(12):
            data[end + byte] = block[start + byte]
        data[end + 12], data[end + 13] = kind >> 8, kind & 0xFF
        data[end + 14], data[end + 15] = (tag >> 8) & 0xFF, tag & 0xFF
        end, copied, wire = end + 16, 12, wire + 4
    elif linktype == SLL2:
        link = at + 48  # struct sockaddr_ll: family, protocol, ifindex, hatype, pkttype, halen, address
        index, hardware = np.int64(words[(link >> 2) + 1]), np.int64(halves[(link >> 1) + 4])
        data[end], data[end + 1], data[end + 2], data[end + 3] = block[link + 2], block[link + 3], 0, 0
        for byte in range(4):
            data[end + 4 + byte] = (index >> (24 - 8 * byte)) & 0xFF
        data[end + 8], data[end + 9] = hardware >> 8, hardware & 0xFF
        for byte in range(10):
            data[end + 10 + byte] = block[link + 10 + byte]
        end, wire = end + 20, wire + 20
    for byte in range(kept - copied):
        data[end + byte] = block[start + copied + byte]
    length[row] = wire
    return min(end + kept - copied, used + snaplen)
