"""Feature batches by link: a source's packets dissected, each link's by a dissector of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from offramp.capture.block import Interface, PacketBlock
from offramp.capture.dissectors import PacketDissector, open_dissector
from offramp.capture.ledger import CaptureLedger
from offramp.capture.sources.source import PacketSource
from offramp.decision.site import Site
from offramp.stream.local.dissecting import dissected
from offramp.stream.local.link_choice import LinkChoice, listed, visible
from offramp.stream.local.pace import paced, select
from offramp.stream.local.site_match import SiteMatch

NO_LINK = -1
DISORDER_NS = 1_000_000_000
"""How far behind the newest packet of a file one of another interface may be: programs that capture several write each
interface's packets by the buffer, which they empty within a second."""


class ByLink:
    """The blocks of one source cut by link, and a dissector for each; packets of no link are counted and left out."""

    def __init__(
        self, choice: LinkChoice, site: Site, agent: str, shared: Callable[[str, Sequence[str]], None] | None = None,
        dissector: str = "fast",
    ) -> None:  # fmt: skip
        """Build it; shared: called once for each link that turns out to have more than one interface, with these.

        dissector: one of capture.dissectors; `close` closes those that were opened.
        """
        self.choice, self.site, self.agent, self._shared, self._kind = choice, site, agent, shared, dissector
        self.dissectors: dict[str, PacketDissector] = {}
        self._opened = ExitStack()
        self.lost = CaptureLedger()
        """What the kernel dropped of links not known."""
        self.matches: dict[str, SiteMatch] = {}
        self._interfaces: tuple[Interface, ...] = ()
        self._names = [link.name for link in site.links]
        self._at: NDArray[np.int64] = np.empty(64, np.int64)
        self._known = 0
        """The link of each interface met so far, by its place in the site, or NO_LINK, and how many there are."""

    def dissector(self, link: str) -> PacketDissector:
        """Return the dissector of a link."""
        if link not in self.dissectors:
            opened = open_dissector(self._kind, "stream", site=self.site.name, link=link, agent=self.agent)
            self.dissectors[link] = self._opened.enter_context(opened)
        return self.dissectors[link]

    def close(self) -> None:
        """Close the dissectors; their ledgers stay."""
        self._opened.close()

    def split(self, block: PacketBlock) -> Iterator[tuple[str, PacketBlock]]:
        """Yield each link's packets of a block, in the links' order by name."""
        of = self._links_of(block.interfaces)
        if len(of) == 1 and of[0] != NO_LINK:
            yield self._names[of[0]], block
            return
        self.lost.kernel_drops += block.kernel_drops
        block = replace(block, kernel_drops=0)
        rows = of[block.interface]
        for at in sorted(set(rows.tolist()), key=lambda at: "" if at == NO_LINK else self._names[at]):
            here = np.flatnonzero(rows == at)
            if at == NO_LINK:
                self._leave_out(block.interface[here], block.interfaces)
            elif len(here) == len(rows):
                yield self._names[at], block
            else:
                yield self._names[at], select(block, here, block.first_number)

    def ledger(self) -> CaptureLedger:
        """Return the account of the packets that belong to a link, over all links."""
        total = CaptureLedger()
        total.add(self.lost)
        for dissector in dict(self.dissectors).values():
            total.add(dissector.ledger)
        return total

    def noted(self, link: str, batch: pa.RecordBatch) -> SiteMatch:
        """Look for the site's addresses in a batch of a link; return what has been seen of the link."""
        if link not in self.matches:
            self.matches[link] = SiteMatch(self.site, link)
        self.matches[link].update(batch)
        return self.matches[link]

    def warnings(self) -> list[str]:
        """Return in words which packets belong to no link, and which of the site's addresses no packet has."""
        found = self.choice.warnings()
        for match in dict(self.matches).values():
            found += match.missing()
        return found

    def idle(self) -> list[str]:
        """Return in words which links got no packet, with the interfaces that there are; nothing without packets."""
        idle = [link for link in self.site.links if link.name not in self.dissectors]
        if not idle or not self._interfaces or self.choice.forced:
            return []
        names = [f"{link.name} ({link.interface or 'no interface'})" for link in idle]
        there = sorted({visible(interface.name) for interface in self._interfaces})
        return [f"no packet belongs to {listed(names)}; the interfaces are {listed(there)}"]

    def _links_of(self, interfaces: tuple[Interface, ...]) -> NDArray[np.int64]:
        """Return the place of each interface's link; a source's interfaces only become more."""
        known = self._known
        if known < len(interfaces):
            found = [self.choice.of(interface.name) for interface in interfaces[known:]]
            while len(self._at) < len(interfaces):
                self._at = np.concatenate([self._at, self._at])  # twice as long: a capture may have very many
            self._at[known : len(interfaces)] = [NO_LINK if name is None else self._names.index(name) for name in found]
            self._interfaces, self._known = interfaces, len(interfaces)
            if self._shared is not None:
                self._tell_shared(known, self._shared)
        return self._at[: len(interfaces)]

    def _tell_shared(self, known: int, tell: Callable[[str, Sequence[str]], None]) -> None:
        """Report links whose second interface is among the new ones, from place `known` on."""
        for at in set(self._at[known : self._known].tolist()) - {NO_LINK}:
            of = np.flatnonzero(self._at[: self._known] == at)
            if len(of) > 1 >= np.count_nonzero(of < known):
                tell(self._names[at], [visible(self._interfaces[each].name) for each in of])

    def _leave_out(self, of: NDArray[np.int32], interfaces: tuple[Interface, ...]) -> None:
        for at, count in zip(*np.unique(of, return_counts=True), strict=True):
            self.choice.count(interfaces[at].name, int(count))


