"""The interface of packet sources (files, standard input, network interfaces), and the faults they report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from offramp.capture.block import PacketBlock


@dataclass(frozen=True, slots=True)
class Fault:
    """Where and why a source stopped before its end, or skipped something."""

    source: str
    packet: int
    offset: int
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason} at packet {self.packet}, byte {self.offset}; read as far as it goes"


@dataclass(slots=True)
class Progress:
    """How far a source has read, for progress bars: bytes done and bytes in all (0 when unknown)."""

    done: int = 0
    total: int = 0


class PacketSource(Protocol):
    """A source of packet blocks: files, standard input, a live interface.

    Built inert; `read` yields blocks until the end, then `faults` holds what was wrong on the way; `close` may be
    called at any time and ends `read` in order.
    """

    name: str
    progress: Progress
    faults: list[Fault]

    def read(self) -> Iterator[PacketBlock]:
        """Yield blocks in the order of the packets."""
        ...

    def close(self) -> None:
        """Release what the source holds."""
        ...


@dataclass(slots=True)
class ListSource:
    """A source over blocks that are already in memory: the fake beside the real ones."""

    blocks: list[PacketBlock]
    name: str = "memory"
    progress: Progress = field(default_factory=Progress)
    faults: list[Fault] = field(default_factory=list)

    def read(self) -> Iterator[PacketBlock]:
        """Yield the blocks as they are."""
        yield from self.blocks

    def close(self) -> None:
        """Hold nothing, release nothing."""
