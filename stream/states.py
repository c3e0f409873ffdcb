"""The newest checkpoints of a partition, read back from the compacted topic."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from offramp_kafka import KafkaSettings, kafka_errors
from offramp_records import open_consumer
from stream.checkpoint import decode_checkpoint

log = logging.getLogger("offramp.worker")


class Loaded(NamedTuple):
    """The state of each link that has a checkpoint, by name; the offset of the first message to take.

    refused: checkpoints that could not be read.
    """

    states: dict[str, dict[str, Any]]
    due: int
    refused: int = 0


def load_states(settings: KafkaSettings, partition: int, site: str, links: frozenset[str], group: str) -> Loaded:
    """Return what a new owner of a partition starts from: checkpoints of a site's links, and what `group` committed.

    Of several the one with the greatest input offset counts: a worker that lost the partition may have written late.
    One ahead of the feature topic belongs to a topic that was made anew, and is left out.
    """
    from kafka import TopicPartition

    found: dict[str, dict[str, Any]] = {}
    refused = 0
    with kafka_errors(settings, "worker: reading checkpoints"):
        consumer = open_consumer(**settings.client_arguments(), group_id=group, enable_auto_commit=False)
        try:
            place = TopicPartition(settings.topic("state"), partition)
            features = TopicPartition(settings.topic("features"), partition)
            consumer.assign([place])
            consumer.seek_to_beginning(place)
            ends = consumer.end_offsets([place, features])
            due = max(consumer.committed(features) or 0, consumer.beginning_offsets([features])[features])
            while consumer.position(place) < ends[place]:
                for record in consumer.poll(500).get(place, ()):
                    refused += not _note(found, record, site, links, ends[features])
        finally:
            consumer.close()
    return Loaded(found, due, refused)


def _note(found: dict[str, dict[str, Any]], record: Any, site: str, links: frozenset[str], end: int) -> bool:
    """Enter a checkpoint where it is of the site and newer than what was found; tell whether it could be read.

    Only links of the site have a place: what others there are may be as many as somebody likes.
    """
    owner, _, link = (record.key or b"").decode(errors="replace").partition("/")
    if owner != site or link not in links or not record.value:
        return True
    try:
        state = decode_checkpoint(record.value)
        offset = int(state["next_offset"])
    except Exception as error:  # whoever may write to the topic may write anything
        text = f"{type(error).__name__}: {error}"[:300]
        log.warning("checkpoint at offset %d of partition %d: left out: %s", record.offset, record.partition, text)
        return False
    if offset <= end and offset >= int(found.get(link, {}).get("next_offset", 0)):
        found[link] = state
    return True
