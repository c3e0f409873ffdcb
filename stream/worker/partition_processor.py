"""Process one partition of the feature topic: take its messages in order, those that wait together.

What results from messages is on its way before the next are taken. A checkpoint waits until that is acknowledged,
writes the state of every link that changed, then commits the offset. So no command from before a checkpoint is missing,
the committed offset is never ahead of a checkpoint, and after a crash the new owner's messages begin where a checkpoint
can take over. A link skips what its checkpoint already holds. States are copied between messages and written beside
them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Protocol

from offramp.stream.links.link_consumer import LinkConsumer
from offramp.stream.links.link_consumers import LinkConsumers, MakeConsumer
from offramp.stream.topics.records import OutgoingMessage, Record, pairs_of
from offramp.stream.worker.away import AWAY_S, AwayWatch
from offramp.stream.worker.checkpoint import encode_checkpoint
from offramp.stream.worker.checkpoint_reader import TOPIC, LoadedStates
from offramp.stream.worker.load_shedding import MAX_AGE_S, Backlogs
from offramp.stream.worker.message_batch import MessageBatch, MessageOutcome, dead_letter
from offramp.stream.worker.micro_batch import BYTES, MicroBatches
from offramp.stream.worker.offset_sequence import OffsetAction, OffsetSequence
from offramp.stream.worker.outbox import Outbox
from offramp.stream.worker.partition_meter import PartitionMeter

log = logging.getLogger("offramp.worker")

CHECKPOINT_S = 5.0
SESSION_S = 10.0
"""A worker that is silent for so long loses its partitions."""

SURE = 0.8
"""The part of a session, from the group's last answer on, for which the partition is taken to be ours."""
QUEUE = 16
"""Messages that wait in a partition; more stay with Kafka."""


@dataclass(slots=True)
class WorkerLedger:
    """What a worker did: messages by fate, commands sent (repeats after a hand-over included), checkpoints.

    unsendable: messages to send that no broker would take, by topic; states_refused: checkpoints not restored.
    """

    messages: int = 0
    other_site: int = 0
    marks: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    unsendable: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    checkpoints: int = 0
    links_restored: int = 0
    states_refused: int = 0
    rewinds: int = 0
    shed: int = 0
    shed_rows: int = 0
    rebalances: int = 0
    last_other_site: str = ""


class Outlet(Protocol):
    """What a partition writes to."""

    async def post(self, message: OutgoingMessage) -> asyncio.Future[Any]:
        """Hand a message to the producer, trying as long as it takes; the future is done when it is acknowledged."""
        ...

    async def commit(self, partition: int, offset: int) -> bool:
        """Commit the offset of the next message to read; return whether the group took it."""
        ...

    async def rewind(self, partition: int, offset: int) -> None:
        """Read the partition again from an offset on."""
        ...

    def waiting(self, partition: int, offset: int) -> bool:
        """Return whether the broker has newer messages of the partition than the one at an offset."""
        ...


