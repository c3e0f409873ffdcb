"""A batch of one partition's messages, in order: from their bytes to the messages to send for them.

It is processed in two steps, so that the model may be called for several batches at once: `to_steps` makes windows of
all messages, `apply` takes the predictions to the policy. Both run off the event loop.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from offramp.capture.message.decode import RefusedError, decode_message
from offramp.capture.message.mark import decode_mark
from offramp.hops import Hops
from offramp.kafka import MAX_BODY
from offramp.stream.links.link_consumer import conclude
from offramp.stream.links.link_consumers import LinkConsumers
from offramp.stream.pipeline.pipeline import Step
from offramp.stream.topics.cloud_events import command_message, forecast_messages
from offramp.stream.topics.records import OutgoingMessage, Record, pairs_of

if TYPE_CHECKING:
    from offramp.inference.forecast import Prediction

log = logging.getLogger("offramp.worker")

OPEN_ROWS = 16_384
"""Rows of windows from which on no further message is taken up until these are applied: 15 MB. Messages of sparse
packets, small as they are, close thousands of bins each."""


@dataclass(slots=True)
class MessageOutcome:
    """What became of a message: its bundle and link, empty where it is refused or another site's, and what to send.

    A mark has no link.

    rows: of the message; packet_ns: time of its last packet; shed_rows: its rows where it was shed, else -1.
    """

    offset: int
    bundle: str = ""
    link: str = ""
    rows: int = 0
    packet_ns: int = 0
    refused: str = ""
    commands: int = 0
    shed_rows: int = -1
    steps: list[Step] = field(default_factory=list)
    outgoing: list[OutgoingMessage] = field(default_factory=list)
    hops: Hops = field(default_factory=dict)


class MessageBatch:
    """Messages of one partition that are processed together; `outcomes` holds one for each when it is concluded."""

    def __init__(
        self,
        records: Sequence[Record],
        consumers: LinkConsumers,
        site: str,
        *,
        horizon_ms: int,
        forecasts: bool = True,
        shed: Collection[int] = (),
    ) -> None:
        """Build it; shed: the offsets of messages that are shed."""
        self.records, self.consumers, self.site = records, consumers, site
        self.size = sum(len(record.value or b"") for record in records)
        self.outcomes = [MessageOutcome(record.offset) for record in records]
        self._horizon_ms, self._forecasts, self._shed = horizon_ms, forecasts, shed
        self._fetched_ns = time.time_ns()
        self._opened = 0

    @property
    def done(self) -> bool:
        """Whether all messages have been opened."""
        return self._opened == len(self.records)

    def to_steps(self) -> list[Step]:
        """Decode the next messages and make their windows; return the steps to decide, in order.

        All messages, or as many as give about OPEN_ROWS rows: conclude them, and call it again until it is `done`.
        """
        begun_ns = time.time_ns()
        first, rows = self._opened, 0
        while not self.done and rows < OPEN_ROWS:
            record, outcome = self.records[self._opened], self.outcomes[self._opened]
            self._opened += 1
            try:
                self._steps_of(record, outcome, begun_ns)
            except RefusedError as error:
                bury(outcome, record, error.reason, str(error))
            except Exception as error:  # nothing that a message holds may end the worker
                fail(outcome, record, error)
            rows += sum(step.rows for step in outcome.steps)
        return [step for outcome in self.outcomes[first : self._opened] for step in outcome.steps]

    def _steps_of(self, record: Record, outcome: MessageOutcome, begun_ns: int) -> None:
        shed, pairs = record.offset in self._shed, pairs_of(record.headers)
        mark = decode_mark(pairs, record.value)
        if mark is not None:
            if mark.site == self.site:
                bundle = self.consumers.of_mark(mark, record.key)
                outcome.steps, outcome.bundle = bundle.note(mark, record.offset), bundle.name
            return
        message = decode_message(record.key, pairs, record.value, site=self.site, shed=shed)
        if message is None:
            return
        own = {"fetched": self._fetched_ns, "begun": begun_ns, "decoded": time.time_ns()}
        newest = {"packet": message.headers.last_time_ns} if message.headers.last_time_ns else {}  # a clock has none
        outcome.hops = {**newest, **message.headers.hops, **own}
        bundle = self.consumers.of(message)
        outcome.steps, outcome.bundle = bundle.accept(message, record.offset), bundle.name
        outcome.link, outcome.rows = message.link, message.headers.rows
        outcome.packet_ns = bundle.links[message.link].packet_ns
        outcome.shed_rows = message.headers.rows if message.shed else -1

    def apply(self, predictions: Sequence[Sequence[Prediction]] | Exception) -> None:
        """Decide the opened messages with the predictions for each step; given an error instead, fail them."""
        start = 0
        for record, outcome in zip(self.records, self.outcomes, strict=True):
            steps, outcome.steps = outcome.steps, []
            if not steps:
                continue
            try:
                if isinstance(predictions, Exception):
                    raise predictions
                self._decide(outcome, steps, predictions[start : start + len(steps)])
            except Exception as error:
                self.consumers.take_timelines()
                fail(outcome, record, error)
            start += len(steps)

    def _decide(
        self, outcome: MessageOutcome, steps: Sequence[Step], predictions: Sequence[Sequence[Prediction]]
    ) -> None:
        commands = conclude(steps, predictions)
        outcome.commands = len(commands)
        hops = {**outcome.hops, "decided": time.time_ns()}
        outcome.outgoing = [
            OutgoingMessage("decisions", *command_message(command, self.site), hops, packet_ns=outcome.packet_ns)
            for command in commands
        ]
        timelines = self.consumers.take_timelines()
        if self._forecasts:
            messages = forecast_messages(timelines, self.site, self._horizon_ms)
            outcome.outgoing += [OutgoingMessage("forecasts", *each) for each in messages]


def fail(outcome: MessageOutcome, record: Record, error: Exception) -> None:
    """Turn a message that could be read but not processed into a dead letter, and log it."""
    at = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({Path(frame.filename).name}:{frame.lineno})" for frame in at)
    text = f"{type(error).__name__}: {error}"[:1_000]
    log.error("message at partition %d, offset %d: %s%s", record.partition, record.offset, text, where)
    bury(outcome, record, "failed", text)


def bury(outcome: MessageOutcome, record: Record, reason: str, text: str) -> None:
    """Turn a message into a dead letter with the reason; nothing else results from it."""
    outcome.bundle, outcome.link, outcome.refused, outcome.commands, outcome.steps = "", "", reason, 0, []
    origin = {"topic": "features", "partition": record.partition, "offset": record.offset}
    outcome.outgoing = [dead_letter(record.key, record.value, origin, reason, text)]


def dead_letter(
    key: bytes | None, value: bytes | None, origin: Mapping[str, object], reason: str, text: str
) -> OutgoingMessage:
    """Return the dead letter of a message, cut to what a broker takes; origin: where it was, or was to go."""
    members = {**origin, "reason": reason, "error": text[:1_000], "bytes": len(value or b"")}
    headers = [(f"dead_{name}", str(each).encode(errors="replace")) for name, each in members.items()]
    return OutgoingMessage("dead-letters", (key or b"")[:1_000], (value or b"")[:MAX_BODY], headers)
