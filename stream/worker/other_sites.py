"""Warn when a worker gets only messages of other sites: its site may be spelled otherwise than at its agents."""

from __future__ import annotations

from typing import Protocol

OTHERS_S = 30.0
"""Seconds without a message of ours, while others come, until a warning."""


class TakenCounts(Protocol):
    """Counts of messages taken; last_other_site: the site of the last message of another site."""

    messages: int
    other_site: int
    last_other_site: str


class OtherSites:
    """Watches what a worker of a site takes; `look` returns a warning, once until a message of ours comes."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._own = self._others = 0
        self._since_s: float | None = None
        self._told = False

    def look(self, now_s: float, taken: TakenCounts) -> str:
        """Return a line for the operator, empty where there is nothing to warn of."""
        own, others = taken.messages - taken.other_site, taken.other_site
        if own != self._own:
            self._own, self._others, self._since_s, self._told = own, others, None, False
        elif others > self._others and self._since_s is None:
            self._since_s = now_s
        if self._told or self._since_s is None or now_s - self._since_s < OTHERS_S:
            return ""
        self._told = True
        return (
            f"for {now_s - self._since_s:.0f} s only messages of other sites came, {others - self._others} of them, "
            f"the last of site {taken.last_other_site!r}; this worker is of site {self._site!r}: is `name` in its "
            "site.toml that of its agents?"
        )
