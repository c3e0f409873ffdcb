"""A capture on a busier link: the same packets, faster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from offramp.capture.block import PacketBlock
from offramp.capture.sources.source import PacketSource


class Busier:
    """A source whose packets come `factor` times as fast, so that fewer bins, and forecasts, fall to a packet."""

    def __init__(self, source: PacketSource, factor: int) -> None:
        self.name, self.progress, self.faults = source.name, source.progress, source.faults
        self._source, self._factor = source, factor

    def read(self) -> Iterator[PacketBlock]:
        """Yield the blocks with their times drawn together."""
        begin: int | None = None
        for block in self._source.read():
            begin = int(block.time_ns[0]) if begin is None else begin
            yield replace(block, time_ns=begin + (block.time_ns - begin) // self._factor)

    def close(self) -> None:
        """Close the source."""
        self._source.close()
