"""For the author of a controller: the commands of a site, each once, valid and in time; and how to acknowledge them.

    with DecisionClient("127.0.0.1:9092", controller="mine") as client:
        for command in client:
            ...  # carry it out where command["mode"] is "enforce"
            client.ack(command, "applied")

Needs kafka-python; loads no model and no compiled code.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from offramp.decision.acceptance import Acceptance, Clock
from offramp.decision.command import commands_frame, event_headers, rfc3339
from offramp.errors import ConfigError, ContractError
from offramp.hops import NONE, Hops, hops_of
from offramp.kafka import (
    KafkaAccessError,
    KafkaSettings,
    TopicState,
    kafka_errors,
    kafka_settings,
    require_name,
    topic_states,
)
from offramp.reach import ReachWatch
from offramp.records import open_consumer

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("offramp.decisions")
STATUSES = ("accepted", "applied", "rejected", "expired", "rolled_back")
ACK_S = 30.0
MAX_REASON = 1_000
"""Characters of an acknowledgement's reason; what is longer is cut."""
WITHHELD = {
    "expired": ("expired", "it had expired when it came"),
    "ahead": ("rejected", "it begins in the future by the clock here"),
}
"""Acknowledgements of commands that are new, but not given."""
METADATA_MS = 10_000
"""Greatest age of the consumer's metadata: a topic that was deleted and made again is then assigned anew."""


