"""A queue of packet blocks between two threads, bounded in bytes, that knows how far its reader is behind."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace

from offramp.capture.block import PacketBlock, joined

ROW_BYTES = 28
"""What a packet takes beside its own bytes: a row of offset, caplen, length, time and interface."""


class BlockQueue:
    """Blocks in order. Where a new block has no room, the oldest are shed and counted.

    shed: packets shed so far; shed_taken: those that the blocks taken so far report in `shed_before`; sampled_away:
    packets that the blocks taken had lost before the queue. So the account of the blocks taken is the same however far
    the writer is ahead.
    """

    def __init__(self, limit_bytes: int = 64 << 20, limit_s: float = 4.0) -> None:
        self.shed = self.shed_taken = self.sampled_away = 0
        self._limit, self._limit_ns = limit_bytes, limit_s * 1e9
        self._blocks: deque[PacketBlock] = deque()
        self._bytes = 0
        self._ended = False
        self._changed = threading.Condition()

    @property
    def fill(self) -> float:
        """How full the queue is, 0 to 1: by bytes, or by the capture time between its oldest and its newest packet."""
        with self._changed:
            times = [(int(block.time_ns[0]), int(block.time_ns[-1])) for block in self._ends() if len(block)]
            behind = max((times[-1][1] - times[0][0]) / self._limit_ns, 0.0) if times else 0.0
            return min(1.0, max(self._bytes / self._limit, behind))

    def put(self, block: PacketBlock) -> None:
        """Add a block at the end."""
        with self._changed:
            gone, drops, away = 0, 0, 0
            while self._blocks and self._bytes + _cost(block) > self._limit:
                oldest = self._pop()
                self.shed += len(oldest)
                gone, drops = gone + oldest.shed_before + len(oldest), drops + oldest.kernel_drops
                away += oldest.sampled_away
            self._blocks.append(block)
            if gone or drops or away:  # counted by the block that follows them
                left = self._blocks[0]
                self._blocks[0] = replace(
                    left, shed_before=left.shed_before + gone, kernel_drops=left.kernel_drops + drops,
                    sampled_away=left.sampled_away + away,
                )  # fmt: skip
            self._bytes += _cost(block)
            self._changed.notify()

    def get(self, rows: int) -> PacketBlock | None:
        """Wait for blocks; return the oldest, of one sampling, joined to at most about `rows` rows; None at the end."""
        with self._changed:
            while not self._blocks and not self._ended:
                self._changed.wait()
            if not self._blocks:
                return None
            taken = [self._pop()]
            count = len(taken[0])
            while (
                self._blocks and self._blocks[0].sampling == taken[0].sampling and count + len(self._blocks[0]) <= rows
            ):
                taken.append(self._pop())
                count += len(taken[-1])
            self.shed_taken += taken[0].shed_before
            self.sampled_away += sum(block.sampled_away for block in taken)
        return joined(taken)

    def end(self) -> None:
        """Let `get` return None once all blocks are taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _pop(self) -> PacketBlock:
        block = self._blocks.popleft()
        self._bytes -= _cost(block)
        return block

    def _ends(self) -> list[PacketBlock]:
        return [self._blocks[0], self._blocks[-1]] if self._blocks else []


def _cost(block: PacketBlock) -> int:
    return len(block.data) + ROW_BYTES * len(block)
