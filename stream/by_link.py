"""Feature batches by link: a source's packets dissected, each link's by a dissector of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch

import numpy as np
import pyarrow as pa

from capture.block import Interface, PacketBlock, PacketSource
from capture.dissector import Dissector
from capture.ledger import CaptureLedger
from decision.site import Link, Site
from stream.dissecting import dissected
from stream.pace import paced, select


class LinkBatches:
    """The batches of one source; `read` yields them with their link's name, `ledger` accounts for the packets."""

    def __init__(self, source: PacketSource, site: Site, agent: str, factor: float = 0.0) -> None:
        self.source, self.site, self.agent, self.factor = source, site, agent, factor
        self.dissectors: dict[str, Dissector] = {}
        self._interfaces: tuple[Interface, ...] | None = None
        self._links = np.empty(0, np.str_)
        self._only: str | None = None
        self._link_of: dict[str, str] = {}

    def read(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yield link and batch in the order of the packets; reading and dissecting run in threads of their own."""
        return dissected(self._blocks(), self._dissector)

    def ledger(self) -> CaptureLedger:
        """Return the account of the packets, over all links."""
        total = CaptureLedger()
        for dissector in self.dissectors.values():
            total.add(dissector.ledger)
        return total

    def _blocks(self) -> Iterator[tuple[str, PacketBlock]]:
        for block in paced(self.source.read(), self.factor):
            yield from self._by_link(block)

    def _dissector(self, link: str) -> Dissector:
        if link not in self.dissectors:
            self.dissectors[link] = Dissector("stream", site=self.site.name, link=link, agent=self.agent)
        return self.dissectors[link]

    def _by_link(self, block: PacketBlock) -> Iterator[tuple[str, PacketBlock]]:
        if block.interfaces is not self._interfaces:
            self._interfaces, links = block.interfaces, [self._link(one) for one in block.interfaces]
            self._links, self._only = np.array(links), links[0] if len(set(links)) == 1 else None
        if self._only is not None:
            yield self._only, block
            return
        names = self._links[block.interface]
        for link in sorted(set(names.tolist())):
            yield link, select(block, np.flatnonzero(names == link), block.first_number)
            block = replace(block, kernel_drops=0)  # whose they were is not known: the first has them, once

    def _link(self, interface: Interface) -> str:
        """Return an interface's link, remembered: a capture may have very many interfaces."""
        if interface.name not in self._link_of:
            self._link_of[interface.name] = link_of(self.site, interface.name)
        return self._link_of[interface.name]


def link_of(site: Site, interface: str) -> str:
    """Return the name of the link that watches `interface`: by pattern, else the first link without one."""
    patterned: list[Link] = [link for link in site.links if link.interface]
    for link in patterned:
        if fnmatch(interface, link.interface or ""):
            return link.name
    free = [link for link in site.links if not link.interface]
    return (free or site.links)[0].name
