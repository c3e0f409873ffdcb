"""Intake of a live source: a thread that reads it in time, a bounded queue, and load shedding between them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from offramp.capture.block import PacketBlock, some_rows
from offramp.capture.intake.block_queue import BlockQueue
from offramp.capture.intake.shedding import Shedding
from offramp.capture.ledger import CaptureLedger
from offramp.capture.sources.source import Fault, PacketSource, Progress

BLOCK_ROWS = 8192


class Recorder(Protocol):
    """What writes blocks somewhere without keeping the caller waiting."""

    def put(self, block: PacketBlock) -> None:
        """Take a block to write."""
        ...


@dataclass(frozen=True, slots=True)
class Until:
    """When to end by itself: seconds after the first block, packets captured; 0 for either: never."""

    duration_s: float = 0.0
    packets: int = 0


class Intake:
    """A live source read by a thread of its own; see capture.sources.source.PacketSource.

    `read` yields blocks, joined to about 8,192 packets where the reader is behind. `account` is what was shed on the
    way: add it to the reader's ledger. Called from the thread: `begun` when the source listens, `report` when the level
    of shedding changes.
    """

    def __init__(
        self,
        source: PacketSource,
        *,
        until: Until | None = None,
        shedding: Shedding | None = None,
        queue: BlockQueue | None = None,
        recorder: Recorder | None = None,
        begun: Callable[[], None] = lambda: None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.name = source.name
        self.progress = Progress()
        self.shedding = shedding or Shedding()
        self._source, self._until, self._recorder = source, until or Until(), recorder
        self._begun, self._told = begun, report
        self._queue = queue or BlockQueue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="offramp-intake", daemon=True)

    @property
    def fill(self) -> float:
        """How full the queue is, 0 to 1."""
        return self._queue.fill

    @property
    def faults(self) -> list[Fault]:
        """What was wrong with the source."""
        return self._source.faults

    @property
    def account(self) -> CaptureLedger:
        """The packets captured and not handed on, by reason, and those handed on without payload."""
        shed = Counter(flow_sampling=self._queue.sampled_away, queue_full=self._queue.shed_taken)
        return CaptureLedger(shed.total(), shed=+shed, notes=+Counter(payload_shed=self.shedding.cut))

    def read(self) -> Iterator[PacketBlock]:
        """Yield what is kept of the source's packets. Its errors are raised here."""
        self.shedding.warm()
        self._thread.start()
        try:
            while (block := self._queue.get(BLOCK_ROWS)) is not None:
                yield block
            if self._error is not None:
                raise self._error
        finally:
            self._source.close()
            self._thread.join()

    def close(self) -> None:
        """Let no further packet in; `read` yields what is left and ends. May be called from a signal handler."""
        self._source.close()

    def _work(self) -> None:
        try:
            for block in self._limited():
                if self.shedding.update(self._queue.fill, time.monotonic()):
                    self._told(str(self.shedding))
                kept = self.shedding.apply(block)
                if self._recorder is not None:
                    self._recorder.put(kept)
                self._queue.put(kept)
        except BaseException as error:
            self._error = error
        finally:
            self._queue.end()

    def _limited(self) -> Iterator[PacketBlock]:
        """Yield the source's blocks until the time is up or there are enough packets."""
        begin, left = 0.0, self._until.packets or 1 << 62
        for number, block in enumerate(self._source.read()):
            if number == 0:
                begin = time.monotonic()
                self._begun()
            if self._until.duration_s and time.monotonic() - begin >= self._until.duration_s:
                self._source.close()
            if len(block) >= left:
                self._source.close()
                yield some_rows(block, slice(0, left))
                return
            left -= len(block)
            yield block
