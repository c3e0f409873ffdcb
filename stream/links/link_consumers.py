"""The consumers of one partition's links, each restored from its checkpoint where there is one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from offramp.capture.message.decode import FeatureMessage, RefusedError
from offramp.stream.links.link_consumer import LinkConsumer
from offramp.stream.pipeline.timeline import LinkTimeline

log = logging.getLogger("offramp.worker")

ELSEWHERE = "elsewhere"
"""Marks a loaded state of a topic that has since been made again: it may hold what comes now."""

MakeConsumer = Callable[[str, Callable[[LinkTimeline], None]], LinkConsumer]
"""Makes an empty consumer of a link, which passes its closed bins to the function."""


class LinkConsumers:
    """Makes the consumer of a link with its first message.

    names: the links of the site, others are refused; states: the newest checkpoints, restored with the first message of
    their link; consumers: of the links that had a message; restored, states_refused: checkpoints restored, and refused.
    """

    def __init__(self, names: frozenset[str], make: MakeConsumer) -> None:
        self._names, self._make = names, make
        self._timelines: list[LinkTimeline] = []
        self.states: dict[str, dict[str, Any]] = {}
        self.consumers: dict[str, LinkConsumer] = {}
        self.restored = self.states_refused = 0

    def of(self, message: FeatureMessage) -> LinkConsumer:
        """Return the consumer of the message's link. Raises RefusedError where the site has no such link."""
        link = message.link
        if link not in self._names:
            raise RefusedError("link", f"agent {message.headers.agent}: the site has no link {link[:80]!r}")
        if link not in self.consumers:
            self.consumers[link] = self._restored(link, message) or self._make(link, self._timelines.append)
        return self.consumers[link]

    def _restored(self, link: str, message: FeatureMessage) -> LinkConsumer | None:
        """Return a consumer restored from its link's checkpoint, or None; a refused one is counted and logged."""
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
        """Return the timelines of the bins closed since the last call."""
        timelines = list(self._timelines)
        self._timelines.clear()
        return timelines


def _holds(state: Mapping[str, Any], message: FeatureMessage) -> bool:
    """Return whether a state of a topic that has since been made again holds a message already.

    If so, what was published before is published again, and the link begins anew with it; else its agent just goes on.
    """
    headers = message.headers
    last = state["epochs"].get(f"{headers.agent}/{headers.agent_epoch}", -1)
    return bool(state.get(ELSEWHERE)) and headers.sequence <= int(last)
