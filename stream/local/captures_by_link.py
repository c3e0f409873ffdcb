"""Captures of several links, each named with its link, read beside each other in the order of their packets' times.

Within a file packets may be out of order, as they are within a link; between the files they are put in order as far as
no file has older ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from offramp.capture.block import Interface, PacketBlock, joined, some_rows
from offramp.capture.sources.file.files import open_captures
from offramp.capture.sources.source import Fault, PacketSource, Progress
from offramp.decision.site import Site
from offramp.errors import ConfigError, InputError
from offramp.stream.local.link_choice import LinkChoice, listed
from offramp.stream.local.pace import select
from offramp.toml import shown


def named_files(paths: Sequence[str], site: Site) -> list[tuple[str, str]]:
    """Return link and file of the paths that are named `LINK=FILE` with a link of the site."""
    links = {link.name for link in site.links}
    return [(head, tail) for head, sign, tail in (path.partition("=") for path in paths) if sign and head in links]


def files_of(paths: Sequence[str], site: Site) -> list[str]:
    """Return the files of paths, named with their links or not."""
    return [tail for _, tail in named_files(paths, site)] or list(paths)


def open_by_link(
    paths: Sequence[str], site: Site, forced: str = "", report: Callable[[str], None] = lambda _: None
) -> tuple[LinkChoice, PacketSource]:
    """Return who tells links apart, and a source over captures.

    These are read one after the other, or where they are named `LINK=FILE` beside each other, several files of one link
    one after the other; files whose interfaces say it need no name where links are decided over together. forced: of
    which link all are; report: told what is ambiguous. Raises ConfigError where some are named and some are not;
    InputError as `open_captures`.
    """
    named = named_files(paths, site) or ([] if forced else told_apart(paths, site))
    choice = LinkChoice(site, forced, report, named=bool(named))
    if not named:
        return choice, open_captures(paths)
    if len(named) < len(paths):
        links = listed(sorted(link.name for link in site.links))
        raise ConfigError(f"some files are named LINK=FILE and some are not; name each with one of {links}")
    if forced:
        raise ConfigError(f"--link {shown(forced)}: the files are named with their links already")
    files: dict[str, list[str]] = {}
    for link, file in named:
        files.setdefault(link, []).append(file)
    choice.named = {interface_of(link): link for link in files}
    return choice, CapturesByLink({link: open_captures(of) for link, of in files.items()})


def told_apart(paths: Sequence[str], site: Site) -> list[tuple[str, str]]:
    """Return link and file where each file is of one link by its interfaces, as a tap writes them, and not all of one.

    Only where links are decided over together; else it does not matter which file is read first.
    """
    if len(paths) < 2 or "-" in paths or all(len(bundle.links) == 1 for bundle in site.bundles):
        return []
    choice = LinkChoice(site, named=True)
    found = []
    for path in paths:
        try:
            first = next(iter(open_captures([path]).read()), None)
        except InputError:  # told when it is read
            return []
        links = {choice.of(interface.name) for interface in first.interfaces} if first is not None else {None}
        link = links.pop()
        if links or link is None:
            return []
        found.append((link, path))
    return found if len({link for link, _ in found}) > 1 else []


def interface_of(link: str) -> str:
    """Return the name under which all packets of a link's files come: one that no interface has."""
    return f"files of link {link}"


class CapturesByLink:
    """Several sources, of a link each, as one: their blocks cut and put in order of time."""

    def __init__(self, sources: dict[str, PacketSource]) -> None:
        self._sources = sources
        self.name = ", ".join(source.name for source in sources.values())
        totals = [source.progress.total for source in sources.values()]
        self.progress = Progress(total=sum(totals) if all(totals) else 0)
        self.faults: list[Fault] = []
        self._interfaces: tuple[Interface, ...] = ()

    def close(self) -> None:
        """End `read` after the block at hand."""
        for source in self._sources.values():
            source.close()

    def read(self) -> Iterator[PacketBlock]:
        """Yield the packets of all sources, those of each in its order."""
        heads = [_Head(source.read(), interface_of(link)) for link, source in self._sources.items()]
        heads, first = [head for head in heads if head.more()], 1
        while heads:
            until_ns = min(head.until_ns for head in heads)
            parts = [(head.name, part) for head in heads if (part := head.take(until_ns)) is not None]
            block = self._together(parts)
            yield replace(block, first_number=first)
            first += len(block)
            self.progress.done = sum(source.progress.done for source in self._sources.values())
            heads = [head for head in heads if not head.is_empty or head.more()]
        self.faults += [fault for source in self._sources.values() for fault in source.faults]

    def _together(self, parts: Sequence[tuple[str, PacketBlock]]) -> PacketBlock:
        """Return blocks of several sources as one, in order of time but for the disorder within each."""
        renamed = [self._renamed(part, name) for name, part in parts]
        whole = replace(joined(renamed), interfaces=self._interfaces)
        times = np.concatenate([np.maximum.accumulate(part.time_ns) for part in renamed])
        return some_rows(whole, np.argsort(times, kind="stable"))

    def _renamed(self, block: PacketBlock, name: str) -> PacketBlock:
        """Return a block with its interfaces under one name, in a table that all sources share."""
        at = np.empty(len(block), np.int32)
        for of in np.unique(block.interface):
            wanted = replace(block.interfaces[of], name=name)
            if wanted not in self._interfaces:
                self._interfaces = (*self._interfaces, wanted)
            at[block.interface == of] = self._interfaces.index(wanted)
        return replace(block, interface=at, interfaces=self._interfaces)


class _Head:
    """The block of a source that is next, and how much of it has been passed on."""

    def __init__(self, blocks: Iterator[PacketBlock], name: str) -> None:
        self.name, self._blocks, self._at = name, blocks, 0
        self._block: PacketBlock | None = None

    @property
    def is_empty(self) -> bool:
        """Whether all of the block has been passed on."""
        return self._block is None or self._at == len(self._block)

    @property
    def until_ns(self) -> int:
        """The greatest time up to the end of the block: what comes behind it is newer, but for some disorder."""
        return int(self._times[-1])

    def more(self) -> bool:
        """Take the next block that has packets; return whether there is one."""
        for block in self._blocks:
            if len(block):
                self._block, self._at, self._times = block, 0, np.maximum.accumulate(block.time_ns)
                return True
        self._block = None
        return False

    def take(self, until_ns: int) -> PacketBlock | None:
        """Return the packets up to a time that have not been passed on, None where there are none."""
        end = int(np.searchsorted(self._times, until_ns, "right"))
        if self._block is None or end <= self._at:
            return None
        start, self._at = self._at, end
        return select(self._block, slice(start, end), 1)
