"""The topic `models` as its users see it: the newest model of each link, and a way to put another there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from offramp_errors import ContractError
from offramp_kafka import KafkaSettings, close_client, kafka_errors, require_topics
from stream.model_messages import ModelMessage, decode_model, encode_model

SEND_S = 30.0


def newest_models(settings: KafkaSettings, doing: str, sites: frozenset[str] = frozenset()) -> dict[str, ModelMessage]:
    """Return the newest model of each site/link of some sites, of all where none are named; keys are in order.

    A message that cannot be read is told on standard error and left out: the one before it counts.
    """
    partitions = require_topics(settings, doing, "models")[settings.topic("models")]
    found: dict[str, ModelMessage] = {}
    with kafka_errors(settings, doing):
        from kafka import KafkaConsumer, TopicPartition

        consumer = KafkaConsumer(**settings.client_arguments(), enable_auto_commit=False)
        try:
            places = [TopicPartition(settings.topic("models"), number) for number in range(partitions)]
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            ends = consumer.end_offsets(places)
            while any(consumer.position(place) < ends[place] for place in places):
                for records in consumer.poll(500).values():
                    for record in records:
                        model = readable(record)
                        if model is not None and (not sites or model.site in sites):
                            found[f"{model.site}/{model.link}"] = model
        finally:
            close_client(consumer)
    return dict(sorted(found.items()))


def readable(record: Any) -> ModelMessage | None:
    """Return a record's model; None, told on standard error, where it breaks its contract."""
    try:
        return decode_model(record.key, record.headers, record.value)
    except ContractError as error:
        print(f"warning: {record.topic}/{record.partition}/{record.offset}: {error}", file=sys.stderr, flush=True)
        return None


class ModelPublisher:
    """Puts models to the topic; `publish` returns when the broker has acknowledged."""

    def __init__(self, settings: KafkaSettings, producer: Any, doing: str) -> None:
        self._settings, self._producer, self._doing = settings, producer, doing

    def publish(
        self, site: str, link: str, folder: Path, sha: str, *, base: str, reason: str, serves_from: int
    ) -> None:
        """Publish the artifact in a folder. Raises KafkaAccessError, and ArtifactError where it is too large."""
        key, value, headers = encode_model(site, link, folder, sha, base, reason, serves_from)
        with kafka_errors(self._settings, self._doing):
            self._producer.send(self._settings.topic("models"), value, key, headers).get(SEND_S)


@contextmanager
def model_publisher(settings: KafkaSettings, doing: str) -> Iterator[ModelPublisher]:
    """Open a publisher for the body."""
    with kafka_errors(settings, doing):
        from kafka import KafkaProducer

        producer = KafkaProducer(**settings.client_arguments(), acks="all")
    try:
        yield ModelPublisher(settings, producer, doing)
    finally:
        close_client(producer, timeout=5)
