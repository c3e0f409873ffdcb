"""A worker that stood still, and lost its partition meanwhile, must not win with the checkpoint it writes late."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from bench.service import site_file
from offramp.kafka import KafkaSettings
from offramp.stream.worker.checkpoint import decode_checkpoint, encode_checkpoint
from offramp.stream.worker.checkpoint_reader import load_states
from tests.integration.until import until
from tests.support.scrape import scrape, scrape_until, url_in
from tests.support.workers import (
    SOAK,
    Decisions,
    WorkerProcess,
    demo_batches,
    expected,
    publisher_of,
    workers,
)

LINKS = frozenset(("uplink0", "a", "b", "c", "0", "1"))


def checkpoints(settings: KafkaSettings) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the state topic holds now, in order: key and state."""
    consumer = KafkaConsumer(**settings.client_arguments())
    place = TopicPartition(settings.topic("state"), 0)
    consumer.assign([place])
    consumer.seek_to_beginning(place)
    end = consumer.end_offsets([place])[place]
    while consumer.position(place) < end:
        for record in consumer.poll(500).get(place, ()):
            yield record.key.decode(), decode_checkpoint(record.value)
    consumer.close()


def test_a_worker_that_stood_still_writes_nothing_behind_its_successor(topics: KafkaSettings, tmp_path: Path) -> None:
    """It wakes with messages taken and no checkpoint of them, long after another took over and went on."""
    site, path = site_file(1, tmp_path)
    parts = [batch.slice(at, 300) for batch in demo_batches(300) for at in range(0, batch.num_rows, 300)]
    third = len(parts) // 3
    decisions, out = Decisions(topics), publisher_of(topics)
    group, features = f"{topics.prefix}-{site.name}", TopicPartition(topics.topic("features"), 0)
    consumer = KafkaConsumer(**topics.client_arguments(), group_id=group)
    first = WorkerProcess(topics, path, tmp_path / "first.log", "--checkpoint", "3", "--metrics", "0")
    with workers(first) as running:
        for part in parts[:third]:
            out.publish("uplink0", part)
        until(lambda: consumer.committed(features))
        for part in parts[third : 2 * third]:
            out.publish("uplink0", part)
        rows = sum(part.num_rows for part in parts[: 2 * third])
        first_url = url_in(first.log)  # once they are taken the next checkpoint is some two seconds off
        scrape_until(first_url, lambda found: found.get(("offramp_stream_rows_total", "uplink0")) == rows)
        first.process.send_signal(signal.SIGSTOP)
        second = WorkerProcess(topics, path, tmp_path / "second.log", "--metrics", "0")
        running.append(second)
        for part in parts[2 * third :]:
            out.publish("uplink0", part)
        out.end("uplink0")
        assert out.close()
        decisions.wait_for(expected(site))
        end = consumer.end_offsets([features])[features]
        until(lambda: consumer.committed(features) == end)
        before = len(list(checkpoints(topics)))
        first.process.send_signal(signal.SIGCONT)
        urls = (first_url, url_in(second.log))
        until(lambda: sum(scrape(url)["offramp_worker_partitions",] for url in urls) == 1)  # it has seen its loss
        second.stop()
        first.stop()
        found = list(checkpoints(topics))
    decisions.close()
    consumer.close()
    offsets = [state["next_offset"] for _, state in found]
    assert before >= 2
    assert offsets == sorted(offsets)
    state = load_states(topics, 0, site.name, LINKS, group)[0]["uplink0"]
    assert (state["next_offset"], state["links"]["uplink0"]["intake"]["rows"]) == (
        end,
        sum(part.num_rows for part in parts),
    )


def test_the_greatest_input_offset_counts_whatever_was_written_last(topics: KafkaSettings) -> None:
    """Should one slip through all the same; one ahead of the feature topic is of a topic that was made anew."""
    producer = KafkaProducer(**topics.client_arguments())

    def write(link: str, offset: int) -> None:
        value = encode_checkpoint({"next_offset": offset, "array": np.arange(offset)})
        producer.send(topics.topic("state"), value, f"lab/{link}".encode(), partition=0).get(30)

    for _ in range(100):
        producer.send(topics.topic("features"), b"x", b"uplink", partition=0)
    for link, offset in (("a", 60), ("a", 100), ("a", 60), ("b", 7), ("b", 101), ("c", 3)):
        write(link, offset)
    producer.send(topics.topic("state"), b"garbage", b"lab/a", partition=0).get(30)
    producer.send(topics.topic("state"), None, b"lab/c", partition=0).get(30)
    producer.close()
    states, due, _ = load_states(topics, 0, "lab", LINKS, "nobody")
    assert {link: state["next_offset"] for link, state in states.items()} == {"a": 100, "b": 7, "c": 3}
    assert states["a"]["array"].tolist() == list(range(100))
    assert due == 0


@pytest.mark.skipif(not SOAK, reason="beyond CI: the broker compacts after half a minute; in `make soak`")
def test_compaction_keeps_what_a_new_owner_needs(topics: KafkaSettings) -> None:
    from kafka import KafkaAdminClient
    from kafka.admin import ConfigResource, ConfigResourceType

    eager = {"min.compaction.lag.ms": "0", "segment.ms": "500", "min.cleanable.dirty.ratio": "0.01"}
    admin = KafkaAdminClient(**topics.client_arguments())
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topics.topic("state"), eager)])
    admin.close()
    producer = KafkaProducer(**topics.client_arguments())
    for _ in range(100):
        producer.send(topics.topic("features"), b"x", b"uplink", partition=0)
    for offset in range(100):
        value = encode_checkpoint({"next_offset": offset})
        producer.send(topics.topic("state"), value, f"lab/{offset % 2}".encode(), partition=0).get(30)

    def compacted() -> bool:
        producer.send(topics.topic("state"), value, b"elsewhere/x", partition=0).get(30)  # rolls the segment
        return sum(key.startswith("lab/") for key, _ in checkpoints(topics)) == 2

    until(compacted)
    producer.close()
    states, _, _ = load_states(topics, 0, "lab", LINKS, "nobody")
    assert {link: state["next_offset"] for link, state in states.items()} == {"0": 98, "1": 99}
