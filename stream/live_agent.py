"""The live agent: an open interface to feature messages, until it is told to end. `offramp publish --interface`.

It never waits for the broker: what cannot be sent is spooled, or shed and counted, and the capture goes on.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from functools import partial

import pyarrow as pa

from capture.block import PacketSource
from capture.publish import Publisher
from capture.wire import times_of
from decision.site import default_site, load_site
from offramp_errors import OfframpError
from offramp_kernels import announce_compiling
from offramp_reach import ReachWatch
from stream.agent import PATIENCE_S, open_publisher, published_lines
from stream.channels import BIN_MS, BIN_NS, WINDOW_BINS
from stream.listen import ListenOptions
from stream.live_batches import LiveBatches, ended_by_signals, listening, say
from stream.metric_table import unobserved
from stream.metrics import Metrics
from stream.prefetch import prefetch
from stream.publish import PublishOptions
from stream.readings import info, live_readings, publish_readings, reach_readings

SILENCE_NS = 2 * WINDOW_BINS * BIN_NS
"""Once a link was silent for longer it has no open bin and no series: the clock changes nothing, and is not told."""


def publish_link(
    source: PacketSource, listen: ListenOptions, options: PublishOptions, metrics: Metrics | None = None
) -> None:
    """Publish an opened interface until it is told to end; raise OfframpError where it failed."""
    announce_compiling()
    site = load_site(options.site) if options.site else default_site()
    observe = metrics.observe if metrics else unobserved
    publisher = open_publisher(options, site.name, time.time_ns(), live=True, observe=observe)
    with ExitStack() as stack:
        batches = stack.enter_context(
            listening(source, listen, site, publisher.agent, bins=options.message_ms // BIN_MS)
        )
        watch = ReachWatch(options.settings, "publish", "features")
        if metrics is not None:
            metrics.read_from(
                info("publish", site.name), partial(live_readings, batches), partial(publish_readings, publisher),
                partial(reach_readings, watch.reach),
            )  # fmt: skip
        publisher.start()
        watch.start()
        stack.callback(watch.close)
        say(f"agent {publisher.agent}, epoch {publisher.epoch}, to {publisher.topic} at {options.settings.shown}")
        try:
            with ended_by_signals(batches.intake):
                finished = LiveAgent(batches, publisher).run()
        finally:
            stack.close()  # the files are written to their end before they are counted
            say("\n".join([*batches.account(), *published_lines(publisher)]))
    failures = batches.failures(listen)
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
    """Publishes the batches of one link, and the clock while its bins may be open."""

    def __init__(self, batches: LiveBatches, publisher: Publisher) -> None:
        self.batches, self.publisher = batches, publisher
        self._newest_ns = self._clock_ns = 0
        self._behind = False
        self._given_up = 0

    def run(self) -> bool:
        """Publish until the source ends, then say so and wait a bounded time; tell whether all is acknowledged."""
        try:
            with closing(prefetch(self.batches.read())) as items:
                for item in items:
                    self._tell()
                    self._publish(item)
            self.publisher.end(self.batches.link, self.batches.untold())
        except BaseException:
            self.publisher.close(0.0)  # keeps what it can in the spool
            raise
        return self.publisher.close(PATIENCE_S)

    def _publish(self, item: pa.RecordBatch | int) -> None:
        if not isinstance(item, int):
            self._newest_ns = times_of(item)[1]  # of this batch: the clock may be set back
            self.publisher.publish(self.batches.link, item)
        elif self._newest_ns and self._clock_ns - self._newest_ns <= SILENCE_NS:
            self._clock_ns = item
            self.publisher.clock(self.batches.link, item)

    def _tell(self) -> None:
        """Say when messages begin to be spooled or shed, and when that is over."""
        ledger = self.publisher.ledger
        given_up, self._given_up = self._given_up, ledger.spooled + ledger.shed
        if self._given_up > given_up and not self._behind:
            self._behind = True
            what = "messages go to the spool" if self.publisher.spool is not None else "the oldest messages are shed"
            say(f"the broker is away or too slow: {what}")
        elif self._behind and self.publisher.caught_up:
            self._behind = False
            say("the broker takes messages again")
