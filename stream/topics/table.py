"""The topics: one table of names, keys, values, retention and compaction, and how they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from offramp.kafka import KafkaAccessError, KafkaSettings, close_client, kafka_errors, require_topics
from offramp.records import open_consumer

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic: its name without prefix and version, key, what it carries, and its settings beside the broker's."""

    name: str
    key: str
    about: str
    settings: Mapping[str, str] = field(default_factory=dict)


def _kept(milliseconds: int) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(milliseconds)}


TOPICS: tuple[Topic, ...] = (
    Topic("features", "site/bundle", "feature batches, Arrow IPC with headers", _kept(DAY_MS)),
    Topic("forecasts", "link", "forecasts, JSON", _kept(DAY_MS)),
    Topic("decisions", "scope", "commands, JSON", _kept(7 * DAY_MS)),
    Topic("acks", "scope", "what controllers did with commands, JSON", _kept(7 * DAY_MS)),
    Topic(
        "state",
        "site/bundle",
        "checkpoints of bundles, the newest of each is kept",
        # a late write of a worker that has lost the link must not hide the newer one: see docs/kafka.md
        {
            "cleanup.policy": "compact",
            "min.compaction.lag.ms": "60000",
            "min.cleanable.dirty.ratio": "0.1",
            "segment.ms": "600000",
            "segment.bytes": str(16 << 20),
        },
    ),
    Topic(
        "models",
        "site/link",
        "refined models: manifest, weights, normaliser",
        # the newest of each link outlives any time; the others stay longer than the rows they may have forecast
        {"cleanup.policy": "compact", "min.compaction.lag.ms": str(2 * DAY_MS)},
    ),
    Topic("dead-letters", "as the original", "messages that were refused, with the reason", _kept(14 * DAY_MS)),
)


WAY_BACK = (
    "partitions cannot be added to topics that are in use, nor taken away: make new topics under another `prefix`, or "
    "delete these and run `offramp topics create --partitions N` (docs/kafka.md, Partitions)"
)
"""What to do where the number of partitions has changed."""


PARTITIONS = 8
"""Of each topic, where nothing else is asked for: enough for a site of ten links (docs/capacity.md has larger ones)."""


def create_topics(settings: KafkaSettings, partitions: int | None, replicas: int) -> tuple[set[str], dict[str, int]]:
    """Make the topics that are missing; return the names of those that were, and how many partitions each has.

    All get the same number of partitions, as a link's checkpoints stand in the partition of its features. Raises
    KafkaAccessError.
    """
    from kafka import KafkaAdminClient

    with kafka_errors(settings, "topics create"):
        admin = KafkaAdminClient(**settings.client_arguments())
        try:
            there = set(admin.list_topics())
            wanted = {settings.topic(topic.name): topic for topic in TOPICS}
            missing = {
                name: {
                    "num_partitions": partitions or PARTITIONS,
                    "replication_factor": replicas,
                    "configs": dict(topic.settings),
                }
                for name, topic in wanted.items()
                if name not in there
            }
            if missing:
                admin.create_topics(missing, wait_for_metadata=True)
        finally:
            admin.close()
    found = require_topics(settings, "topics create", *(topic.name for topic in TOPICS))
    return set(missing), {name: found[name] for name in wanted}


class Partition(NamedTuple):
    """A partition as the cluster has it: leader, copies, copies that are up to date, first offset kept, next one."""

    number: int
    leader: int
    replicas: int
    in_sync: int
    first: int
    next: int


class Described(NamedTuple):
    """A topic as the cluster has it; no partitions: it is not there. differs: settings that are not the table's."""

    name: str
    partitions: list[Partition]
    differs: dict[str, str]

    @property
    def messages(self) -> int:
        """How many messages are kept; of a compacted topic, at most."""
        return sum(each.next - each.first for each in self.partitions)


def describe_topics(settings: KafkaSettings) -> list[Described]:
    """Return all topics of the table as the cluster has them. Raises KafkaAccessError."""
    from kafka import KafkaAdminClient, TopicPartition
    from kafka.admin import ConfigResource, ConfigResourceType

    wanted = {settings.topic(topic.name): topic for topic in TOPICS}
    out = []
    with kafka_errors(settings, "topics"):
        admin = KafkaAdminClient(**settings.client_arguments())
        consumer = open_consumer(**settings.client_arguments(), enable_auto_commit=False)
        try:
            there = {each["name"]: each["partitions"] for each in admin.describe_topics(list(wanted))}
            for name, topic in wanted.items():
                known = sorted(there.get(name, ()), key=lambda each: int(each["partition_index"]))
                places = [TopicPartition(name, each["partition_index"]) for each in known]
                first, end = (consumer.beginning_offsets(places), consumer.end_offsets(places)) if places else ({}, {})
                partitions = [
                    Partition(
                        place.partition, each["leader_id"], len(each["replica_nodes"]), len(each["isr_nodes"]),
                        first[place], end[place],
                    )
                    for place, each in zip(places, known, strict=True)
                ]  # fmt: skip
                differs = {}
                if places:
                    resource = ConfigResource(ConfigResourceType.TOPIC, name)
                    held = next(iter(admin.describe_configs([resource], config_filter="all").values()))[name]
                    differs = {
                        key: str(held[key]["value"])
                        for key, value in topic.settings.items()
                        if key in held and str(held[key]["value"]) != value
                    }
                out.append(Described(name, partitions, differs))
        finally:
            close_client(consumer)
            admin.close()
    return out


def refuse_unequal(settings: KafkaSettings, doing: str, features: int, state: int) -> None:
    """Raise KafkaAccessError, with the way back, where two topics have not the same number of partitions."""
    if features != state:
        raise KafkaAccessError(
            f"{doing}: {settings.topic('features')} has {features} partitions and {settings.topic('state')} {state}, "
            f"they need the same number: {WAY_BACK}"
        )
