"""Packet blocks: the raw bytes of many packets as arrays; every source yields them, every dissector takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_TIME = -(2**63)
"""The time of a packet that has none, as in a simple packet block, or one that no number of ours can hold."""

END_OF_TIME_NS = 1 << 62
"""Times from here on (2116), and those before 1970, are of a clock that is wrong: shown as they are, never binned."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One capture interface of a source: its name ("" where unknown), libpcap link type, snap length in bytes."""

    name: str
    linktype: int
    snaplen: int = 262_144


@dataclass(frozen=True, slots=True)
class PacketBlock:
    """Many packets as one buffer and one row each.

    data: uint8 [bytes]; offset: int64 [n] start of each packet in data; caplen, length: int32 [n] bytes captured and on
    the wire; time_ns: int64 [n] nanoseconds since the epoch, or NO_TIME; interface: int32 [n] index into interfaces.
    first_number is the 1-based number of the block's first packet in its source (tshark's frame.number).
    kernel_drops counts packets that the kernel dropped since the block before. sampling: each packet stands for this
    many (flows were sampled); sampled_away: packets of flows that were not kept, among these. shed_before: packets that
    were shed in a row just before the first one. clock_ns: of a live source only, else 0: all packets before this time
    have been handed over, so that time goes on where no packets come. read_ns: the clock when a live source got the
    block, else 0.
    """

    data: NDArray[np.uint8]
    offset: NDArray[np.int64]
    caplen: NDArray[np.int32]
    length: NDArray[np.int32]
    time_ns: NDArray[np.int64]
    interface: NDArray[np.int32]
    interfaces: tuple[Interface, ...]
    first_number: int = 1
    kernel_drops: int = 0
    sampling: int = 1
    sampled_away: int = 0
    shed_before: int = 0
    clock_ns: int = 0
    read_ns: int = 0

    def __len__(self) -> int:
        return len(self.offset)


def tick(interface: Interface, clock_ns: int, first_number: int, kernel_drops: int) -> PacketBlock:
    """Return a block without packets, by which a live source passes the time on."""
    nothing, none = np.empty(0, np.int64), np.empty(0, np.int32)
    return PacketBlock(
        np.empty(0, np.uint8), nothing, none, none, nothing, none, (interface,), first_number, kernel_drops,
        clock_ns=clock_ns,
    )  # fmt: skip


def some_rows(block: PacketBlock, rows: slice | NDArray[Any]) -> PacketBlock:
    """Return rows of a block, over the same bytes."""
    return replace(
        block,
        offset=block.offset[rows],
        caplen=block.caplen[rows],
        length=block.length[rows],
        time_ns=block.time_ns[rows],
        interface=block.interface[rows],
    )


def joined(blocks: Sequence[PacketBlock]) -> PacketBlock:
    """Return blocks of one source and sampling as one, over a copy of their bytes, with the clocks of the last."""
    if len(blocks) == 1:
        return blocks[0]
    starts = np.cumsum([0, *(len(block.data) for block in blocks[:-1])])
    return replace(
        blocks[-1],
        data=np.concatenate([block.data for block in blocks]),
        offset=np.concatenate([block.offset + start for block, start in zip(blocks, starts, strict=True)]),
        caplen=np.concatenate([block.caplen for block in blocks]),
        length=np.concatenate([block.length for block in blocks]),
        time_ns=np.concatenate([block.time_ns for block in blocks]),
        interface=np.concatenate([block.interface for block in blocks]),
        first_number=blocks[0].first_number,
        kernel_drops=sum(block.kernel_drops for block in blocks),
        sampled_away=sum(block.sampled_away for block in blocks),
        shed_before=blocks[0].shed_before,
    )
