"""Marks in event time: which links of a site each is about, and those that wait for the bin from which on it counts.

Whoever runs a pipeline acts on them the same way, by `Meeting.act`; a worker when it reads them, replay and tap at a
bin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import count

from offramp.capture.message.mark import Mark
from offramp.decision.site import Link


def links_of(mark: Mark, links: Iterable[Link]) -> list[Link]:
    """Return the links that a mark is about: that of its name, or all that have its path or node."""
    if mark.kind == "probe":
        return [link for link in links if any(path.name == mark.about for path in link.paths)]
    if mark.kind == "node":
        return [link for link in links if any(node.name == mark.about for node in link.nodes)]
    return [link for link in links if link.name == mark.about]


class MarksAhead:
    """The marks of a bundle that are to be acted on before a bin is decided; those of one bin in the order they came.

    acted: how many were.
    """

    def __init__(self) -> None:
        self.acted = 0
        self._ahead: list[tuple[int, int, Mark]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._ahead)

    def add(self, number: int, mark: Mark) -> None:
        """Take a mark that counts from a bin on."""
        heappush(self._ahead, (number, next(self._order), mark))

    def until(self, number: int) -> Iterator[tuple[int, Mark]]:
        """Yield, once each, the marks that count from a bin up to this one on, with that bin."""
        while self._ahead and self._ahead[0][0] <= number:
            since, _, mark = heappop(self._ahead)
            self.acted += 1
            yield since, mark
