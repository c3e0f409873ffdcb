"""A Kafka in memory that stands beside the real one: one partition a topic, groups with a place, what clients ask."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kafka.errors import KafkaConnectionError
from kafka.structs import OffsetAndMetadata, TopicPartition

from offramp.kafka import KafkaSettings, TopicState

Headers = Iterable[tuple[str, bytes]]


@dataclass
class FakeRecord:
    """A record as kafka-python's consumer gives it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp: int


@dataclass
class FakeKafka:
    """The topics' records by full name, and the places of groups.

    away: no broker answers; seen: what who asks again and again has found of topics.
    """

    records: dict[str, list[FakeRecord]] = field(default_factory=dict)
    places: dict[tuple[str, str], int] = field(default_factory=dict)
    away: bool = False
    seen: dict[str, TopicState] = field(default_factory=dict)

    def append(self, topic: str, value: bytes | None, key: bytes | None = None, headers: Headers = ()) -> None:
        """Put a record at the end of a topic."""
        found = self.records.setdefault(topic, [])
        found.append(FakeRecord(len(found), key, value, list(headers), time.time_ns() // 1_000_000))

    def states(self, settings: KafkaSettings, _: str, *names: str) -> dict[str, TopicState]:
        """Tell of topics as offramp.kafka.topic_states does."""
        return {settings.topic(name): TopicState("first life", 1) for name in names}

    def answer(self) -> None:
        """Raise as a client does whose broker is away."""
        if self.away:
            raise KafkaConnectionError("away")


@dataclass
class FakeWatch:
    """Asks nobody; `topics` is what it would have found."""

    topics: dict[str, TopicState]

    def start(self) -> None: ...

    def close(self) -> None: ...


@dataclass
class FakeProducer:
    """Acknowledges what it is given once its future is asked."""

    kafka: FakeKafka

    def send(self, topic: str, value: bytes, key: bytes, headers: Headers) -> FakeProducer:
        self.kafka.answer()
        self.kafka.append(topic, value, key, headers)
        return self

    def get(self, _timeout_s: float) -> None:
        self.kafka.answer()

    def close(self) -> None: ...


class FakeConsumer:
    """One that reads alone in its group, a few records at a time."""

    def __init__(self, kafka: FakeKafka, **options: Any) -> None:
        self._kafka, self._group = kafka, options["group_id"]
        self._begins = options["auto_offset_reset"] == "earliest"
        self._topics: list[str] = []
        self._next: dict[str, int] = {}

    def partitions_for_topic(self, _: str) -> set[int]:
        return {0}

    def subscribe(self, topics: list[str]) -> None:
        self._topics = topics
        for topic in topics:
            newest = 0 if self._begins else len(self._kafka.records.get(topic, []))
            self._next[topic] = self._kafka.places.get((self._group, topic), newest)

    def unsubscribe(self) -> None:
        self._topics = []

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(topic, 0) for topic in self._topics}

    def seek_to_beginning(self, *places: TopicPartition) -> None:
        self._next |= {place.topic: 0 for place in places}

    def poll(self, _timeout_ms: int, most: int = 3) -> dict[TopicPartition, list[FakeRecord]]:
        self._kafka.answer()
        found = {}
        for topic in self._topics:
            at = self._next[topic]
            records = self._kafka.records.get(topic, [])[at : at + most]
            if records:
                found[TopicPartition(topic, 0)] = records
                self._next[topic] = at + len(records)
        return found

    def commit_async(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        self._kafka.answer()
        for place, told in offsets.items():
            self._kafka.places[self._group, place.topic] = told.offset

    def close(self) -> None: ...
