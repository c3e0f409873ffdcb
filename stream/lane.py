"""A lane: one partition of the feature topic in a worker, its messages in order, those that wait at once together.

What messages give rise to is acknowledged before the next are taken. A checkpoint first writes the state of every
link that changed, then commits the offset: so the committed offset is never ahead of a checkpoint, and after a crash
the new owner's messages begin where a checkpoint can take them up. A link skips what its checkpoint already holds.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol

from offramp_hops import HEADER, encode_hops
from stream.checkpoint import encode_checkpoint
from stream.cloud_events import Headers
from stream.link_run import LinkRun
from stream.link_runs import LinkRuns, MakeRun
from stream.micro_batch import BYTES, MicroBatches
from stream.portion import Outcome, Outgoing, Portion, Record
from stream.states import Loaded
from stream.turn import Turn, Verdict

CHECKPOINT_S = 5.0
QUEUE = 16
"""Messages that wait in a lane; more stay with Kafka."""


@dataclass(slots=True)
class WorkerLedger:
    """What a worker did: messages by fate, commands sent (repeats after a hand-over among them), checkpoints."""

    messages: int = 0
    other_site: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    checkpoints: int = 0
    links_restored: int = 0
    rewinds: int = 0


class Outlet(Protocol):
    """What a lane writes to: `send` returns when the broker has acknowledged, trying as long as it takes."""

    async def send(self, topic: str, key: bytes | None, value: bytes, headers: Headers, partition: int = -1) -> None:
        """Send a message; partition -1: by its key."""
        ...

    async def commit(self, partition: int, offset: int) -> None:
        """Commit the offset of the next message to read."""
        ...

    async def rewind(self, partition: int, offset: int) -> None:
        """Read the partition again from an offset on."""
        ...


class Lane:
    """Takes the messages of one partition; `put` waits where the lane is full, `close` ends in order."""

    def __init__(
        self,
        partition: int,
        site: str,
        links: frozenset[str],
        make_run: MakeRun,
        load: Callable[[int], Awaitable[Loaded]],
        outlet: Outlet,
        batches: MicroBatches,
        executor: Executor,
        ledger: WorkerLedger,
        *,
        horizon_ms: int,
        forecasts: bool = True,
        checkpoint_s: float = CHECKPOINT_S,
    ) -> None:
        self.partition, self.site, self.ledger = partition, site, ledger
        self._load, self._outlet, self._batches, self._executor = load, outlet, batches, executor
        self._horizon_ms, self._forecasts, self._checkpoint_s = horizon_ms, forecasts, checkpoint_s
        self._queue: asyncio.Queue[Record | None] = asyncio.Queue(QUEUE)
        self._runs = LinkRuns(links, make_run)
        self._changed: set[str] = set()
        self._next = -1
        self._due = 0.0
        self._task = asyncio.create_task(self._work(), name=f"lane-{partition}")

    @property
    def runs(self) -> dict[str, LinkRun]:
        """The links of the partition that had a message, by name."""
        return self._runs.runs

    async def put(self, record: Record) -> None:
        """Queue a message. Raises what ended the lane."""
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
        """Finish the messages at hand, write a last checkpoint, forget what waits."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)
        await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        states, due = await self._load(self.partition)
        self._runs.states.update(states)
        turn, ended = Turn(due), False
        while not ended:
            try:
                waiting, ended = await self._next_messages()
            except TimeoutError:
                await self._checkpoint()
                continue
            records = [record for record in waiting if await self._in_turn(turn, record.offset)]
            if records:
                await self._take(records)
                self._due = self._due or time.monotonic() + self._checkpoint_s
            if ended or (self._due and time.monotonic() >= self._due):
                await self._checkpoint()

    async def _next_messages(self) -> tuple[list[Record], bool]:
        """Return the messages that wait, at least one, about BYTES of them at most, and whether the lane is to end.

        Raises TimeoutError where none comes for the time between checkpoints.
        """
        waiting: list[Record] = []
        size = 0
        while size < BYTES and not (waiting and self._queue.empty()):
            if self._queue.empty():
                record = await asyncio.wait_for(self._queue.get(), self._checkpoint_s)
            else:
                record = self._queue.get_nowait()
            if record is None:
                return waiting, True
            waiting.append(record)
            size += len(record.value or b"")
        return waiting, False

    async def _in_turn(self, turn: Turn, offset: int) -> bool:
        """Tell whether to take the message; ask for the one that is due where another came."""
        verdict = turn.judge(offset)
        if verdict is Verdict.REWIND:
            self.ledger.rewinds += 1
            await self._outlet.rewind(self.partition, turn.due)
        return verdict is Verdict.TAKE

    async def _take(self, records: list[Record]) -> None:
        """Process messages and send what comes of them; one that is refused, or fails, goes to the dead letters."""
        portion = Portion(records, self._runs, self.site, horizon_ms=self._horizon_ms, forecasts=self._forecasts)
        await self._batches.work(portion)
        for wave in waves(message for outcome in portion.outcomes for message in outcome.outgoing):
            await asyncio.gather(*(self._outlet.send(*with_hops(message)) for message in wave))
        for outcome in portion.outcomes:
            self._note(outcome)
        self.ledger.links_restored += self._runs.restored
        self._runs.restored = 0
        self._next = records[-1].offset + 1

    def _note(self, outcome: Outcome) -> None:
        """Enter what became of a message."""
        self.ledger.messages += 1
        self.ledger.commands += outcome.commands
        if outcome.refused:
            self.ledger.refused[outcome.refused] += 1
        elif outcome.link:
            self._changed.add(outcome.link)
        else:
            self.ledger.other_site += 1

    async def _checkpoint(self) -> None:
        """Write the states that changed, then commit."""
        self._due = 0.0
        if self._next < 0:
            return
        loop = asyncio.get_running_loop()
        for link in sorted(self._changed):
            value = await loop.run_in_executor(
                self._executor, lambda run: encode_checkpoint(run.state()), self.runs[link]
            )
            key = f"{self.site}/{link}".encode()
            await self._outlet.send("state", key, value, [("schema_version", b"1")], self.partition)
        self._changed.clear()
        await self._outlet.commit(self.partition, self._next)
        self._next = -1
        self.ledger.checkpoints += 1


def with_hops(message: Outgoing) -> tuple[str, bytes, bytes, Headers]:
    """Return topic, key, value and headers of a message, the hops among them, if it has some."""
    told = encode_hops({**message.hops, "sent": time.time_ns()}) if message.hops else b""
    return message.topic, message.key, message.value, [*message.headers, *([(HEADER, told)] if told else [])]


def waves(messages: Iterable[Outgoing]) -> Iterator[list[Outgoing]]:
    """Yield the messages in groups that are sent together: no two commands of a group have the same scope.

    So a command waits for the acknowledgement of its scope's command before, and their order holds also where a
    sending has to be repeated. Forecasts and dead letters tell their place themselves.
    """
    wave: list[Outgoing] = []
    scopes: set[bytes] = set()
    for message in messages:
        if message.topic == "decisions":
            if message.key in scopes:
                yield wave
                wave, scopes = [], set()
            scopes.add(message.key)
        wave.append(message)
    if wave:
        yield wave
