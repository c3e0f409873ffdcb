"""The live agent: publish opened interfaces as feature messages until a signal. `offramp publish --interface`.

It never waits for the broker: what cannot be sent is spooled, or shed and counted, and the capture goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import pyarrow as pa

from offramp.capture.message.encode import times_of
from offramp.capture.publish.publisher import Publisher
from offramp.stream.agent.files import PATIENCE_S
from offramp.stream.channels import BIN_NS, WINDOW_BINS
from offramp.stream.local.live_batches import LiveBatches
from offramp.stream.local.prefetch import merged
from offramp.streams import tell

SILENCE_NS = 2 * WINDOW_BINS * BIN_NS
"""After a longer silence a link has no open bin and no series: the clock tells that it lives."""
ALIVE_NS = 100_000_000
"""How often the clock of a silent link is told that nobody waits for: its silence is not one of its agent."""


class LiveAgent:
    """Publishes the batches of live links, and their clocks for as long as it lives.

    A silent link's clock is told with every bin while its own bins may be open, or those of a link that is decided over
    with it may wait for it: one that has packets here, or that another agent has. Else every ALIVE_NS.
    """

    def __init__(self, sources: Sequence[LiveBatches], publisher: Publisher) -> None:
        self.sources, self.publisher = sources, publisher
        here = {link for source in sources for link in source.links.dissectors}
        self._others = {
            link.name: [each.name for each in bundle.links if each is not link]
            for source in sources
            for bundle in source.links.site.bundles
            for link in bundle.links
        }
        self._elsewhere = {link for link, others in self._others.items() if not here.issuperset(others)}
        self._newest_ns: dict[str, int] = {}
        self._clock_ns: dict[str, int] = {}
        self._behind = False
        self._given_up = 0

    def run(self) -> bool:
        """Publish until the sources end, then say so and wait a bounded time; return whether all is acknowledged."""
        try:
            with closing(merged([source.read() for source in self.sources])) as items:
                for link, item in items:
                    self._tell()
                    self._publish(link, item)
            for source in self.sources:
                for link in source.links.dissectors:
                    self.publisher.end(link, source.take_delta(link))
        except BaseException:
            self.publisher.close(0.0)  # keeps what it can in the spool
            raise
        return self.publisher.close(PATIENCE_S)

    def _publish(self, link: str, item: pa.RecordBatch | int) -> None:
        if not isinstance(item, int):
            self._newest_ns[link] = times_of(item)[1]  # of this batch: the clock may be set back
            self._clock_ns[link] = 0  # the silence to come is not measured from an earlier clock
            self.publisher.publish(link, item)
        elif abs(item - self._clock_ns.get(link, 0)) >= ALIVE_NS or self._waited_for(link, item):
            self._clock_ns[link] = item
            self.publisher.clock(link, item)

    def _waited_for(self, link: str, now_ns: int) -> bool:
        """Return whether bins may be open, or wait, that a link's clock lets be decided."""
        newest = [self._newest_ns.get(each, 0) for each in (link, *self._others.get(link, ()))]
        return link in self._elsewhere or any(each and abs(now_ns - each) <= SILENCE_NS for each in newest)

    def _tell(self) -> None:
        """Report when messages begin to be spooled or shed, and when that is over."""
        ledger = self.publisher.ledger
        given_up, self._given_up = self._given_up, ledger.spooled + ledger.shed
        if self._given_up > given_up and not self._behind:
            self._behind = True
            what = "messages go to the spool" if self.publisher.spool is not None else "the oldest messages are shed"
            tell(f"the broker is away or too slow: {what}")
        elif self._behind and self.publisher.caught_up:
            self._behind = False
            tell("the broker takes messages again")
