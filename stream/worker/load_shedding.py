"""Load shedding of a worker: drop a live link's oldest messages when they are too old to be worth a decision.

A backlog that is soon worked off is left alone, as after a hand-over: shedding begins only where messages were too old
for a while, with newer ones waiting behind them all the time. Then everything is shed until messages are fresh again,
so that the worker is up to date at once. (docs/kafka.md says what a crash means for that.)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from offramp.capture.message.decode import link_named, whole_number

log = logging.getLogger("offramp.worker")

MAX_AGE_S = 1.0
PATIENCE_S = 3.0
"""How long messages may stay too old until shedding begins; with MAX_AGE_S it bounds the age of a decision."""

FRESH = 0.25
"""The share of the greatest age at which shedding ends."""

IDLE_S = 0.5
"""Shedding also ends where nothing waited behind for this long: then the clocks differ, and there is no backlog."""


class LinkBacklog:
    """Decides from the age of a live link's messages, taken in order, whether to shed them.

    max_age_s: 0 sheds nothing; grace_s: how much longer the first backlog may take, which a new owner finds.
    """

    def __init__(self, max_age_s: float = 0.0, grace_s: float = 0.0) -> None:
        self.max_age_s, self._grace_s = max_age_s, grace_s
        self.shedding = False
        self._due: float | None = None
        self._idle_since: float | None = None

    def update(self, age_s: float, now_s: float, *, waiting: bool) -> bool:
        """Take the next message's age; return whether `shedding` turned, on or off, with it.

        age_s: by the wall clock; now_s: by the monotonic clock; waiting: whether newer messages wait behind this one.
        """
        if waiting:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now_s
        turned = self._is_fresh(age_s, now_s) if self.shedding else self._is_over(age_s, now_s, waiting)
        self.shedding ^= turned
        return turned

    def _is_fresh(self, age_s: float, now_s: float) -> bool:
        """Return whether shedding may end; it may not by a message from the future, whose age is not known."""
        idle = self._idle_since is not None and now_s - self._idle_since >= IDLE_S
        return idle or -self.max_age_s <= age_s <= FRESH * self.max_age_s

    def _is_over(self, age_s: float, now_s: float, waiting: bool) -> bool:
        """Return whether messages have been too old, without a pause, for longer than PATIENCE_S."""
        if not self.max_age_s or age_s <= self.max_age_s or not waiting:
            self._due = None
            return False
        if self._due is None:
            self._due = now_s + PATIENCE_S + self._grace_s
            self._grace_s = 0.0
        if now_s < self._due:
            return False
        self._due = None
        return True


class Backlogs:
    """The backlogs of the live links of one partition."""

    def __init__(self, site: str, links: frozenset[str], max_age_s: float, grace_s: float) -> None:
        self._site = site.encode()
        self._links = {link: LinkBacklog(max_age_s, grace_s) for link in links} if max_age_s else {}

    def sheds(self, key: bytes | None, pairs: Iterable[tuple[str, bytes]]) -> bool:
        """Return whether the live messages of a message's link are shed now."""
        backlog = self._links.get(link_named(key, dict(pairs)))
        return backlog is not None and backlog.shedding

    def update(self, key: bytes | None, pairs: Iterable[tuple[str, bytes]], *, waiting: bool) -> bool:
        """Take the next message; return whether its link begins to shed with it, or ends to."""
        headers = dict(pairs)
        link = link_named(key, headers)
        backlog = self._links.get(link)
        if backlog is None or (headers.get("live"), headers.get("end"), headers.get("site")) != (
            b"1",
            b"0",
            self._site,
        ):
            return False
        times = [whole_number(headers[name]) for name in ("last_time_ns", "clock_ns") if name in headers]
        newest_ns = max((each for each in times if each is not None), default=0)
        if not newest_ns or None in times:
            return False  # it is refused when it is decoded
        age_s = (time.time_ns() - newest_ns) / 1e9
        turned = backlog.update(age_s, time.monotonic(), waiting=waiting)
        if turned and backlog.shedding:
            log.warning("link %s: messages wait for %.1f s: too slow, the oldest are shed", link, age_s)
        elif turned:
            log.warning("link %s: up to date again, nothing is shed", link)
        return turned
