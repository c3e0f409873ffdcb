"""The bundles of one partition, each restored from its checkpoint where there is one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from offramp.capture.message.decode import FeatureMessage, RefusedError, bundle_in
from offramp.capture.message.mark import Mark
from offramp.stream.links.bundle_consumer import BundleConsumer
from offramp.stream.links.link_consumer import LinkConsumer
from offramp.stream.pipeline.timeline import LinkTimeline

log = logging.getLogger("offramp.worker")

ELSEWHERE = "elsewhere"
"""Marks a loaded state of a topic that has since been made again: it may hold what comes now."""

MakeConsumer = Callable[[str, Callable[[LinkTimeline], None]], BundleConsumer]
"""Makes an empty consumer of a bundle, which passes its closed bins to the function."""


class LinkConsumers:
    """Makes the consumer of a bundle with its first message.

    names: the bundle of each link of the site, others are refused; states: the newest checkpoints by bundle, restored
    with the first message; bundles, consumers: of bundles and of links that had a message; restored, states_refused:
    checkpoints restored, and refused.
    """

    def __init__(self, names: Mapping[str, str], make: MakeConsumer) -> None:
        self._names, self._make = names, make
        self._timelines: list[LinkTimeline] = []
        self.states: dict[str, dict[str, Any]] = {}
        self.bundles: dict[str, BundleConsumer] = {}
        self.restored = self.states_refused = 0

    @property
    def consumers(self) -> dict[str, LinkConsumer]:
        """The consumers of links, by name."""
        return {name: link for bundle in self.bundles.values() for name, link in bundle.links.items()}

    def of(self, message: FeatureMessage) -> BundleConsumer:
        """Return the consumer of the message's bundle. Raises RefusedError where the site has no such link.

        Or where its agent has put it into another bundle: its messages are then not in one order with the others'.
        """
        link, agent = message.link, message.headers.agent
        bundle = self._names.get(link)
        if bundle is None:
            raise RefusedError("link", f"agent {agent}: the site has no link {link[:80]!r}")
        if message.bundle not in ("", bundle):
            raise RefusedError(
                "bundle",
                f"agent {agent}: has put link {link} into bundle {message.bundle[:80]!r}, the site has it in "
                f"{bundle!r}; give the agent the same site file",
            )
        return self._of(bundle, message)

    def of_mark(self, mark: Mark, key: bytes | None) -> BundleConsumer:
        """Return the consumer of a mark's bundle. Raises RefusedError where the site has none of that name."""
        bundle = bundle_in((key or b"").decode(errors="replace"), mark.site)
        if bundle not in self._names.values():
            raise RefusedError("mark", f"a mark of bundle {bundle[:80]!r}, which the site has not")
        return self._of(bundle, None)

    def _of(self, bundle: str, message: FeatureMessage | None) -> BundleConsumer:
        if bundle not in self.bundles:
            self.bundles[bundle] = self._restored(bundle, message) or self._make(bundle, self._timelines.append)
        return self.bundles[bundle]

    def _restored(self, bundle: str, message: FeatureMessage | None) -> BundleConsumer | None:
        """Return a consumer restored from its bundle's checkpoint, or None; a refused one is counted and logged."""
        state = self.states.pop(bundle, None)
        if state is None:
            return None
        consumer = self._make(bundle, self._timelines.append)
        try:
            if message is not None and _holds(state, message):
                return None
            self.restored += consumer.restore(state)
        except Exception as error:  # whoever may write to the topic of states may write anything
            self.states_refused += 1
            log.warning(
                "checkpoint of bundle %s: not taken up, it begins anew: %s: %s", bundle, type(error).__name__, error
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

    If so, what was published before is published again, and the bundle begins anew with it; else its agents go on.
    """
    headers, links = message.headers, state["links"]
    epochs = links[message.link]["epochs"] if message.link in links else {}
    last = epochs.get(f"{headers.agent}/{headers.agent_epoch}", -1)
    return bool(state.get(ELSEWHERE)) and headers.sequence <= int(last)