class LinkBatches:
    """The batches of one source; `read` yields them with their link's name, `ledger` accounts for the packets."""

    def __init__(
        self, source: PacketSource, site: Site, agent: str, factor: float = 0.0, choice: LinkChoice | None = None,
        dissector: str = "fast",
    ) -> None:  # fmt: skip
        self.source, self.factor = source, factor
        self.links = ByLink(choice or LinkChoice(site), site, agent, dissector=dissector)
        self._together = tuple(link.name for bundle in site.bundles if len(bundle.links) > 1 for link in bundle.links)
        self._told: dict[str, None] = {}
        self._newest_ns: dict[str, int] = {}

    @property
    def dissectors(self) -> dict[str, PacketDissector]:
        """The dissectors of the links that have packets, by name."""
        return self.links.dissectors

    @property
    def links_told(self) -> tuple[str, ...]:
        """The links that have packets, and those whose time was told beside them."""
        return (*self.dissectors, *(link for link in self._told if link not in self.dissectors))

    @property
    def choice(self) -> LinkChoice:
        """Which interface belongs to which link, and what belongs to none."""
        return self.links.choice

    def read(self) -> Iterator[tuple[str, pa.RecordBatch | int]]:
        """Yield link and batch in the order of the packets; reading and dissecting run in threads of their own.

        Of links that are decided over together those without a packet are told the time in ns: no packet before it
        comes, as files have packets at most DISORDER_NS behind newer ones.
        """
        try:
            for link, batch in dissected(self._blocks(), self.links.dissector):
                if isinstance(batch, int):
                    self._told[link] = None
                    yield link, batch
                    continue
                self.links.noted(link, batch)
                yield link, batch
        finally:
            self.links.close()

    def ledger(self) -> CaptureLedger:
        """Return the account of the packets that belong to a link, over all links."""
        return self.links.ledger()

    def warnings(self) -> list[str]:
        """Return in words where packets and site do not fit together."""
        return [*self.links.warnings(), *self.links.idle()]

    def _blocks(self) -> Iterator[tuple[str, PacketBlock | int]]:
        for block in paced(self.source.read(), self.factor):
            for link, part in self.links.split(block):
                if self._together and len(part):
                    self._newest_ns[link] = max(self._newest_ns.get(link, 0), int(part.time_ns.max()))
                yield link, part
            if self._together and len(block):
                now_ns = int(block.time_ns.max()) - DISORDER_NS
                # never behind its own packets: a clock that is not as far as a packet that is held contradicts it
                yield from ((link, now_ns) for link in self._together if now_ns > self._newest_ns.get(link, 0))
