"""The links of one partition: each with its run, of its checkpoint where there is one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from stream.link_run import LinkRun
from stream.timeline import LinkTimeline
from stream.wire import FeatureMessage, RefusedError

log = logging.getLogger("offramp.worker")

MakeRun = Callable[[str, Callable[[LinkTimeline], None]], LinkRun]
"""Makes an empty run of a link, whose closed bins are told to the function."""


class LinkRuns:
    """Makes the run of a link with its first message.

    names: the links of the site, other ones are refused; states: the newest checkpoints, taken up with the first
    message of their link; runs: the links that had one; restored, states_refused: checkpoints taken up, and not.
    """

    def __init__(self, names: frozenset[str], make: MakeRun) -> None:
        self._names, self._make = names, make
        self._told: list[LinkTimeline] = []
        self.states: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, LinkRun] = {}
        self.restored = self.states_refused = 0

    def of(self, message: FeatureMessage) -> LinkRun:
        """Return the run of the message's link. Raises RefusedError where the site has no such link."""
        link = message.link
        if link not in self._names:
            raise RefusedError("link", f"agent {message.headers.agent}: the site has no link {link[:80]!r}")
        if link not in self.runs:
            self.runs[link] = self._restored(link) or self._make(link, self._told.append)
        return self.runs[link]

    def _restored(self, link: str) -> LinkRun | None:
        """Return the run of a link's checkpoint; None, counted and told, where there is none that can be taken up."""
        state = self.states.pop(link, None)
        if state is None:
            return None
        run = self._make(link, self._told.append)
        try:
            self.restored += run.restore(state)
        except Exception as error:  # whoever may write to the topic of states may write anything
            self.states_refused += 1
            log.warning(
                "checkpoint of link %s: not taken up, it begins anew: %s: %s", link, type(error).__name__, error
            )
            return None
        return run

    def told(self) -> list[LinkTimeline]:
        """Return what the runs told of closed bins since the last time this was asked for."""
        told = list(self._told)
        self._told.clear()
        return told
