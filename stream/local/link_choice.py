"""Assign interfaces to links: by the site's patterns, by `--link`, or to none, which is counted and reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase

from offramp.decision.site import Link, Site
from offramp.errors import ConfigError
from offramp.toml import shown

PAGE = "docs/site.md"
MAX_NAMED = 64
"""Interfaces that are counted by name; a file may have thousands."""
MAX_SHOWN = 5
OTHERS = "(others)"
NAMELESS = "(no name)"


class LinkChoice:
    """The link of each interface of a source.

    A link with a pattern takes the interfaces that it fits, the first in the file's order where several do; the one
    link without takes any that no other names. Interfaces without a name (classic pcap) are of the only link, or of
    the one without a pattern. `forced`, the name of a link, takes all. Raises ConfigError where that is no link of the
    site, or several have no pattern.
    """

    def __init__(
        self, site: Site, forced: str = "", report: Callable[[str], None] = lambda _: None, *, named: bool = False
    ) -> None:
        """Build it; named: the files will say of which link they are."""
        self.unlinked: Counter[str] = Counter()
        self.forced, self._site, self._told = forced, site, report
        names = [link.name for link in site.links]
        if forced and forced not in names:
            raise ConfigError(f"--link {shown(forced)}: the site has {listed(names)}")
        free = [link.name for link in site.links if link.interface is None]
        if len(free) > 1 and not forced and not named:
            raise ConfigError(
                f"links {listed(free)} have no interface, so whose a packet is is not said; give all but one of them "
                f"an interface ({PAGE}), or choose one with --link NAME"
            )
        self._free = free[0] if free else None
        self._found: dict[str, str | None] = {}
        self.named: dict[str, str] = {}
        """The links of interfaces that stand for the files of a link."""

    def of(self, interface: str) -> str | None:
        """Return the name of the link that an interface belongs to, or None; "" is an interface without a name."""
        if interface not in self._found:
            self._found[interface] = self.forced or self._choose(interface)
        return self._found[interface]

    def required(self, interface: str) -> str:
        """Return the link of an interface that is to be watched. Raises ConfigError where it has none."""
        link = self.of(interface)
        if link is None:
            raise ConfigError(
                f"{interface} belongs to no link: {self.patterns()}; name it in the site file ({PAGE}), or choose with "
                "--link NAME"
            )
        return link

    def count(self, interface: str, packets: int) -> None:
        """Count packets of an interface that belongs to no link."""
        name = visible(interface)
        self.unlinked[name if name in self.unlinked or len(self.unlinked) < MAX_NAMED else OTHERS] += packets

    def patterns(self) -> str:
        """Return which interfaces the links name, in words."""
        return f"the links name {listed([f'{link.interface} ({link.name})' for link in self._patterned])}"

    def warnings(self) -> list[str]:
        """Return what is to be said of packets that belong to no link."""
        return [
            f"{count:,} packets of {name} belong to no link: {self.patterns()} ({PAGE}; --link NAME chooses for all)"
            for name, count in _most(self.unlinked)
        ]

    @property
    def _patterned(self) -> list[Link]:
        return [link for link in self._site.links if link.interface is not None]

    def _choose(self, interface: str) -> str | None:
        if interface in self.named:
            return self.named[interface]
        if not interface:
            return self._site.links[0].name if len(self._site.links) == 1 else self._free
        fitting = [link for link in self._patterned if fnmatchcase(interface, link.interface or "")]
        if len(fitting) > 1:
            self._told(
                f"{visible(interface)} fits {listed([f'{link.name} ({link.interface})' for link in fitting])}; "
                f"{fitting[0].name} takes it, as it stands first"
            )
        return fitting[0].name if fitting else self._free


def unlinked_lines(unlinked: Counter[str]) -> list[str]:
    """Return the lines of a ledger for packets of no link: in all, and by interface."""
    if not unlinked:
        return []
    return [
        f"    {'of no link':<17} {unlinked.total():>12,}",
        *(f"      {name:<24} {count:>8,}" for name, count in _most(unlinked)),
    ]


def visible(interface: str) -> str:
    """Return an interface's name as it may be shown: a file may hold anything."""
    if not interface:
        return NAMELESS
    return interface if interface.isprintable() and len(interface) <= MAX_NAMED else shown(interface)


def _most(unlinked: Counter[str]) -> list[tuple[str, int]]:
    """Return the interfaces with the most packets, and the others as one."""
    named = unlinked.most_common()
    rest = sum(count for _, count in named[MAX_SHOWN:])
    return [*named[:MAX_SHOWN], *([(f"{len(named) - MAX_SHOWN} other interfaces", rest)] if rest else [])]


def listed(names: list[str]) -> str:
    """Return names in words, of many the first."""
    if len(names) > MAX_SHOWN:
        return f"{', '.join(names[:MAX_SHOWN])} and {len(names) - MAX_SHOWN} more"
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]
