"""Metrics of a worker's partitions, per message: counts by link, durations, the time from packet to decision.

All calls come from the event loop's thread, once per message, command or checkpoint. The counts are this process's
alone: what a link's checkpoint brings along was counted by the worker before.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from offramp.stream.metrics.table import Observe, unobserved
from offramp.stream.pipeline.ledger import StreamLedger

if TYPE_CHECKING:
    from offramp.stream.links.link_consumer import LinkConsumer
    from offramp.stream.topics.records import OutgoingMessage


@dataclass(slots=True)
class LinkWork:
    """What this process did for a link; intake: counts of IntakeLedger by name; packet_ns: time of its last packet."""

    intake: Counter[str] = field(default_factory=Counter)
    stream: StreamLedger = field(default_factory=StreamLedger)
    packet_ns: int = 0


class PartitionMeter:
    """Records the metrics of all partitions of a worker; `observe` gets the values of histograms.

    links: what was done, by link; sent_messages, sent_bytes: what was acknowledged, by topic.
    """

    def __init__(self, observe: Observe = unobserved) -> None:
        self.links: dict[str, LinkWork] = {}
        self.sent_messages, self.sent_bytes = Counter[str](), Counter[str]()
        self._observe = observe

    def worked(self, consumer: LinkConsumer, rows: int, begun_s: float) -> None:
        """Record that a message of a link is done; begun_s: when it was begun, by the monotonic clock."""
        intake, stream = consumer.take_delta()
        work = self.links.setdefault(consumer.link, LinkWork())
        work.intake.update(intake.as_dict())
        work.stream.add(stream)
        work.packet_ns = consumer.packet_ns
        self._observe("offramp_worker_message_rows", rows)
        self._observe("offramp_worker_message_seconds", time.monotonic() - begun_s)

    def checkpointed(self, begun_s: float) -> None:
        """Record that a checkpoint is written and committed."""
        self._observe("offramp_worker_checkpoint_seconds", time.monotonic() - begun_s)

    def acknowledged(self, message: OutgoingMessage, future: asyncio.Future[Any]) -> None:
        """Record that the broker has a message, unless its future failed or was cancelled."""
        if future.cancelled() or future.exception() is not None:
            return
        self.sent_messages[message.topic] += 1
        self.sent_bytes[message.topic] += len(message.value)
        if message.topic == "decisions":
            self._observe("offramp_packet_to_decision_seconds", time.time() - message.packet_ns / 1e9)
