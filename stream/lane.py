"""A lane: one partition of the feature topic in a worker, one message at a time, in order.

A message's commands are acknowledged before the next message is taken. A checkpoint first writes the state of every
link that changed, then commits the offset: so the committed offset is never ahead of a checkpoint, and after a crash
the new owner's messages begin where a checkpoint can take them up. A link skips what its checkpoint already holds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Protocol

from decision.command import Command
from offramp_kafka import LARGEST_MESSAGE
from stream.checkpoint import encode_checkpoint
from stream.cloud_events import Headers, command_message, forecast_message
from stream.link_run import LinkRun
from stream.states import Loaded
from stream.timeline import LinkTimeline
from stream.turn import Turn, Verdict
from stream.wire import FeatureMessage, RefusedError, decode_message

log = logging.getLogger("offramp.worker")
CHECKPOINT_S = 5.0
QUEUE = 4
"""Messages that wait in a lane; more stay with Kafka."""


class Record(Protocol):
    """A message of the feature topic as Faust hands it over."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Any


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
        make_run: Callable[[str, Callable[[LinkTimeline], None]], LinkRun],
        load: Callable[[int], Awaitable[Loaded]],
        outlet: Outlet,
        executor: Executor,
        ledger: WorkerLedger,
        *,
        horizon_ms: int,
        forecasts: bool = True,
        checkpoint_s: float = CHECKPOINT_S,
    ) -> None:
        self.partition, self.site, self.links = partition, site, links
        self._make_run, self._load, self._outlet, self._executor = make_run, load, outlet, executor
        self.ledger, self._horizon_ms, self._forecasts = ledger, horizon_ms, forecasts
        self._checkpoint_s = checkpoint_s
        self._queue: asyncio.Queue[Record | None] = asyncio.Queue(QUEUE)
        self._states: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, LinkRun] = {}
        self._timelines: list[LinkTimeline] = []
        self._changed: set[str] = set()
        self._next = -1
        self._due = 0.0
        self._task = asyncio.create_task(self._work(), name=f"lane-{partition}")

    async def put(self, record: Record) -> None:
        """Queue a message. Raises what ended the lane."""
        while not self._task.done():
            try:
                await asyncio.wait_for(self._queue.put(record), 0.5)
            except TimeoutError:
                continue
            return
        self._task.result()

    async def close(self) -> None:
        """Finish the message at hand, write a last checkpoint, forget what waits."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)
        await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        self._states, due = await self._load(self.partition)
        turn = Turn(due)
        while True:
            try:
                record = await asyncio.wait_for(self._queue.get(), self._checkpoint_s)
            except TimeoutError:
                await self._checkpoint()
                continue
            if record is not None and await self._in_turn(turn, record.offset):
                await self._take(record)
                if self._due == 0.0:
                    self._due = time.monotonic() + self._checkpoint_s
            if record is None or time.monotonic() >= self._due:
                await self._checkpoint()
            if record is None:
                return

    async def _in_turn(self, turn: Turn, offset: int) -> bool:
        """Tell whether to take the message; ask for the one that is due where another came."""
        verdict = turn.judge(offset)
        if verdict is Verdict.REWIND:
            self.ledger.rewinds += 1
            await self._outlet.rewind(self.partition, turn.due)
        return verdict is Verdict.TAKE

    async def _take(self, record: Record) -> None:
        """Process a message; one that is refused, or fails, goes to the dead letters, and the stream goes on."""
        loop = asyncio.get_running_loop()
        self.ledger.messages += 1
        try:
            link, commands = await loop.run_in_executor(self._executor, self._process, record)
        except RefusedError as error:
            await self._bury(record, error.reason, str(error))
        except Exception as error:  # nothing that a message holds may end the worker
            log.exception("message at partition %d, offset %d", record.partition, record.offset)
            await self._bury(record, "failed", f"{type(error).__name__}: {error}")
        else:
            for command in commands:
                await self._outlet.send("decisions", *command_message(command, self.site))
            self.ledger.commands += len(commands)
            await self._tell()
            if link:
                self._changed.add(link)
        self._next = record.offset + 1

    def _process(self, record: Record) -> tuple[str, list[Command]]:
        """Decode and run the pipeline, in a thread; return the link's name, empty where it is another site's."""
        message = decode_message(record.key, _pairs(record.headers), record.value, site=self.site)
        if message is None:
            self.ledger.other_site += 1
            return "", []
        return message.link, self._run(message).feed(message, record.offset)

    def _run(self, message: FeatureMessage) -> LinkRun:
        """Return the link's run, of its checkpoint where there is one."""
        link = message.link
        if link not in self.links:
            raise RefusedError("link", f"agent {message.headers.agent}: the site has no link {link[:80]!r}")
        if link not in self.runs:
            run = self.runs[link] = self._make_run(link, self._timelines.append)
            state = self._states.pop(link, None)
            if state is not None:
                self.ledger.links_restored += run.restore(state)
        return self.runs[link]

    async def _tell(self) -> None:
        """Publish the forecasts of the bins that the message closed."""
        timelines = list(self._timelines)
        self._timelines.clear()
        told = forecast_message(timelines, self.site, self._horizon_ms) if self._forecasts and timelines else None
        if told is not None:
            await self._outlet.send("forecasts", *told)

    async def _bury(self, record: Record, reason: str, text: str) -> None:
        self.ledger.refused[reason] += 1
        value = (record.value or b"")[: LARGEST_MESSAGE - 20_000]
        told = {"topic": "features", "partition": record.partition, "offset": record.offset, "reason": reason,
                "error": text[:1_000], "bytes": len(record.value or b"")}  # fmt: skip
        headers = [(f"dead_{name}", str(each).encode()) for name, each in told.items()]
        await self._outlet.send("dead-letters", (record.key or b"")[:1_000], value, headers)

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


def _encoded(run: LinkRun) -> bytes:
    return encode_checkpoint(run.state())


def _pairs(headers: Any) -> list[tuple[str, bytes]]:
    """Return headers as pairs, whichever way the client gives them."""
    return list(headers.items()) if hasattr(headers, "items") else list(headers or ())
