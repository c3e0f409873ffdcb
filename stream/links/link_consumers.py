"""The links of one partition: each with its run, of its checkpoint where there is one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from offramp.capture.message.decode import FeatureMessage, RefusedError
from offramp.stream.links.link_consumer import LinkConsumer
from offramp.stream.pipeline.timeline import LinkTimeline

log = logging.getLogger("offramp.worker")

ELSEWHERE = "elsewhere"
"""In a state that was loaded: its offset is of another life of the topic, and the state may hold what comes now."""

MakeConsumer = Callable[[str, Callable[[LinkTimeline], None]], LinkConsumer]
"""Makes an empty run of a link, whose closed bins are told to the function."""


class LinkConsumers:
    """Makes the run of a link with its first message.

    names: the links of the site, other ones are refused; states: the newest checkpoints, taken up with the first
    message of their link; consumers: the links that had one; restored, states_refused: checkpoints taken up, and not.
    """

    def __init__(self, names: frozenset[str], make: MakeConsumer) -> None:
        self._names, self._make = names, make
        self._timelines: list[LinkTimeline] = []
        self.states: dict[str, dict[str, Any]] = {}
        self.consumers: dict[str, LinkConsumer] = {}
        self.restored = self.states_refused = 0

    def of(self, message: FeatureMessage) -> LinkConsumer:
        """Return the run of the message's link. Raises RefusedError where the site has no such link."""
        link = message.link
        if link not in self._names:
            raise RefusedError("link", f"agent {message.headers.agent}: the site has no link {link[:80]!r}")
        if link not in self.consumers:
            self.consumers[link] = self._restored(link, message) or self._make(link, self._timelines.append)
        return self.consumers[link]

    def _restored(self, link: str, message: FeatureMessage) -> LinkConsumer | None:
        """Return the run of a link's checkpoint; None, counted and told, where there is none that can be taken up."""
        state = self.states.pop(link, None)
        if state is None:
            return None
        consumer = self._make(link, self._timelines.append)
        try:
            if _holds(state, message):
                return None
            self.restored += consumer.restore(state)
        except Exception as error:  # whoever may write to the topic of states may write anything
            self.states_refused += 1
            log.warning(
                "checkpoint of link %s: not taken up, it begins anew: %s: %s", link, type(error).__name__, error
            )
            return None
        return consumer

    def take_timelines(self) -> list[LinkTimeline]:
        """Return what the runs told of closed bins since the last time this was asked for."""
        timelines = list(self._timelines)
        self._timelines.clear()
        return timelines


def _holds(state: Mapping[str, Any], message: FeatureMessage) -> bool:
    """Return whether a state of another life of the topic holds a message already.

    Then what was published before is published anew, and the link begins anew with it; else its agent just goes on.
    """
    headers = message.headers
    last = state["epochs"].get(f"{headers.agent}/{headers.agent_epoch}", -1)
    return bool(state.get(ELSEWHERE)) and headers.sequence <= int(last)
