"""Read the newest model of each link from the topic `models`, and publish another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from offramp.errors import ContractError
from offramp.kafka import KafkaSettings, close_client, kafka_errors, require_topics
from offramp.records import open_consumer
from offramp.stream.topics.consume import records
from offramp.stream.topics.model_message import ModelMessage, decode_model, encode_model
from offramp.streams import tell

SEND_S = 30.0
MAX_MODELS = 1_024
"""Links whose models are held at once: at 0.4 MB each that is as much memory as an average may take."""


def newest_models(
    settings: KafkaSettings, doing: str, sites: frozenset[str] = frozenset(), links: frozenset[str] = frozenset()
) -> dict[str, ModelMessage]:
    """Return the newest model of each site/link, of those named where some are; keys are in order.

    A message that cannot be read is reported on standard error and left out: the one before it counts. So are models of
    more than MAX_MODELS links.
    """
    partitions = require_topics(settings, doing, "models")[settings.topic("models")]
    found: dict[str, ModelMessage] = {}
    left = 0
    with kafka_errors(settings, doing):
        from kafka import TopicPartition

        consumer = open_consumer(**settings.client_arguments(), enable_auto_commit=False)
        try:
            places = [TopicPartition(settings.topic("models"), number) for number in range(partitions)]
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            for record in records(consumer, consumer.end_offsets(places)):
                left += not _note(found, record, sites, links)
        finally:
            close_client(consumer)
    if left:
        tell(f"warning: {doing}: {left} models left out: of more than {MAX_MODELS} links")
    return dict(sorted(found.items()))


def _note(found: dict[str, ModelMessage], record: Any, sites: frozenset[str], links: frozenset[str]) -> bool:
    """Keep a record's model where it is of the sites and links asked for; return whether there was room for it."""
    model = readable(record)
    if model is None or (sites and model.site not in sites) or (links and model.link not in links):
        return True
    place = f"{model.site}/{model.link}"
    if place not in found and len(found) >= MAX_MODELS:
        return False
    found[place] = model
    return True


def readable(record: Any) -> ModelMessage | None:
    """Return a record's model; None, reported on standard error, where it breaks its contract."""
    try:
        return decode_model(record.key, record.headers or (), record.value)
    except Exception as error:  # nothing that a message holds may end its reader
        text = str(error) if isinstance(error, ContractError) else f"{type(error).__name__}: {error}"
        tell(f"warning: {record.topic}/{record.partition}/{record.offset}: {text}")
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
        close_client(producer, timeout=1)  # all that was published is acknowledged
