"""Blocks as a live interface gives them: one packet of each of many flows, again and again."""

from __future__ import annotations

import numpy as np

from bench.blast import frames
from offramp.capture.block import Interface, PacketBlock

BASE = 1_700_000_000_000_000_000


INTERFACE = Interface("v1", 1)


FLOWS = 512


def blocks(rounds: int, drops: int = 0) -> list[PacketBlock]:
    """One packet of each flow every 50 ms."""
    data = frames(100, FLOWS, 1, b"\x0a\0")
    size, n = np.full(FLOWS, 100, np.int32), FLOWS
    return [
        PacketBlock(
            np.frombuffer(b"".join(data), np.uint8), np.arange(n) * 100, size, size,
            BASE + turn * 50_000_000 + np.arange(n) * 1000, np.zeros(n, np.int32), (INTERFACE,), 1 + n * turn, drops,
        )
        for turn in range(rounds)
    ]  # fmt: skip
