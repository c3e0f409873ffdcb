"""Read the newest checkpoints of a partition back from the compacted topic."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from offramp.kafka import KafkaAccessError, KafkaSettings, TopicState, kafka_errors
from offramp.reach import patient_admin
from offramp.records import open_consumer
from offramp.stream.links.link_consumers import ELSEWHERE
from offramp.stream.topics.consume import records
from offramp.stream.topics.table import WAY_BACK
from offramp.stream.worker.checkpoint import decode_checkpoint

log = logging.getLogger("offramp.worker")


class LoadedStates(NamedTuple):
    """The state of each bundle that has a checkpoint, by name; the offset of the first message to take.

    refused: checkpoints that could not be read.
    """

    states: dict[str, dict[str, Any]]
    due: int
    refused: int = 0


COORDINATOR_S = 20.0
"""Seconds to wait for a group's coordinator: a cluster makes the topic of offsets when it is first asked for."""
TOPIC = "topic"
"""Key in a checkpoint: the id of the feature topic that its offset is of; older checkpoints have none."""


def load_states(
    settings: KafkaSettings, partition: int, site: str, bundles: frozenset[str], group: str, topic_id: str = ""
) -> LoadedStates:
    """Return what a new owner of a partition starts from: checkpoints of a site's bundles, and what `group` committed.

    Of several checkpoints the one with the greatest input offset counts: a worker that lost the partition may have
    written late. topic_id: of the feature topic now. An offset of a topic with another id, or one beyond the topic's
    end, does not apply: reading begins at the topic's beginning, and the newest such state counts where there is no
    other. A checkpoint that names no topic and is ahead of this one is left out.
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
            committed = place_of(consumer.committed(features, metadata=True), topic_id)
            # asked after that, so a place beyond them is none of this topic; each alone: asked for both, kafka-python
            # forgets the one where the other's leader is not known yet
            ends = {each: consumer.end_offsets([each])[each] for each in (place, features)}
            begins = consumer.beginning_offsets([features])[features]
            due = max(committed, begins) if committed <= ends[features] else begins

            def beyond(offset: int) -> bool:
                if offset > ends[features]:  # a former owner may have written it meanwhile
                    ends.update(consumer.end_offsets([features]))
                return bool(offset > ends[features])

            for record in records(consumer, {place: ends[place]}):
                refused += not _note(found, record, site, bundles, beyond, topic_id)
        finally:
            consumer.close()
    return LoadedStates(found, due, refused)


def place_of(committed: Any, topic_id: str) -> int:
    """Return the committed offset; 0 where there is none, or it is of a topic that has since been made again."""
    if committed is None or is_elsewhere(topic_named(committed.metadata).id, topic_id):
        return 0
    return int(committed.offset)


def naming(topic: TopicState) -> str:
    """Return the metadata committed with an offset: the topic's id, and how many partitions it has."""
    return f"{topic.id}/{topic.partitions}" if topic.id else ""


def topic_named(metadata: str | None) -> TopicState:
    """Return the topic in a committed offset's metadata; without id, or with no partitions, where it names none."""
    named, _, partitions = (metadata or "").partition("/")
    return TopicState(named, int(partitions) if partitions.isdecimal() and len(partitions) < 10 else 0)


def refuse_grown(settings: KafkaSettings, group: str, topic: TopicState) -> None:
    """Raise KafkaAccessError, with the remedy, where a group's offsets are of the topic with other partitions."""
    from kafka import TopicPartition

    name = settings.topic("features")
    with kafka_errors(settings, "worker"):
        admin = patient_admin(settings)
        try:
            places = [TopicPartition(name, number) for number in range(topic.partitions)]
            offsets = _patiently(lambda: admin.list_group_offsets({group: places})).get(group, {})
        finally:
            admin.close()
    had = {
        named.partitions for named in (topic_named(each.metadata) for each in offsets.values()) if named.id == topic.id
    }
    others = had - {0, topic.partitions}
    if others:
        raise KafkaAccessError(
            f"worker: {name} has {topic.partitions} partitions; when group {group} worked on it, it had "
            f"{max(others)} partitions: {WAY_BACK}"
        )


def is_elsewhere(named: str, topic_id: str) -> bool:
    """Return whether a topic id that was stored is another than `topic_id`; False where either is unknown."""
    return bool(named and topic_id and named != topic_id)


def _patiently(ask: Callable[[], Any]) -> Any:
    """Return the answer of the group's coordinator, which a new cluster does not have at once."""
    from kafka.errors import RetriableError

    until_s = time.monotonic() + COORDINATOR_S
    while True:
        try:
            return ask()
        except RetriableError:
            if time.monotonic() > until_s:
                raise
        time.sleep(0.2)


def _note(
    found: dict[str, dict[str, Any]], record: Any, site: str, bundles: frozenset[str], beyond: Callable[[int], bool],
    topic_id: str,
) -> bool:  # fmt: skip
    """Keep a checkpoint of the site that is newer than what was found; return whether it could be read.

    Only bundles of the site are kept: anybody may write any number of others.
    """
    owner, _, bundle = (record.key or b"").decode(errors="replace").partition("/")
    if owner != site or bundle not in bundles or not record.value:
        return True
    try:
        state = decode_checkpoint(record.value)
        offset, named = int(state["next_offset"]), str(state.get(TOPIC, ""))
    except Exception as error:  # whoever may write to the topic may write anything
        text = f"{type(error).__name__}: {error}"[:300]
        log.warning("checkpoint at offset %d of partition %d: left out: %s", record.offset, record.partition, text)
        return False
    before = found.get(bundle, {})
    better = not before or bool(before.get(ELSEWHERE))
    if is_elsewhere(named, topic_id):
        state = {**state, "next_offset": 0, ELSEWHERE: True}
    elif named and beyond(offset):  # the topic has lost its end: what comes again is known by its agent's sequence
        state = {**state, "next_offset": 0}
    else:
        better = (better or offset >= int(before["next_offset"])) and not beyond(offset)
    if better:
        found[bundle] = state
    return True
