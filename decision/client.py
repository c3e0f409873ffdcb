"""For the author of a controller: the commands of a site, each once, valid and in time; and how to acknowledge them.

    with DecisionClient("127.0.0.1:9092", controller="mine") as client:
        for command in client:
            ...  # carry it out where command["mode"] is "enforce"
            client.ack(command, "applied")

Needs kafka-python; loads no model and no compiled code.
"""

from __future__ import annotations

import json
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from decision.command import rfc3339, validate
from offramp_errors import ConfigError, ContractError
from offramp_hops import NONE, Hops, hops_of
from offramp_kafka import (
    KafkaRefusedError,
    KafkaSettings,
    kafka_errors,
    kafka_settings,
    require_name,
    require_topics,
)
from offramp_records import open_consumer

STATUSES = ("accepted", "applied", "rejected", "expired", "rolled_back")
REMEMBERED = 65_536
"""Ids of commands, and loops, that are remembered to know repeats."""
ACK_S = 30.0


class DecisionClient:
    """Iterate it for commands as mappings (docs/decisions-contract.md).

    kafka: addresses or settings, else of the environment; controller: your name in acknowledgements, and the group of
    which each command reaches one member; start: `beginning` or `end` where the group has no place yet; clock: gives ns
    since the epoch to hold expiry against, else the time of the stream; idle_s: end after so long without a message.

    A command is counted as done when the next is asked for: what was in hand when a controller dies comes again.
    `counts` tells what was given and what was left out: repeat, superseded, expired, invalid; unacknowledged: expired
    ones whose acknowledgement no broker would take; `hops` when each stage had the command given last (offramp_hops),
    and when it arrived here.
    """

    def __init__(
        self,
        kafka: str | KafkaSettings | None = None,
        *,
        controller: str,
        start: str = "end",
        clock: Callable[[], int] | None = None,
        idle_s: float | None = None,
    ) -> None:
        if start not in ("beginning", "end"):
            raise ConfigError(f"start {start!r}: expected beginning or end")
        require_name("controller", controller)
        self.settings = kafka if isinstance(kafka, KafkaSettings) else kafka_settings(kafka)
        self.controller, self.counts = controller, Counter[str]()
        self._start, self._clock, self._idle_s = start, clock, idle_s
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._last: OrderedDict[str, int] = OrderedDict()
        self.hops: Hops = NONE
        self._stream_ns = 0
        self._consumer: Any = None
        self._producer: Any = None

    def open(self) -> DecisionClient:
        """Connect. Raise KafkaAccessError where no broker answers, it refuses us, or a topic is missing."""
        from kafka import KafkaProducer

        require_topics(self.settings, "decisions", "decisions", "acks")
        with kafka_errors(self.settings, "decisions"):
            self._producer = KafkaProducer(**self.settings.client_arguments(), acks="all")
            self._consumer = open_consumer(
                self.settings.topic("decisions"), **self.settings.client_arguments(), enable_auto_commit=False,
                group_id=f"{self.settings.prefix}-controller-{self.controller}",
                auto_offset_reset="earliest" if self._start == "beginning" else "latest",
            )  # fmt: skip
        return self

    def close(self) -> None:
        """Let go of the broker; what was not asked beyond comes again."""
        for client in (self._consumer, self._producer):
            if client is not None:
                client.close()
        self._consumer = self._producer = None

    def __enter__(self) -> DecisionClient:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield commands until `close`, or until nothing came for `idle_s`."""
        quiet_since = time.monotonic()
        while self._consumer is not None:
            with kafka_errors(self.settings, "decisions"):
                found = self._consumer.poll(200)
            arrived_ns = time.time_ns()
            for place, records in found.items():
                for record in records:
                    command = self._accepted(record)
                    if command is not None:
                        self.hops = {**hops_of(record.headers or ()), "arrived": arrived_ns}
                        yield command
                    if self._consumer is None:
                        return
                    self._done(place, record.offset + 1)
            if found:
                quiet_since = time.monotonic()
            elif self._idle_s is not None and time.monotonic() - quiet_since > self._idle_s:
                return

    def ack(self, command: Mapping[str, Any], status: str, reason: str = "") -> None:
        """Tell what became of a command: accepted, applied, rejected, expired or rolled_back; waits for the broker."""
        if status not in STATUSES:
            raise ContractError(f"acknowledgement {status!r}: expected one of {', '.join(STATUSES)}")
        now = rfc3339(time.time_ns())
        name = command["decision_id"]
        body = {"decision_id": name, "loop_id": command["loop_id"], "scope": command["scope"], "time": now,
                "controller": self.controller, "status": status, "reason": reason}  # fmt: skip
        told = {"specversion": "1.0", "id": f"{name}/{self.controller}/{status}", "type": "offramp.ack.v1",
                "source": f"/controller/{self.controller}", "subject": command["scope"], "time": now}  # fmt: skip
        headers = [(f"ce_{key}", str(value).encode()) for key, value in told.items()]
        value = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        with kafka_errors(self.settings, "acknowledgement"):
            self._producer.send(
                self.settings.topic("acks"), value, command["scope"].encode(),
                [*headers, ("content-type", b"application/json")],
            ).get(ACK_S)  # fmt: skip

    def _done(self, place: Any, offset: int) -> None:
        from kafka.structs import OffsetAndMetadata

        with kafka_errors(self.settings, "decisions"):
            self._consumer.commit_async({place: OffsetAndMetadata(offset, "", -1)})

    def _accepted(self, record: Any) -> dict[str, Any] | None:
        """Return the command of a message, None where it is invalid, a repeat, superseded or expired."""
        try:
            command: dict[str, Any] = json.loads(record.value or b"")
            validate(command)
            begins, ends = time_ns(command["not_before"]), time_ns(command["expires_at"])
        except Exception:  # nothing that a message holds may end the controller
            self.counts["invalid"] += 1
            return None
        self._stream_ns = max(self._stream_ns, begins)
        fate = self._fate(command, ends)
        self.counts[fate] += 1
        if fate == "expired":
            try:
                self.ack(command, "expired", "it had expired when it came")
            except KafkaRefusedError:  # as large as the command, and so never taken
                self.counts["unacknowledged"] += 1
        return command if fate == "given" else None

    def _fate(self, command: Mapping[str, Any], ends_ns: int) -> str:
        if command["decision_id"] in self._seen:
            return "repeat"
        _remember(self._seen, command["decision_id"], None)
        if command["sequence"] <= self._last.get(command["loop_id"], 0):
            return "superseded"
        _remember(self._last, command["loop_id"], int(command["sequence"]))
        return "expired" if ends_ns <= (self._clock() if self._clock else self._stream_ns) else "given"


def _remember(memory: OrderedDict[str, Any], key: str, value: Any) -> None:
    """Enter what was heard of last, and forget what was not heard of for longest."""
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)


def time_ns(text: str) -> int:
    """Return an RFC 3339 time with up to nine decimals, in UTC, as ns since the epoch."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 1_000_000_000 + int(rest.ljust(9, "0") or 0)
