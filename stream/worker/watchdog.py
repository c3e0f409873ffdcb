"""The lag watchdog: end a worker that gets no messages although Kafka has some, so that it is started again.

Faust has open reports of consumers that stand still after a rebalance. The watch runs in a thread with a client of its
own, so that neither a stuck event loop nor a stuck consumer can hide the stall. A message that is slow to process is no
stall, nor is a broker that does not answer: only messages that could come, are waited for, and do not.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from offramp.kafka import KafkaAccessError, TopicState, kafka_errors
from offramp.reach import ANSWER_S, patient_admin
from offramp.stream.worker.checkpoint_reader import place_of
from offramp.stream.worker.ending import PROCESSORS_S
from offramp.stream.worker.other_sites import OtherSites
from offramp.stream.worker.topic_watch import TopicWatch, unowned
from offramp.streams import tell

if TYPE_CHECKING:
    from offramp.stream.app import Worker

log = logging.getLogger("offramp.worker")
STALL_S = 30.0
LOOK_S = 2.0
"""Seconds between two looks at the most; a look costs the broker one request."""
REBALANCE_S = 60.0
"""Seconds a group may take to rebalance: the rebalance time-out that Faust sets."""
END_S = 20.0
"""Seconds that a worker may take to end when it is asked to."""


class StallError(KafkaAccessError):
    """Kafka answers and has messages, but they do not come."""


class OffsetPosition(NamedTuple):
    """The first offset of a partition that is not done; idle: whether the worker is waiting for it."""

    offset: int
    idle: bool


class Wait(NamedTuple):
    """A partition's lag in messages, and for how many seconds they have been waited for in vain."""

    lag: int
    seconds: float


class PartitionWaits:
    """Measures how long each partition has been waiting in vain."""

    def __init__(self) -> None:
        self._since: dict[int, tuple[int, float]] = {}

    def clear(self) -> None:
        """Forget all: partitions have changed hands, or Kafka was away."""
        self._since.clear()

    def update(self, now_s: float, positions: Mapping[int, OffsetPosition], ends: Mapping[int, int]) -> dict[int, Wait]:
        """Return each partition's wait at a time, from its position and the offset after its last message."""
        found = {}
        for partition, position in positions.items():
            lag = max(0, ends[partition] - position.offset)
            offset, since_s = self._since.get(partition, (-1, now_s))
            if not lag or not position.idle or offset != position.offset:
                since_s = now_s
            self._since[partition] = position.offset, since_s
            found[partition] = Wait(lag, now_s - since_s)
        return found


