"""The live agent: open interfaces to feature messages, until it is told to end. `offramp publish --interface`.

It never waits for the broker: what cannot be sent is spooled, or shed and counted, and the capture goes on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial

import pyarrow as pa

from offramp.capture.message.encode import times_of
from offramp.capture.publish.publisher import Publisher
from offramp.capture.sources.source import PacketSource
from offramp.cli.listen import ListenOptions, settle
from offramp.cli.publish import PublishOptions
from offramp.errors import OfframpError
from offramp.kernels import announce_compiling
from offramp.reach import ReachWatch
from offramp.stream.agent.files import PATIENCE_S, open_publisher, published_lines
from offramp.stream.channels import BIN_MS, BIN_NS, WINDOW_BINS
from offramp.stream.local.live_batches import LiveBatches, accounts, ended_by_signals, listening, site_of
from offramp.stream.local.prefetch import merged
from offramp.stream.local.replay import warn
from offramp.stream.metrics.readings import info, live_readings, publish_readings, reach_readings
from offramp.stream.metrics.registry import Metrics
from offramp.stream.metrics.table import unobserved
from offramp.streams import tell

SILENCE_NS = 2 * WINDOW_BINS * BIN_NS
"""Once a link was silent for longer it has no open bin and no series: the clock changes nothing, and is not told."""


def publish_links(
    sources: Sequence[PacketSource], listen: ListenOptions, options: PublishOptions, metrics: Metrics | None = None
) -> None:
    """Publish opened interfaces until they are told to end; raise OfframpError where one failed."""
    import kafka  # noqa: F401 - while its files can be read: whom root becomes need not be let into their folder

    announce_compiling()
    site = site_of(options.site, [source.name for source in sources])
    observe = metrics.observe if metrics else unobserved
    settle(listen)
    publisher = open_publisher(options, site.name, time.time_ns(), live=True, observe=observe)
    with ExitStack() as stack:
        found = stack.enter_context(
            listening(sources, listen, site, publisher.agent, bins=options.message_ms // BIN_MS)
        )
        watch = ReachWatch(options.settings, "publish", "features")
        if metrics is not None:
            metrics.read_from(
                info("publish", site.name),
                *(partial(live_readings, batches) for batches in found),
                partial(publish_readings, publisher),
                partial(reach_readings, watch.reach),
            )
        publisher.start()
        watch.start()
        stack.callback(watch.close)
        tell(f"agent {publisher.agent}, epoch {publisher.epoch}, to {publisher.topic} at {options.settings.shown}")
        try:
            with ended_by_signals(*(batches.intake for batches in found)):
                finished = LiveAgent(found, publisher).run()
        finally:
            stack.close()  # the files are written to their end before they are counted
            for text in (text for batches in found for text in batches.warnings()):
                warn(text)
            tell("\n".join([*accounts(found), *published_lines(publisher)]))
    failures = [failure for batches in found for failure in batches.failures(listen)]
    if not finished:
        failures.append(left_over(publisher))
    if failures:
        raise OfframpError("; ".join(failures))


def left_over(publisher: Publisher) -> str:
    """Say what becomes of what the broker has not acknowledged in time."""
    if publisher.spool is not None:
        return "the broker is away: what is not acknowledged is in the spool, and the next run with it sends that first"
    return f"the broker did not acknowledge everything within {PATIENCE_S:g} s; --spool FOLDER keeps what is left"


class LiveAgent:
    """Publishes the batches of live links, and the clock while a link's bins may be open."""

    def __init__(self, sources: Sequence[LiveBatches], publisher: Publisher) -> None:
        self.sources, self.publisher = sources, publisher
        self._newest_ns: dict[str, int] = {}
        self._clock_ns: dict[str, int] = {}
        self._behind = False
        self._given_up = 0

    def run(self) -> bool:
        """Publish until the sources end, then say so and wait a bounded time; tell whether all is acknowledged."""
        try:
            with closing(merged([source.read() for source in self.sources])) as items:
                for link, item in items:
                    self._tell()
                    self._publish(link, item)
            for source in self.sources:
                for link in source.links.dissectors:
                    self.publisher.end(link, source.untold(link))
        except BaseException:
            self.publisher.close(0.0)  # keeps what it can in the spool
            raise
        return self.publisher.close(PATIENCE_S)

    def _publish(self, link: str, item: pa.RecordBatch | int) -> None:
        newest_ns, clock_ns = self._newest_ns.get(link, 0), self._clock_ns.get(link, 0)
        if not isinstance(item, int):
            self._newest_ns[link] = times_of(item)[1]  # of this batch: the clock may be set back
            self._clock_ns[link] = 0  # one told before that is none to hold the silence to come against
            self.publisher.publish(link, item)
        elif newest_ns and clock_ns - newest_ns <= SILENCE_NS:
            self._clock_ns[link] = item
            self.publisher.clock(link, item)

    def _tell(self) -> None:
        """Say when messages begin to be spooled or shed, and when that is over."""
        ledger = self.publisher.ledger
        given_up, self._given_up = self._given_up, ledger.spooled + ledger.shed
        if self._given_up > given_up and not self._behind:
            self._behind = True
            what = "messages go to the spool" if self.publisher.spool is not None else "the oldest messages are shed"
            tell(f"the broker is away or too slow: {what}")
        elif self._behind and self.publisher.caught_up:
            self._behind = False
            tell("the broker takes messages again")