class PartitionProcessor:
    """Takes the messages of one partition; `put` waits where the partition is full, `close` ends in order."""

    def __init__(
        self,
        partition: int,
        site: str,
        links: Mapping[str, str],
        make_consumer: MakeConsumer,
        load: Callable[[int], Awaitable[LoadedStates]],
        outlet: Outlet,
        batches: MicroBatches,
        executor: Executor,
        ledger: WorkerLedger,
        *,
        horizon_ms: int,
        forecasts: bool = True,
        checkpoint_s: float = CHECKPOINT_S,
        max_age_s: float = MAX_AGE_S,
        session_s: float = SESSION_S,
        meter: PartitionMeter | None = None,
        topic_id: str = "",
    ) -> None:
        """Build it; links: the bundle of each; topic_id: of the feature topic whose offsets these are."""
        self.partition, self.site, self.ledger, self._topic_id = partition, site, ledger, topic_id
        self._load, self._outlet, self._batches, self._executor = load, outlet, batches, executor
        self._horizon_ms, self._forecasts = horizon_ms, forecasts
        self._checkpoint_s, self._session_s = checkpoint_s, session_s
        self._meter = meter or PartitionMeter()
        self.done = -1
        self._sequence: OffsetSequence | None = None
        self._queue: asyncio.Queue[Record | None] = asyncio.Queue(QUEUE)
        self._consumers = LinkConsumers(links, make_consumer)
        self._backlogs = Backlogs(site, frozenset(links), max_age_s, grace_s=checkpoint_s)
        self._outbox = Outbox(outlet.post, self._give_up)
        self._watch = AwayWatch(site)
        self._saving: asyncio.Task[None] | None = None
        self._changed: set[str] = set()
        self._next = self._committed = -1
        self._due = self._sure_until = 0.0
        self._task = asyncio.create_task(self._work(), name=f"partition-{partition}")

    @property
    def consumers(self) -> dict[str, LinkConsumer]:
        """The links of the partition that had a message, by name."""
        return self._consumers.consumers

    @property
    def fill(self) -> float:
        """How full the partition's queue is, 0 to 1."""
        return self._queue.qsize() / QUEUE

    @property
    def idle(self) -> bool:
        """Whether everything that came is done, so that the message at the offset `done` is waited for."""
        return self._sequence is not None and self._sequence.due == self.done and self._queue.empty()

    async def put(self, record: Record) -> None:
        """Queue a message. Raises what ended the partition."""
        while not self._task.done():
            try:
                if self._queue.full():
                    await asyncio.wait_for(self._queue.put(record), 0.5)
                else:
                    self._queue.put_nowait(record)
            except TimeoutError:
                continue
            return
        self._task.result()

    async def close(self) -> None:
        """Finish the messages being processed, write a last checkpoint, drop those that wait."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)
        await asyncio.gather(self._task, return_exceptions=True)

    def abandon(self) -> None:
        """End at once: the next owner repeats what was not checkpointed."""
        self._task.cancel()
        if self._saving is not None:
            self._saving.cancel()

    async def _work(self) -> None:
        begun_s = time.monotonic()
        loaded = await self._load(self.partition)
        self._consumers.states.update(loaded.states)
        self.ledger.states_refused += loaded.refused
        due = loaded.due
        sequence, ended = OffsetSequence(due), False
        self._sequence, self.done = sequence, due
        self._is_sure(due, begun_s)
        while not ended:
            try:
                waiting, ended = await self._next_messages()
            except TimeoutError:
                await self._mark_away()
                if time.monotonic() >= self._due:  # 0 where nothing is new: what the group did not take is tried again
                    await self._checkpoint()
                continue
            records = [record for record in waiting if await self._in_sequence(sequence, record.offset)]
            if records:
                await self._take_or_shed(records)
                self._due = self._due or time.monotonic() + self._checkpoint_s
                await self._mark_away()
            if ended or (self._due and time.monotonic() >= self._due):
                await self._checkpoint(wait=ended)

    async def _mark_away(self) -> None:
        """Write a mark for each link that others have waited for too long: it is acted on when it is read."""
        for message in self._watch.marks(self._consumers.bundles.values(), time.monotonic()):
            await self._outbox.put(message._replace(partition=self.partition))

    async def _next_messages(self) -> tuple[list[Record], bool]:
        """Return the messages that wait, at least one, about BYTES of them at most, and whether this is the end.

        Raises TimeoutError where none comes for the time between checkpoints.
        """
        waiting: list[Record] = []
        size = 0
        while size < BYTES and not (waiting and self._queue.empty()):
            if self._queue.empty():
                patience_s = AWAY_S if self._watch.waits else self._checkpoint_s
                record = await asyncio.wait_for(self._queue.get(), min(patience_s, self._checkpoint_s))
            else:
                record = self._queue.get_nowait()
            if record is None:
                return waiting, True
            waiting.append(record)
            size += len(record.value or b"")
        return waiting, False

    async def _in_sequence(self, sequence: OffsetSequence, offset: int) -> bool:
        """Return whether to take the message; rewind to the one that is due where another came."""
        action = sequence.check(offset)
        if action is OffsetAction.REWIND:
            self.ledger.rewinds += 1
            await self._outlet.rewind(self.partition, sequence.due)
        return action is OffsetAction.TAKE

    async def _take_or_shed(self, records: list[Record]) -> None:
        """Process messages, shedding those of overloaded live links.

        What is decided after shedding ends depends on what was shed, and so on the clock: a checkpoint before it
        records that.
        """
        shed: set[int] = set()
        taken: list[Record] = []
        for at, record in enumerate(records):
            waiting = at + 1 < len(records) or self._outlet.waiting(self.partition, record.offset)
            turned = self._sheds_now(record, waiting)
            if self._backlogs.sheds(record.key, pairs_of(record.headers)):
                shed.add(record.offset)
            elif turned:
                await self._take(taken, shed)
                taken = []
                await self._checkpoint(wait=True)
            taken.append(record)
        await self._take(taken, shed)

    def _sheds_now(self, record: Record, waiting: bool) -> bool:
        """Return whether a link's shedding turns with a message; False for a message that cannot be read.

        Such a message is taken like any other, and goes to the dead letters when it is decoded.
        """
        try:
            return self._backlogs.update(record.key, pairs_of(record.headers), waiting=waiting)
        except Exception:
            return False

    async def _take(self, records: list[Record], shed: Collection[int]) -> None:
        """Process messages and send what results; one that is refused, or fails, goes to the dead letters."""
        if not records:
            return
        begun_s = time.monotonic()
        batch = MessageBatch(
            records, self._consumers, self.site, horizon_ms=self._horizon_ms, forecasts=self._forecasts, shed=shed
        )
        await self._batches.work(batch)
        for outcome in batch.outcomes:
            for message in outcome.outgoing:
                await self._outbox.put(message)
        for outcome in batch.outcomes:
            self._note(outcome, begun_s)
        pairs = zip(records, batch.outcomes, strict=True)
        others = [record for record, outcome in pairs if not outcome.bundle and not outcome.refused]
        if others:
            site = dict(pairs_of(others[-1].headers)).get("site", b"")
            self.ledger.last_other_site = site[:80].decode(errors="replace")
        self.ledger.links_restored += self._consumers.restored
        self.ledger.states_refused += self._consumers.states_refused
        self._consumers.restored = self._consumers.states_refused = 0
        self._next = self.done = records[-1].offset + 1

    def _note(self, outcome: MessageOutcome, begun_s: float) -> None:
        """Count what became of a message."""
        self.ledger.messages += 1
        self.ledger.commands += outcome.commands
        if outcome.bundle:
            self._changed.add(outcome.bundle)
        if outcome.refused:
            self.ledger.refused[outcome.refused] += 1
        elif outcome.link:
            self._meter.worked(self.consumers[outcome.link], outcome.rows, begun_s)
            if outcome.shed_rows >= 0:
                self.ledger.shed += 1
                self.ledger.shed_rows += outcome.shed_rows
        elif outcome.bundle:
            self.ledger.marks += 1
        else:
            self.ledger.other_site += 1

    def _give_up(self, message: OutgoingMessage, error: Exception) -> OutgoingMessage | None:
        """Count what can never be sent, log it once a topic; return its dead letter, if anybody waits for it."""
        self.ledger.unsendable[message.topic] += 1
        text = f"{type(error).__name__}: {error}"
        if self.ledger.unsendable[message.topic] == 1:
            key, size = message.key[:200].decode(errors="replace"), len(message.value)
            log.error("%s of %r, %d bytes: given up, others are only counted: %s", message.topic, key, size, text)
        if message.topic in ("forecasts", "dead-letters"):
            return None
        return dead_letter(message.key, message.value, {"topic": message.topic}, "unsendable", text)

    async def _checkpoint(self, *, wait: bool = False) -> None:
        """Copy the states that changed, and write them while the partition goes on, or wait until that is done."""
        self._due = 0.0
        if wait and self._saving is not None:
            await self._saving
        if self._saving is not None and self._saving.done():
            self._saving.result()
            self._saving = None
        bundles = self._consumers.bundles
        if not all(bundles[name].may_be_saved for name in self._changed):
            self._due = time.monotonic() + self._checkpoint_s
        elif self._next >= 0 and self._saving is None:
            states = await asyncio.get_running_loop().run_in_executor(self._executor, self._copies)
            self._saving = asyncio.create_task(self._save(states, self._next), name=f"checkpoint-{self.partition}")
            self._next = -1
            if wait:
                await self._saving

    def _copies(self) -> dict[str, dict[str, Any]]:
        """Return the states of the bundles that changed since the last call."""
        bundles = self._consumers.bundles
        states = {name: {**bundles[name].state(), TOPIC: self._topic_id} for name in sorted(self._changed)}
        self._changed.clear()
        return states

    async def _save(self, states: Mapping[str, Mapping[str, Any]], offset: int) -> None:
        """Write states once the commands before them are acknowledged; then commit."""
        begun_s = time.monotonic()
        await self._outbox.settle()
        if not await self._is_owner():
            self._changed.update(states)
            self._next = max(self._next, offset)
            return
        loop = asyncio.get_running_loop()
        for bundle, state in states.items():
            value = await loop.run_in_executor(self._executor, encode_checkpoint, state)
            key = f"{self.site}/{bundle}".encode()
            await self._outbox.put(
                OutgoingMessage("state", key, value, [("schema_version", b"1")], partition=self.partition)
            )
        await self._outbox.settle()
        if not await self._commit(offset):
            self._next = max(self._next, offset)
        self.ledger.checkpoints += 1
        self._meter.checkpointed(begun_s)

    async def _commit(self, offset: int) -> bool:
        """Commit an offset; return whether the group took it, which makes the partition ours for another session."""
        asked_s = time.monotonic()
        taken = await self._outlet.commit(self.partition, offset)
        if taken:
            self._is_sure(offset, asked_s)
        return taken

    def _is_sure(self, committed: int, since_s: float) -> None:
        """Note the committed offset, and from when the partition is known to be ours."""
        self._committed, self._sure_until = committed, since_s + SURE * self._session_s

    async def _is_owner(self) -> bool:
        """Return whether the partition is still ours; ask the group where its last answer is nearly a session old.

        A worker that stood still for so long may have lost it, and must not write checkpoints after the new owner's.
        """
        return time.monotonic() < self._sure_until or await self._commit(self._committed)
