"""Warn of addresses in the site that no packet has: networks of devices, devices never moved, networks to be moved.

A setting that matches nothing does nothing; without a warning that would be taken for safety.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from offramp.decision.address import Network, network_of, spelled
from offramp.decision.site import Link, Site
from offramp.stream.bins.bins import network_table
from offramp.stream.bins.packets import IPV4_MAPPED
from offramp.stream.pipeline.traffic import address_text
from offramp.toml import shown

COLUMNS = (("ip.src_host", "ipv6.src"), ("ip.dst_host", "ipv6.dst"))
ENOUGH_PACKETS = 1_000
ENOUGH_NS = 10_000_000_000
"""A live link reports nothing missing before this many packets with addresses, over this much packet time."""
COUNTED = 100_000
"""Packets whose addresses are counted, to name the busiest."""
MAX_ADDRESSES = 4_096
SHOWN = 3
DEVICES, ONLY = "devices", "only"
MIX, KEPT_BITS = np.uint64(0x9E3779B97F4A7C15), np.uint64(48)
"""A hash of 16 bits, by which most packets are excluded from the search for single addresses at once."""


class SiteMatch:
    """Looks for the addresses that the site names in the packets of one link, until each has been seen."""

    def __init__(self, site: Site, link: str) -> None:
        self.link = site.link(link)
        self._unseen: dict[str, NDArray[np.int64]] = {}
        if self.link.devices:
            self._unseen[DEVICES] = _table(self.link.devices)
        for text in fixed(self.link):
            self._unseen[text] = _table((network_of(text),))
        if site.limits.only:
            self._unseen[ONLY] = _table(site.limits.only)
        self._hashes = _hashes(self._unseen.values())
        self._only = site.limits.only
        self._busiest: Counter[tuple[int, int]] = Counter()
        self._packets = 0
        self._first_ns = self._last_ns = 0
        self._told = False

    def update(self, batch: pa.RecordBatch) -> None:
        """Look for the addresses in a feature batch."""
        if not self._unseen or not batch.num_rows:
            return
        ends = [_addresses(batch, *columns) for columns in COLUMNS]
        likely = [each[self._hashes[_hashed(np.ascontiguousarray(each[:, 1]))]] for each in ends]
        seen = [
            what
            for what, table in self._unseen.items()
            if any(_inside(each, table) for each in (likely if _is_single(table) else ends))
        ]
        for what in seen:
            del self._unseen[what]
        if seen:
            self._hashes = _hashes(self._unseen.values())
        self._packets += len(ends[0])
        if DEVICES in self._unseen and self._packets <= COUNTED + batch.num_rows:
            self._count(ends)
        times = batch.column("frame.time_epoch")
        self._first_ns = self._first_ns or (times[0].as_py() or 0)
        self._last_ns = times[-1].as_py() or self._last_ns

    def early(self) -> list[str]:
        """Return what is missing so far: once, when enough packets of a live link were seen."""
        if self._told or self._packets < ENOUGH_PACKETS or self._last_ns - self._first_ns < ENOUGH_NS:
            return []
        self._told = True
        return self.missing()

    def missing(self) -> list[str]:
        """Return in words which addresses of the site no packet had; nothing where no packet had an address at all."""
        if not self._packets:
            return []
        name, found = shown(self.link.name), []
        for what in self._unseen:
            if what == DEVICES:
                found.append(
                    f"no packet of {name} has an address in {_listed(self.link.devices)} (devices), so all count as "
                    f"up; busiest: {self._busiest_text()}"
                )
            elif what == ONLY:
                found.append(
                    f"no packet of {name} has an address in {_listed(self._only)} (limits: only), so nothing of it "
                    "may be moved"
                )
            else:
                found.append(f"no packet of {name} has the address {what}, which the site never moves")
        return found

    def _count(self, ends: list[NDArray[np.int64]]) -> None:
        for each in ends:
            self._busiest.update(zip(each[:, 0].tolist(), each[:, 1].tolist(), strict=True))
        if len(self._busiest) > MAX_ADDRESSES:
            self._busiest = Counter(dict(self._busiest.most_common(MAX_ADDRESSES // 2)))

    def _busiest_text(self) -> str:
        return ", ".join(address_text(*key) for key, _ in self._busiest.most_common(SHOWN))


def fixed(link: Link) -> list[str]:
    """Return the addresses and networks of a link that are never moved."""
    return [device.address for device in link.known if device.priority < 0]


def _table(networks: Iterable[Network]) -> NDArray[np.int64]:
    return network_table(tuple(str(network) for network in networks))


def _is_single(table: NDArray[np.int64]) -> bool:
    """Return whether what is looked for is one address."""
    return len(table) == 1 and bool((table[:, 2:] == -1).all())


def _hashed(low: NDArray[np.int64]) -> NDArray[np.uint64]:
    return low.view(np.uint64) * MIX >> KEPT_BITS


def _hashes(sought: Iterable[NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Return bool [2^16]: whether a single address with this hash is looked for."""
    out = np.zeros(1 << 16, np.bool_)
    for table in sought:
        if _is_single(table):
            out[_hashed(table[:, 1].copy())] = True
    return out


def _listed(networks: Iterable[Network]) -> str:
    names = [spelled(network) for network in networks]
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _addresses(batch: pa.RecordBatch, four: str, six: str) -> NDArray[np.int64]:
    """Return the addresses of a column, int64 [n, 2] high and low, of the packets that have one."""
    low = _numbers(batch.column(four).drop_null(), np.dtype("=u4")) | IPV4_MAPPED
    wide = _numbers(batch.column(six).drop_null(), np.dtype(">i8"), 2)
    return np.concatenate([np.stack([np.zeros_like(low), low], axis=1), wide.reshape(-1, 2)])


def _numbers(column: pa.Array, kind: np.dtype[Any], each: int = 1) -> NDArray[np.int64]:
    """Return the numbers of a column without nulls, `each` of them a cell."""
    if not len(column):
        return np.empty(0, np.int64)
    start = column.offset * each * kind.itemsize
    return np.frombuffer(column.buffers()[1], kind, len(column) * each, start).astype(np.int64)


def _inside(addresses: NDArray[np.int64], networks: NDArray[np.int64]) -> bool:
    """Return whether any address lies in any network (int64 [n, 4]: network high, low, mask high, low)."""
    if not len(addresses):
        return False
    high, low = np.ascontiguousarray(addresses.T)
    return any(
        bool((((high & mask_high) == net_high) & ((low & mask_low) == net_low)).any())
        for net_high, net_low, mask_high, mask_low in networks.tolist()
    )