class DecisionClient:
    """Iterate it for commands as mappings (docs/decisions-contract.md).

    kafka: addresses or settings, else of the environment; controller: your name in acknowledgements, and the group of
    which each command reaches one member; start: `beginning` or `end` where the group has no offset yet; clock: what
    expiry is compared with, `wall`, or `stream` to follow recordings (decision.acceptance); idle_s: end after so long
    without a message.

    A command is counted as done when the next is asked for: the one that a controller had when it died comes again.
    `counts` has what was given and what was left out: repeat, superseded, expired, ahead, invalid; `hops` when each
    stage had the command given last (offramp.hops), and when it arrived here. What is left out as expired or ahead is
    acknowledged so; `unacknowledged` counts where that failed.
    """

    def __init__(
        self,
        kafka: str | KafkaSettings | None = None,
        *,
        controller: str,
        start: str = "end",
        clock: Clock = "wall",
        idle_s: float | None = None,
    ) -> None:
        if start not in ("beginning", "end"):
            raise ConfigError(f"start {start!r}: expected beginning or end")
        require_name("controller", controller)
        self.settings = kafka if isinstance(kafka, KafkaSettings) else kafka_settings(kafka)
        self.controller, self._start, self._idle_s = controller, start, idle_s
        self._acceptance = Acceptance(clock)
        self.hops: Hops = NONE
        self._consumer: Any = None
        self._producer: Any = None
        self._watch: ReachWatch | None = None
        self._topic = TopicState("", 0)
        self._anew = False

    @property
    def counts(self) -> Counter[str]:
        """How many messages got which verdict."""
        return self._acceptance.counts

    def open(self) -> DecisionClient:
        """Connect. Raise KafkaAccessError where no broker answers, it refuses us, or a topic is missing."""
        from kafka import KafkaProducer

        topics = topic_states(self.settings, "decisions", "decisions", "acks")
        self._topic = topics[self.settings.topic("decisions")]
        with kafka_errors(self.settings, "decisions"):
            self._producer = KafkaProducer(**self.settings.client_arguments(), acks="all")
            self._consumer = open_consumer(
                **self.settings.client_arguments(), enable_auto_commit=False,
                group_id=f"{self.settings.prefix}-controller-{self.controller}",
                auto_offset_reset="earliest" if self._start == "beginning" else "latest",
                metadata_max_age_ms=METADATA_MS,
            )  # fmt: skip
            self._subscribe(self._consumer)
        self._watch = ReachWatch(self.settings, "decisions", "decisions", tell=log.warning)
        self._watch.start()
        return self

    def close(self) -> None:
        """Disconnect, also while another thread iterates; the command given last comes again."""
        consumer, producer, self._consumer, self._producer = self._consumer, self._producer, None, None
        if self._watch is not None:
            self._watch.close()
        for client in (consumer, producer):
            if client is not None:
                with suppress(Exception):  # nothing is left to be sent, and the broker may be away
                    client.close()

    def __enter__(self) -> DecisionClient:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield commands until `close`, or until nothing came for `idle_s`."""
        quiet_since = time.monotonic()
        while (consumer := self._consumer) is not None:
            with self._until_closed():
                self._keep_up(consumer)
                found = consumer.poll(200)
            if self._consumer is None:
                return
            arrived_ns = time.time_ns()
            for place, records in found.items():
                for record in records:
                    command = self._accepted(record)
                    if command is not None:
                        self.hops = {**hops_of(record.headers or ()), "arrived": arrived_ns}
                        yield command
                    if self._consumer is None:
                        return
                    with self._until_closed():
                        self._done(consumer, place, record.offset + 1)
            if found:
                quiet_since = time.monotonic()
            elif self._idle_s is not None and time.monotonic() - quiet_since > self._idle_s:
                return

    def frame(self, count: int | None = None) -> pd.DataFrame:
        """Return the commands that come until nothing did for `idle_s`, or `count` of them, a row each.

        All but the last are then counted as done. Raises MissingExtraError where pandas is not installed, ConfigError
        where it would wait for ever.
        """
        if count is None and self._idle_s is None:
            raise ConfigError("a frame needs an end: give a count, or DecisionClient(idle_s=...)")
        return commands_frame(islice(self, count))

    def ack(self, command: Mapping[str, Any], status: str, reason: str = "") -> None:
        """Tell what became of a command: accepted, applied, rejected, expired or rolled_back; waits for the broker."""
        if status not in STATUSES:
            raise ContractError(f"acknowledgement {status!r}: expected one of {', '.join(STATUSES)}")
        now = rfc3339(time.time_ns())
        name = command["decision_id"]
        body = {"decision_id": name, "loop_id": command["loop_id"], "scope": command["scope"], "time": now,
                "controller": self.controller, "status": status, "reason": reason[:MAX_REASON]}  # fmt: skip
        attributes = {"id": f"{name}/{self.controller}/{status}", "type": "offramp.ack.v1",
                "source": f"/controller/{self.controller}", "subject": command["scope"], "time": now}  # fmt: skip
        value = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        producer = self._producer
        if producer is None:
            raise KafkaAccessError("acknowledgement: the client is not open")
        with kafka_errors(self.settings, "acknowledgement"):
            producer.send(self.settings.topic("acks"), value, command["scope"].encode(), event_headers(attributes)).get(
                ACK_S
            )

    def _keep_up(self, consumer: Any) -> None:
        """Read from its beginning a topic that was made again: a place in the former says nothing of it."""
        name = self.settings.topic("decisions")
        topic = self._watch.topics.get(name, self._topic) if self._watch is not None else self._topic
        if topic.id != self._topic.id:
            log.warning("%s was made again: read from its beginning", name)
            self._topic, self._anew = topic, True
            if not consumer.assignment():  # kafka-python gives a topic up for good that it once found gone
                consumer.unsubscribe()
                self._subscribe(consumer)
        if self._anew and consumer.assignment():
            consumer.seek_to_beginning(*consumer.assignment())
            self._anew = False

    def _subscribe(self, consumer: Any) -> None:
        """Join the group once the topic's partitions are known: else kafka-python may share out none, for good."""
        name = self.settings.topic("decisions")
        consumer.partitions_for_topic(name)
        consumer.subscribe([name])

    def _done(self, consumer: Any, place: Any, offset: int) -> None:
        from kafka.structs import OffsetAndMetadata

        consumer.commit_async({place: OffsetAndMetadata(offset, "", -1)})

    @contextmanager
    def _until_closed(self) -> Iterator[None]:
        """Raise KafkaAccessError where the body fails; not where another thread has closed the client meanwhile."""
        try:
            with kafka_errors(self.settings, "decisions"):
                yield
        except KafkaAccessError:
            if self._consumer is not None:
                raise

    def _accepted(self, record: Any) -> dict[str, Any] | None:
        """Return the command of a message, None where it is not to be carried out."""
        fate, command = self._acceptance.take(record.value, record.headers or (), record.timestamp * 1_000_000)
        if fate in WITHHELD:
            try:
                self.ack(command, *WITHHELD[fate])
            except KafkaAccessError:
                self.counts["unacknowledged"] += 1  # where the broker is away the next poll says so
        return command if fate == "given" else None
