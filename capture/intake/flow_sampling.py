"""Kernels of load shedding: hash a packet's flow, and copy the packets of the flows that are kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from offramp.kernels import kernel_entry, kernel_lean

ETHERNET, SLL, SLL2 = 1, 113, 276
LOOPBACK_TYPES = (0, 108)
RAW_TYPES = (12, 14, 101, 228, 229)
HEAD = 16
"""Bytes that packets without IP are hashed by: the addresses and the type of Ethernet."""


@kernel_lean
def mixed(value: Any) -> Any:
    """Mix the bits of an unsigned 64-bit number (the finaliser of SplitMix64)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel_lean
def hashed(data: Any, start: Any, count: Any, seed: Any) -> Any:
    """Hash `count` bytes (a multiple of 2) from `start` on."""
    value = seed
    for at in range(start, start + count, 2):
        value = mixed(value ^ np.uint64(np.int64(data[at]) << 8 | np.int64(data[at + 1])))
    return value


@kernel_lean
def network_header(data: Any, start: int, end: int, linktype: int) -> int:
    """Return where the IP header begins, or -1 where there is none."""
    if linktype in (ETHERNET, SLL, SLL2):
        at = start + (12 if linktype == ETHERNET else 14 if linktype == SLL else 0)
        after = start + (14 if linktype == ETHERNET else 16 if linktype == SLL else 20)
        for _ in range(3):
            if after > end:
                return -1
            kind = np.int64(data[at]) << 8 | np.int64(data[at + 1])
            if kind == 0x0800 or kind == 0x86DD:
                return after
            if kind != 0x8100 and kind != 0x88A8:
                return -1
            at, after = after + 2, after + 4
        return -1
    if linktype in LOOPBACK_TYPES:
        return start + 4
    return start if linktype in RAW_TYPES else -1


@kernel_lean
def flow_hash(data: Any, start: int, end: int, linktype: int, secret: Any) -> Any:
    """Return an unsigned 64-bit hash of a packet's conversation: addresses, protocol and ports, both ways alike.

    It is seeded with a secret: nobody can choose ports that are always, or never, kept. Fragments are hashed by
    addresses and protocol, as only the first of them has ports; packets without IP by their first bytes.
    """
    at: Any = network_header(data, start, end, linktype)
    version = np.int64(data[at]) >> 4 if 0 <= at < end else 0
    if version == 4 and at + 20 <= end:
        protocol: Any = np.int64(data[at + 9])
        size, addresses = 4, at + 12
        whole = (np.int64(data[at + 6]) & 0x3F) == 0 and data[at + 7] == 0
        after: Any = at + (np.int64(data[at]) & 0x0F) * 4
    elif version == 6 and at + 40 <= end:
        protocol, after = np.int64(data[at + 6]), at + np.int64(40)
        size, addresses = 16, at + 8
        for _ in range(4):  # hop-by-hop, routing, destination options; a fragment header ends the search
            if (protocol == 0 or protocol == 43 or protocol == 60) and after + 8 <= end:
                protocol = np.int64(data[after])
                after += 8 + 8 * np.int64(data[after + 1])
        whole = protocol != 44
    else:
        return hashed(data, start, min(HEAD, (end - start) & ~1), secret)
    one = other = secret ^ np.uint64(protocol)
    if whole and (protocol == 6 or protocol == 17 or protocol == 132) and after + 4 <= end:
        one, other = hashed(data, after, 2, one), hashed(data, after + 2, 2, other)
    return mixed(hashed(data, addresses, size, one) + hashed(data, addresses + size, size, other))


@kernel_entry
def keep_flows(
    data: Any, offset: Any, caplen: Any, interface: Any, linktypes: Any, factor: int, secret: Any,
    limit: int, kept: Any, row: Any, starts: Any, sizes: Any, totals: Any,
) -> None:  # fmt: skip
    """Copy to `kept` at most `limit` bytes of each packet whose flow is one of every `factor` flows.

    secret: uint64, selects the flows.
    row: int64, starts: int64, sizes: int32: for each packet copied its row in the block, its place and bytes in `kept`;
    totals: int64 [3] gets packets copied, bytes copied, packets cut short.
    """
    rows, used, cut = 0, np.int64(0), 0
    for i in range(len(offset)):
        start = offset[i]
        size: Any = np.int64(caplen[i])
        if factor > 1:
            value = flow_hash(data, start, start + size, linktypes[interface[i]], secret)
            if value % np.uint64(factor) != np.uint64(0):
                continue
        if size > limit:
            size = limit
            cut += 1
        for byte in range(size):
            kept[used + byte] = data[start + byte]
        row[rows], starts[rows], sizes[rows] = i, used, size
        rows += 1
        used += size
    totals[0], totals[1], totals[2] = rows, used, cut
