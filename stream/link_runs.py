"""The links of one partition: each with its run, of its checkpoint where there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stream.link_run import LinkRun
from stream.states import ELSEWHERE
from stream.timeline import LinkTimeline
from stream.wire import FeatureMessage, RefusedError

MakeRun = Callable[[str, Callable[[LinkTimeline], None]], LinkRun]
"""Makes an empty run of a link, whose closed bins are told to the function."""


class LinkRuns:
    """Makes the run of a link with its first message.

    names: the links of the site, other ones are refused; states: the newest checkpoints, taken up with the first
    message of their link; runs: the links that had one.
    """

    def __init__(self, names: frozenset[str], make: MakeRun) -> None:
        self._names, self._make = names, make
        self._told: list[LinkTimeline] = []
        self.states: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, LinkRun] = {}
        self.restored = 0

    def of(self, message: FeatureMessage) -> LinkRun:
        """Return the run of the message's link. Raises RefusedError where the site has no such link."""
        link = message.link
        if link not in self._names:
            raise RefusedError("link", f"agent {message.headers.agent}: the site has no link {link[:80]!r}")
        if link not in self.runs:
            run = self.runs[link] = self._make(link, self._told.append)
            state = self.states.pop(link, None)
            if state is not None and not _holds(state, message):
                self.restored += run.restore(state)
        return self.runs[link]

    def told(self) -> list[LinkTimeline]:
        """Return what the runs told of closed bins since the last time this was asked for."""
        told = list(self._told)
        self._told.clear()
        return told


def _holds(state: Mapping[str, Any], message: FeatureMessage) -> bool:
    """Tell whether a state of another life of the topic holds a message already.

    Then what was published before is published anew, and the link begins anew with it; else its agent just goes on.
    """
    told = message.headers
    last = state["epochs"].get(f"{told.agent}/{told.agent_epoch}", -1)
    return bool(state.get(ELSEWHERE)) and told.sequence <= int(last)
