"""The newest checkpoints of a partition, read back from the compacted topic."""

from __future__ import annotations

import logging
from typing import Any

from offramp_errors import ContractError
from offramp_kafka import KafkaSettings, kafka_errors
from stream.checkpoint import decode_checkpoint

log = logging.getLogger("offramp.worker")


Loaded = tuple[dict[str, dict[str, Any]], int]
"""The state of each link that has a checkpoint, by name, and the offset of the first message to take."""


def load_states(settings: KafkaSettings, partition: int, site: str, group: str) -> Loaded:
    """Return what a new owner of a partition starts from: checkpoints of `site`, and the offset `group` committed.

    Of several the one with the greatest input offset counts: a worker that lost the partition may have written late.
    One ahead of the feature topic belongs to a topic that was made anew, and is left out.
    """
    from kafka import KafkaConsumer, TopicPartition

    found: dict[str, dict[str, Any]] = {}
    with kafka_errors(settings, "worker: reading checkpoints"):
        consumer = KafkaConsumer(**settings.client_arguments(), group_id=group, enable_auto_commit=False)
        try:
            place = TopicPartition(settings.topic("state"), partition)
            features = TopicPartition(settings.topic("features"), partition)
            consumer.assign([place])
            consumer.seek_to_beginning(place)
            ends = consumer.end_offsets([place, features])
            due = max(consumer.committed(features) or 0, consumer.beginning_offsets([features])[features])
            while consumer.position(place) < ends[place]:
                for record in consumer.poll(500).get(place, ()):
                    _note(found, record, site, ends[features])
        finally:
            consumer.close()
    return found, due


def _note(found: dict[str, dict[str, Any]], record: Any, site: str, end: int) -> None:
    """Enter a checkpoint where it is of the site and newer than what was found."""
    owner, _, link = (record.key or b"").decode(errors="replace").partition("/")
    if owner != site or not record.value:
        return
    try:
        state = decode_checkpoint(record.value)
        offset = int(state["next_offset"])
    except (ContractError, KeyError, TypeError, ValueError) as error:
        log.warning("checkpoint at offset %d of partition %d: %s", record.offset, record.partition, error)
        return
    if offset <= end and offset >= int(found.get(link, {}).get("next_offset", 0)):
        found[link] = state
