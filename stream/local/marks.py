"""Marks of a file, `--marks`, a line each: acted on in event time by a replay, as they are written by a tap."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from offramp.capture.message.decode import RefusedError
from offramp.capture.message.mark import A_TIME, Mark, mark_of
from offramp.decision.acceptance import time_ns
from offramp.decision.command import rfc3339
from offramp.decision.site import Site
from offramp.errors import InputError
from offramp.stream.bins.bins import Bins
from offramp.stream.channels import BIN_NS
from offramp.stream.local.followed_file import FollowedFile
from offramp.stream.local.link_choice import listed
from offramp.stream.pipeline.marks import links_of
from offramp.stream.pipeline.meeting import Meetings

LOOK_S = 0.1
"""How often a tap looks for new lines: as often as an agent tells the clock of a silent link."""
MAX_TOLD = 16
"""Lines that are told of one by one; further ones are only counted."""
KINDS = ("capacity", "probe", "node")
"""The kinds of marks that a line may have."""


class DatedMark(NamedTuple):
    """A mark, and the bin from which on it counts: the one that its time is in."""

    number: int
    mark: Mark


def mark_in(line: bytes, site: Site) -> Mark:
    """Return the mark of a line. Raises RefusedError: what was expected, and what was found."""
    mark = mark_of(site.name, line)
    if mark.kind not in KINDS:
        raise RefusedError(
            "mark",
            f"kind: expected one of {', '.join(KINDS)}, found {mark.kind!r}; only workers wait for links",
        )
    if not links_of(mark, site.links):
        what = next(name for name in ("link", "path", "node") if name in mark.members)
        there = {"link": [link.name for link in site.links],
                 "path": [path.name for link in site.links for path in link.paths],
                 "node": [node.name for link in site.links for node in link.nodes]}[what]  # fmt: skip
        known = f"one of the site's: {listed(list(dict.fromkeys(there)))}" if there else f"no {what}: the site has none"
        raise RefusedError("mark", f"{what}: expected {known}; found {mark.about[:40]!r}")
    return mark


def dated(line: bytes, site: Site) -> DatedMark:
    """Return the mark of a line, and its bin. Raises RefusedError."""
    mark = mark_in(line, site)
    if not mark.time:
        raise RefusedError("mark", f"time: expected {A_TIME}, found none")
    try:
        return DatedMark(time_ns(mark.time) // BIN_NS, mark)
    except ValueError as error:
        raise RefusedError("mark", f"time: {error}") from error


def read_marks(path: Path | None, site: Site) -> list[DatedMark]:
    """Return the marks of a file, in the order of their times; without a file none. Raises InputError."""
    if path is None:
        return []
    file = FollowedFile(path)
    if not file.is_open:
        raise InputError(f"{path}: there is no such file")
    try:
        found = [
            _read(dated, path, number, line, site)
            for lines in (file.lines(), file.rest())
            for number, line in lines
            if line.strip()
        ]
    finally:
        file.close()
    if file.trouble:
        raise InputError(f"{path}: {file.trouble}")
    return sorted(found, key=lambda each: time_ns(each.mark.time))


def _read(read: Callable[[bytes, Site], DatedMark], path: Path, number: int, line: bytes, site: Site) -> DatedMark:
    try:
        return read(line, site)
    except RefusedError as error:
        raise InputError(f"{path}: line {number}: {error}") from error


def lines_of(acted: int, ahead: int, refused: int = 0) -> list[str]:
    """Return the account of marks as lines of the ledger."""
    counted = (
        (ahead, "not acted on", "nothing was decided behind them"),
        (refused, "refused", "lines that are no mark"),
    )
    lines = [f"    {what:<22}{count:>8,}   {why}" for count, what, why in counted if count]
    return [f"  marks acted on      {acted:>12,}", *lines]


@dataclass(slots=True)
class LiveMarks:
    """The marks of a file that a tap follows: each counts from the bin on that is decided next when it is read.

    `read` is called by who decides, `take` by who makes the windows of a link, in another thread; refused: lines that
    are no mark; warn: told of them, and of a file that cannot be read.
    """

    file: FollowedFile
    site: Site
    meetings: Meetings
    warn: Callable[[str], None]
    refused: int = 0
    _capacities: dict[str, deque[Mark]] = field(init=False)
    _next_s: float = 0.0
    _trouble: str = ""

    def __post_init__(self) -> None:
        self._capacities = {link.name: deque() for link in self.site.links}

    def read(self) -> None:
        """Look for new lines, LOOK_S after the last time."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + LOOK_S
        for number, line in self.file.lines():
            self._accept(number, line)
        if self.file.trouble != self._trouble:
            self._trouble = self.file.trouble
            if self._trouble:
                self.warn(f"{self.file.path}: {self._trouble}; it is tried again")

    def take(self, link: str, bins: Bins) -> Iterator[Callable[[], None]]:
        """Let a link's bins take its new capacities, from the next bin on; yield what is to be done in order with them.

        Not the bin that is open: its packets have passed the queue at the old capacity.
        """
        waiting = self._capacities[link]
        while waiting:
            mark, number = waiting.popleft(), bins.next_bin + 1
            bins.expect_capacity(number, mark.members["up_bps"], mark.members["down_bps"])
            yield partial(self._expect, mark, number)

    def lines(self) -> list[str]:
        """Return the account of the marks as lines of the ledger; half a line that got no rest is refused."""
        for number, line in self.file.rest():
            self._refuse(number, f"expected its end, found {line[:40].decode(errors='replace')!r}")
        acted, ahead = self.meetings.marks
        return lines_of(acted, ahead + sum(map(len, self._capacities.values())), self.refused)

    def _accept(self, number: int, line: bytes) -> None:
        if not line.strip():
            return
        try:
            mark = mark_in(line, self.site)
        except RefusedError as error:
            self._refuse(number, str(error))
            return
        if mark.kind == "capacity":
            self._capacities[mark.about].append(mark)
        else:
            self._expect(mark, self.meetings.about(mark).done)

    def _expect(self, mark: Mark, number: int) -> None:
        self.meetings.about(mark).expect(number, replace(mark, time=rfc3339(number * BIN_NS)))

    def _refuse(self, number: int, why: str) -> None:
        self.refused += 1
        if self.refused <= MAX_TOLD:
            more = "; further ones are only counted" if self.refused == MAX_TOLD else ""
            self.warn(f"{self.file.path}: line {number}: {why}; it is passed over{more}")