class Watchdog:
    """Watches a worker's partitions from a thread; `waits` is what it saw last, `stall` why it ended the worker.

    stall_s: how long messages may wait in vain, 0: for ever; end: asks the worker to end in order; a worker that has
    not ended END_S seconds later is ended at once: the next owner repeats what it had not checkpointed.
    topics: watches the worker's topics.
    """

    def __init__(
        self, worker: Worker, stall_s: float = STALL_S, end: Callable[[], None] | None = None, end_s: float = END_S
    ) -> None:
        self.waits: dict[int, Wait] = {}
        self.stall = ""
        self._worker, self._stall_s, self._end, self._end_s = worker, stall_s, end or end_in_order, end_s
        self._look_s = min(LOOK_S, stall_s / 4) if stall_s else LOOK_S
        self._waits = PartitionWaits()
        self._changed_s = time.monotonic()
        self._assigned: frozenset[int] | None = None
        self._committed: dict[Any, int] = {}
        self._consumer: Any = None
        self._admin: Any = None
        self.topics = TopicWatch(worker, log.warning)
        self._others = OtherSites(worker.site.name)
        self._apart_s: float | None = None
        self._short: dict[int, int] = {}
        self._reread: set[tuple[int, int]] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="offramp-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """Watch no more."""
        self._over.set()
        self._thread.join(5.0)  # it may be waiting for Kafka; it is a daemon

    def _work(self) -> None:
        while not self._over.wait(self._look_s) and not self.stall:
            try:
                with kafka_errors(self._worker.settings, "worker"):
                    self.stall = self._look(time.monotonic())
                self._worker.reach.answered()
            except KafkaAccessError as error:
                self._worker.reach.missed(str(error).removeprefix("worker: "))
                self._away()
            except Exception as error:  # only a stall may end the watch
                self._worker.reach.missed(f"Kafka at {self._worker.settings.shown}: {error!r}")
                self._away()
        with suppress(Exception):  # the watch is over
            for client in (self._consumer, self._admin):
                if client is not None:
                    client.close()
        if self.stall:
            self._bring_to_an_end()

    def _away(self) -> None:
        """Restart all waits: while Kafka did not answer they had a reason, which is reported elsewhere."""
        self._waits.clear()
        self._changed_s = time.monotonic()
        self.waits = {partition: Wait(wait.lag, 0.0) for partition, wait in self.waits.items()}

    def _look(self, now_s: float) -> str:
        """Look at all partitions; return what is wrong in words, empty where nothing is."""
        from kafka import TopicPartition

        assigned = self._worker.assigned
        if assigned is not self._assigned:
            self._assigned, self._changed_s = assigned, now_s
            self._waits.clear()
            self._committed.clear()
        text = self._others.look(now_s, self._worker.ledger)
        if text:
            log.warning("%s", text)
        topic, features = self._worker.settings.topic("features"), self.topics.look(self._administrator())
        if features is None:
            self._away()  # nothing can come of a topic that is not there, which is reported
            return ""
        if self.topics.is_new(features):
            return self._take_up(features)
        if assigned is None:
            self.waits = {}
            return self._unassigned(now_s - self._changed_s)
        there = sorted(each for each in assigned if each < features.partitions)
        ends = self._client().end_offsets([TopicPartition(topic, each) for each in there])
        by_partition = {place.partition: end for place, end in ends.items()}
        positions = {each: self._place(TopicPartition(topic, each), by_partition[each]) for each in there}
        if self._worker.assigned is not assigned:
            return ""  # the partitions may be others' by now
        self.waits = self._waits.update(now_s, positions, by_partition)
        if self._is_short(positions, by_partition):
            return self._take_up(features)
        return self._stalled() or self._apart(now_s, assigned, features)

    def _take_up(self, features: TopicState) -> str:
        """Let the worker go on with a topic that was made again; return what is wrong where it does not."""
        self._away()
        self._committed.clear()
        moved = asyncio.run_coroutine_threadsafe(self._worker.take_up(features), self._worker.app.loop)
        try:
            moved.result(PROCESSORS_S + self._end_s)
        except TimeoutError:
            return "the feature topic was made again and is not taken up"
        return ""

    def _is_short(self, positions: Mapping[int, OffsetPosition], ends: Mapping[int, int]) -> bool:
        """Return whether a partition has ended before our position for two looks: it has lost its end.

        True once per position: where no message comes, the position is what the group has committed, and stays.
        """
        found = {(each, position.offset) for each, position in positions.items() if position.offset > ends[each]}
        self._reread &= found
        short = dict(found - self._reread)
        twice = any(self._short.get(each) == offset for each, offset in short.items())
        self._short = {} if twice else short
        if twice:
            self._reread.update(short.items())
            log.warning("partition(s) %s end before what was read of them: read again", ", ".join(map(str, short)))
        return twice

    def _apart(self, now_s: float, assigned: frozenset[int], features: TopicState) -> str:
        """Return what is wrong with the assignment of partitions, once it has been so for too long; empty: nothing."""
        group, partitions = self._worker.app.conf.id, min(features.partitions, self._worker.topic.partitions)
        lost = unowned(self._administrator(), group, self._worker.settings.topic("features"), partitions)
        gone = frozenset(each for each in assigned if each >= features.partitions)
        if not lost and not gone:
            self._apart_s = None
            return ""
        self._apart_s = self._apart_s or now_s
        if not self._stall_s or now_s - self._apart_s < self._stall_s:
            return ""
        shown = ", ".join(map(str, sorted(lost or gone)))
        what = f"belong to no worker of group {group}" if lost else "are ours and not there"
        return f"partition(s) {shown} {what}, for {now_s - self._apart_s:.0f} s"

    def _place(self, partition: Any, end: int) -> OffsetPosition:
        """Return the position of one of our partitions: its processor's, or before any message the group's."""
        processor = self._worker.processors.get(partition.partition)
        offset = processor.done if processor is not None else -1
        if offset < 0:
            if partition not in self._committed:
                committed = self._client().committed(partition, metadata=True)
                self._committed[partition] = place_of(committed, self._worker.topic.id)
            offset = self._committed[partition]
        idle = (processor is None or processor.idle) and not self._held_up()
        if idle and offset < end:  # the broker may have deleted what was not read
            offset = max(offset, self._client().beginning_offsets([partition])[partition])
        return OffsetPosition(offset, idle)

    def _held_up(self) -> bool:
        """Return whether a partition's queue is full: then others' messages wait behind its own, which is no stall."""
        return any(processor.fill >= 1 for processor in list(self._worker.processors.values()))

    def _unassigned(self, seconds: float) -> str:
        if not self._stall_s or seconds < self._stall_s + REBALANCE_S:
            return ""
        return f"no partitions for {seconds:.0f} s: the group does not come to share them out"

    def _stalled(self) -> str:
        found = [
            f"partition {partition}: {wait.lag} message(s) wait and none came for {wait.seconds:.0f} s"
            for partition, wait in sorted(self.waits.items())
            if self._stall_s and wait.seconds >= self._stall_s
        ]
        return "; ".join(found)

    def _client(self) -> Any:
        from kafka import KafkaConsumer

        if self._consumer is None:
            arguments = {**self._worker.settings.client_arguments(), "request_timeout_ms": int(ANSWER_S * 1e3)}
            self._consumer = KafkaConsumer(
                **arguments, group_id=self._worker.app.conf.id, enable_auto_commit=False
            )  # it asks for offsets and never joins the group
        return self._consumer

    def _administrator(self) -> Any:
        if self._admin is None:
            self._admin = patient_admin(self._worker.settings)
        return self._admin

    def _bring_to_an_end(self) -> None:
        """Ask the worker to end; end it at once where it cannot."""
        self._end()
        if not self._over.wait(self._end_s):
            tell(f"offramp: {stalled(self)}; and it did not end in order")
            os._exit(StallError.exit_code)


def stalled(watchdog: Watchdog) -> StallError:
    """Return the error with which a stall ends the worker."""
    return StallError(f"worker: {watchdog.stall}, though Kafka answers; started again it goes on from its checkpoints")


def end_in_order() -> None:
    """End the worker as a user's SIGTERM does: with checkpoints and the ledger."""
    os.kill(os.getpid(), signal.SIGTERM)
