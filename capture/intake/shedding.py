"""Load shedding: first the payload, then whole flows, one of N kept; stepped up and down by how full a queue is.

Whether a flow is kept depends on its addresses and ports and a secret of the process alone. So a conversation stays or
goes as a whole, both ways; nobody can choose ports that are always kept; the flows kept at a larger N are among those
kept at a smaller one; and counters of what is kept can be scaled by N.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace

import numpy as np

from offramp.capture.block import PacketBlock
from offramp.capture.intake.flow_sampling import keep_flows

PROCESS_SECRET = np.uint64(secrets.randbits(64))
"""Selects the flows that are kept: the same for all links of a process, others after its restart."""


@dataclass(frozen=True, slots=True)
class SheddingRule:
    """When to shed more or less, and how much.

    raise_fill, lower_fill: shares of the queue from which on more, or less, is shed; raise_s, lower_s: least seconds
    since the last change; payload_bytes: what is kept of a packet; most: the largest N.
    """

    raise_fill: float = 0.5
    lower_fill: float = 0.1
    raise_s: float = 0.25
    lower_s: float = 2.0
    payload_bytes: int = 200
    most: int = 64


@dataclass(slots=True)
class Shedding:
    """The state of shedding: level 0 sheds nothing, 1 the payload, 2 every second flow, 3 three of four, and so on.

    secret: selects the flows that are kept. cut: packets kept with their payload cut; those not kept are counted in
    their blocks (`sampled_away`).
    """

    rule: SheddingRule = field(default_factory=SheddingRule)
    level: int = 0
    highest: int = 1
    cut: int = 0
    secret: np.uint64 = PROCESS_SECRET
    _changed_s: float = -1e9

    @property
    def factor(self) -> int:
        """N: one of so many flows is kept; each packet stands for N."""
        return 1 << max(0, self.level - 1)

    def update(self, fill: float, now_s: float) -> bool:
        """Update the level from how full the queue is, 0 to 1, at a time in seconds; return whether it changed."""
        since = now_s - self._changed_s
        if fill >= self.rule.raise_fill and since >= self.rule.raise_s and self.factor < self.rule.most:
            self.level += 1
        elif fill <= self.rule.lower_fill and since >= self.rule.lower_s and self.level > 0:
            self.level -= 1
        else:
            return False
        self._changed_s = now_s
        self.highest = max(self.highest, self.factor)
        return True

    def apply(self, block: PacketBlock) -> PacketBlock:
        """Return the packets kept of a block at the present level, over bytes of its own; count the rest."""
        if self.level == 0 or not len(block):
            return block
        linktypes = np.array([interface.linktype for interface in block.interfaces], np.int64)
        kept, rows = np.empty(int(block.caplen.sum()), np.uint8), np.empty(len(block), np.int64)
        starts, sizes = np.empty(len(block), np.int64), np.empty(len(block), np.int32)
        totals = np.zeros(3, np.int64)
        keep_flows(
            block.data, block.offset, block.caplen, block.interface, linktypes, self.factor, self.secret,
            self.rule.payload_bytes, kept, rows, starts, sizes, totals,
        )  # fmt: skip
        count, used, cut = totals.tolist()
        self.cut += cut
        stay = rows[:count]
        return replace(
            block, data=kept[:used].copy(), offset=starts[:count], caplen=sizes[:count], length=block.length[stay],
            time_ns=block.time_ns[stay], interface=block.interface[stay], sampling=self.factor,
            sampled_away=len(block) - count,
        )  # fmt: skip

    def warm(self) -> None:
        """Load the kernel now: there is no time for that under load."""
        nothing, none, totals = np.empty(0, np.int64), np.empty(0, np.int32), np.zeros(3, np.int64)
        empty = np.empty(0, np.uint8)
        keep_flows(empty, nothing, none, none, nothing, 1, self.secret, 0, empty, nothing, nothing, none, totals)

    def __str__(self) -> str:
        """Return the level in words."""
        if self.level == 0:
            return "nothing is shed"
        payload = f"payload beyond {self.rule.payload_bytes} bytes is shed"
        return payload if self.level == 1 else f"{payload}, and 1 of {self.factor} flows is kept"
