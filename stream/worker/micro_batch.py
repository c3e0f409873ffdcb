"""Micro-batches: message batches that wait in several partitions are processed together, with one call of the model.

There is no timer: a free thread takes a message batch at once, alone if it is alone; what comes while all threads are
busy is taken together by the next free one. So a micro-batch grows with the load and delays nothing without need; BYTES
bounds it, and so the time that a partition waits for the batches of others.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from offramp.stream.pipeline.pipeline import predictions_of

if TYPE_CHECKING:
    from offramp.inference.forecast import Prediction
    from offramp.stream.worker.message_batch import MessageBatch

log = logging.getLogger("offramp.worker")
BYTES = 256 << 10
"""Bytes of the messages of a micro-batch: one of the size that files are published in, or hundreds of live ones."""


@dataclass(slots=True)
class BatchLedger:
    """Counts of micro-batches, and of the message batches and rows of the model in them."""

    batches: int = 0
    portions: int = 0
    rows: int = 0


@dataclass(slots=True, eq=False)
class _Waiting:
    batch: MessageBatch
    done: asyncio.Future[None] = field(repr=False)


class MicroBatches:
    """Processes message batches in `threads` threads of an executor; `work` is for the event loop."""

    def __init__(self, executor: Executor, threads: int) -> None:
        self.ledger = BatchLedger()
        self._executor, self._threads = executor, threads
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._busy = 0

    async def work(self, batch: MessageBatch) -> None:
        """Have a batch processed. One caller has one batch at a time, so its batches keep order."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(batch, loop.create_future())
        with self._lock:
            self._waiting.append(waiting)
            start = self._busy < self._threads
            self._busy += start
        if start:
            self._executor.submit(self._run, loop)
        await asyncio.shield(waiting.done)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Process, in a thread, what waits, until nothing does."""
        while batch := self._take():
            error = None
            try:
                self._work([each.batch for each in batch])
            except Exception as found:
                error = found
            loop.call_soon_threadsafe(_settle, batch, error)

    def _take(self) -> list[_Waiting]:
        """Return what waits, up to BYTES but at least one; where nothing waits, the thread is no longer busy."""
        batch: list[_Waiting] = []
        size = 0
        with self._lock:
            while self._waiting and (not batch or size + self._waiting[0].batch.size <= BYTES):
                batch.append(self._waiting.popleft())
                size += batch[-1].batch.size
            self._busy -= not batch
        return batch

    def _work(self, batches: list[MessageBatch]) -> None:
        """Take the steps of all batches, call the model once, apply to all; repeat for batches that come in parts."""
        while batches:
            self._round(batches)
            batches = [batch for batch in batches if not batch.done]

    def _round(self, batches: Sequence[MessageBatch]) -> None:
        opened = [batch.to_steps() for batch in batches]
        steps = [step for each in opened for step in each]
        found: list[list[Prediction]] | Exception
        try:
            found = predictions_of(steps) if steps else []
        except Exception as error:
            found = error
        start = 0
        for batch, own in zip(batches, opened, strict=True):
            batch.apply(found if isinstance(found, Exception) else found[start : start + len(own)])
            start += len(own)
        rows = sum(step.rows for step in steps)
        with self._lock:
            self.ledger.batches += 1
            self.ledger.portions += len(batches)
            self.ledger.rows += rows


def _settle(batch: Sequence[_Waiting], error: Exception | None) -> None:
    """Wake, on the event loop, those who wait for a micro-batch."""
    for each in batch:
        if each.done.done():
            continue
        if error is None:
            each.done.set_result(None)
        else:
            each.done.set_exception(error)
