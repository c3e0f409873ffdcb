"""Counts of packets that name a protocol which is not followed: by ether type, IP protocol, PPP, GRE or tunnel port.

The cells of such packets end with their headers; the ledger shows these counts, to explain a link's load without flows.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.capture.dissect.packet.cursor import UNFOLLOWED, stop
from offramp.capture.dissect.packet.table import Table
from offramp.kernels import kernel_lean

ETHER_TYPE_KIND, IP_PROTOCOL_KIND, PPP_KIND, GRE_KIND, UDP_PORT_KIND = range(1, 6)
WORDS = {
    ETHER_TYPE_KIND: "ether_type_{:#06x}",
    IP_PROTOCOL_KIND: "ip_protocol_{}",
    PPP_KIND: "ppp_protocol_{:#06x}",
    GRE_KIND: "gre_protocol_{:#06x}",
    UDP_PORT_KIND: "udp_port_{}_tunnel",
}
OTHERS = "other_kinds"
KINDS = 16
"""Kinds counted by name; an ordinary network has some five that are not followed, a hostile one 65,536."""


def new_kinds() -> NDArray[np.int64]:
    """Return empty counts, int64 [KINDS + 1, 2] (kind, packets); the last row is of all other kinds."""
    return np.zeros((KINDS + 1, 2), np.int64)


@kernel_lean
def unfollowed(out: Table, cur: Any, reason: int, kind: int, number: int) -> None:
    """End the packet at a protocol that is not followed, and note which."""
    stop(out, cur, reason)
    cur[UNFOLLOWED] = (kind << 32) | number


@kernel_lean
def count_kind(kinds: Any, value: int) -> None:
    """Count a packet by the kind that its cursor noted as not followed."""
    for row in range(KINDS):
        if kinds[row, 0] == value or kinds[row, 0] == 0:
            kinds[row, 0] = value
            kinds[row, 1] += 1
            return
    kinds[KINDS, 1] += 1


def taken(kinds: NDArray[np.int64]) -> Counter[str]:
    """Return the packets counted since the last call, by kind; kinds that have a row keep it."""
    found = Counter({_word(value): count for value, count in kinds.tolist() if count})
    kinds[:, 1] = 0
    return found


def _word(value: int) -> str:
    return WORDS[value >> 32].format(value & 0xFFFFFFFF) if value else OTHERS
