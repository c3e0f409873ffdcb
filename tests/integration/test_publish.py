"""The publisher against a real broker: order, restarts, a broker that stays away, overload, and what it refuses."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import typer

from deploy.kafka.broker import Broker
from offramp.capture.ledger import CaptureLedger
from offramp.capture.message.decode import FeatureMessage
from offramp.capture.publish.publisher import Publisher
from offramp.capture.publish.spool import Spool
from offramp.cli.topics import CreateOptions, DescribeOptions, ListOptions, create, describe, list_
from offramp.errors import OfframpError
from offramp.kafka import KafkaAccessError, KafkaSettings
from offramp.stream.topics.table import TOPICS
from tests.integration.topic_messages import messages
from tests.support.random_batches import random_batch
from tests.support.workers import SOAK

PARTITIONS = 2


def restartable(broker: Broker) -> Broker:
    if os.environ.get("OFFRAMP_KAFKA"):
        pytest.skip("OFFRAMP_KAFKA names a cluster that tests may not restart")
    return broker


def publisher(settings: KafkaSettings, **more: Any) -> Publisher:
    made = Publisher(settings, site="lab", agent="tap", epoch=5, **more)
    made.start()
    return made


def batches(count: int, rows: int = 400) -> Iterator[pa.RecordBatch]:
    whole = random_batch(rows)
    for number in range(count):
        told = CaptureLedger(rows, rows).as_dict()
        yield whole.slice(0, rows - number % 7).replace_schema_metadata({"ledger": str(told).replace("'", '"')})


def sequences(found: list[FeatureMessage], link: str) -> list[int]:
    return [message.headers.sequence for message in found if message.link == link]


def test_topics_are_made_once_and_listed(
    kafka: KafkaSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "kafka.toml"
    config.write_text(f'prefix = "{kafka.prefix}"\n')
    with pytest.raises(typer.Exit):
        list_(ListOptions(kafka=kafka.shown, kafka_config=config))
    assert capsys.readouterr().out.count("missing") == len(TOPICS)
    asked = CreateOptions(kafka=kafka.shown, kafka_config=config, partitions=2)
    create(asked)
    assert capsys.readouterr().err.count("created, 2 partitions") == len(TOPICS)
    create(replace(asked, partitions=3))
    assert capsys.readouterr().err.count("is there, 2 partitions") == len(TOPICS)
    list_(ListOptions(kafka=kafka.shown, kafka_config=config))
    listed = capsys.readouterr().out.splitlines()[1:]
    assert [line.split() for line in listed] == [[kafka.topic(topic.name), "2", "1", "0"] for topic in TOPICS]
    describe(DescribeOptions(kafka=kafka.shown, kafka_config=config, topics=("state",)))
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{kafka.topic('state')}: 0 messages"
    assert len(told) == 3
    assert all(line.endswith("1 of 1 copies up to date  offsets 0 to 0") for line in told[1:])
    from kafka import KafkaAdminClient
    from kafka.admin import ConfigResource, ConfigResourceType

    admin = KafkaAdminClient(**kafka.client_arguments())
    found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, kafka.topic("state"))])
    admin.close()
    assert "compact" in str(found)


def test_rows_arrive_in_order_and_the_ledger_closes(topics: KafkaSettings) -> None:
    out = publisher(topics, message_limit=40_000)
    sent: dict[str, list[int]] = {"a": [], "b": []}
    for number, batch in enumerate(batches(20)):
        link = "ab"[number % 2]
        sent[link].append(batch.replace_schema_metadata(None))
        out.publish(link, batch)
    out.end("a")
    assert out.close()
    found = messages(topics)
    for link, expected in sent.items():
        own = [message for message in found if message.link == link]
        assert sequences(found, link) == list(range(len(own)))
        rows = pa.Table.from_batches([m.batch.replace_schema_metadata(None) for m in own if m.batch is not None])
        assert rows.combine_chunks().equals(pa.Table.from_batches(expected).combine_chunks())
        assert sum(message.headers.ledger["captured"] for message in own) == 400 * len(expected)
    assert [message.headers.end for message in found if message.link == "a"][-1]
    assert out.ledger.rows == out.ledger.rows_acknowledged == sum(message.headers.rows for message in found)
    assert out.ledger.messages == out.ledger.acknowledged == len(found) > 21


def test_a_restart_of_the_broker_loses_and_repeats_nothing(broker: Broker, topics: KafkaSettings) -> None:
    restartable(broker)
    out = publisher(topics, window_bytes=1 << 18, queue_bytes=1 << 19)

    def restart() -> None:
        for number in range(1, 11 if SOAK else 2):
            broker.restart(crash=bool(number % 2))

    restarts = threading.Thread(target=restart)
    restarts.start()
    count = 0
    while restarts.is_alive() or count < 200:
        for batch in batches(5):
            out.publish("a", batch)
            count += 1
            time.sleep(0.002)
    restarts.join()
    out.end("a")
    assert out.close()
    assert sequences(messages(topics), "a") == list(range(count + 1))


def test_an_absent_broker_is_waited_for_shed_for_or_spooled_for(
    broker: Broker, topics: KafkaSettings, tmp_path: Path
) -> None:
    """A file waits; a live source sheds the oldest and says so; with a spool nothing is shed, and the order stays."""
    restartable(broker)
    bounds = {"window_bytes": 1 << 17, "queue_bytes": 1 << 18}
    file = publisher(topics, **bounds)
    live = publisher(topics, live=True, **bounds)
    spool = Spool(tmp_path, 64 << 20, segment_bytes=1 << 18)
    spooled = publisher(topics, live=True, spool=spool, **bounds)
    broker.stop()
    done = threading.Event()

    def work() -> None:
        for batch in batches(60):
            file.publish("file", batch)
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    for batch in batches(60):
        live.publish("live", batch)
        spooled.publish("spooled", batch)
    waits, on_disk = not done.wait(1.0), spool.size
    bounded = [out._queued <= 1 << 18 and out._under_way <= (1 << 17) + 100_000 for out in (file, live, spooled)]
    broker.start()
    worker.join()
    for batch in batches(3):
        live.publish("live", batch)
        spooled.publish("spooled", batch)
    live.end("live")
    assert file.close()
    assert live.close()
    assert spooled.close()
    found = messages(topics)
    assert waits
    assert all(bounded)
    assert sequences(found, "file") == list(range(60))
    assert sequences(found, "spooled") == list(range(63))
    assert on_disk > 1 << 18
    assert (spooled.ledger.shed, file.ledger.shed) == (0, 0)
    assert spooled.ledger.spooled > 30
    kinds = {link: [message.headers.live for message in found if message.link == link] for link in ("file", "live")}
    assert kinds == {"file": [False] * 60, "live": [True] * len(kinds["live"])}
    assert sum(not message.headers.live for message in found if message.link == "spooled") == spooled.ledger.spooled
    assert not list(tmp_path.glob("*.spool"))
    told = [message.headers.ledger for message in found if message.link == "live"]
    assert sequences(found, "live") == list(range(len(told)))
    assert sum(ledger["captured"] for ledger in told) == 63 * 400
    assert sum(ledger["shed"].get("publish_backlog", 0) for ledger in told) == live.ledger.shed * 400
    assert 0 < live.ledger.shed < 60
    assert live.ledger.rows == live.ledger.rows_acknowledged + live.ledger.rows_shed


def test_what_a_spool_holds_outlives_the_agent(broker: Broker, topics: KafkaSettings, tmp_path: Path) -> None:
    restartable(broker)
    out = publisher(topics, live=True, spool=Spool(tmp_path, 64 << 20), window_bytes=1 << 17, queue_bytes=1 << 18)
    broker.stop()
    for batch in batches(40):
        out.publish("a", batch)
    assert not out.close(patience_s=0.2)
    assert list(tmp_path.glob("*.spool"))
    second = Publisher(topics, site="lab", agent="tap", epoch=6, live=True, spool=Spool(tmp_path, 64 << 20))
    broker.start()
    second.start()
    for batch in batches(5):
        second.publish("a", batch)
    assert second.close()
    found = messages(topics)
    told = dict.fromkeys((message.headers.agent_epoch, message.headers.sequence) for message in found)
    assert list(told) == [*((5, number) for number in range(40)), *((6, number) for number in range(5))]
    assert not list(tmp_path.glob("*.spool"))


def test_closing_while_the_client_waits_for_a_broker_ends_in_order(
    broker: Broker, topics: KafkaSettings, tmp_path: Path
) -> None:
    """The client then raises what it likes in the sending thread; what is left is in the spool."""
    restartable(broker)
    out = publisher(topics, live=True, spool=Spool(tmp_path, 64 << 20))
    broker.stop()
    try:
        for batch in batches(4):
            out.publish("a", batch)
        assert not out.close(patience_s=0.5)  # it has not learnt of the topic's partitions, and waits for that
        out._thread.join(60)
        assert not out._thread.is_alive()
        assert out.ledger.spooled == 4
    finally:
        broker.start()
    second = Publisher(topics, site="lab", agent="tap", epoch=6, live=True, spool=Spool(tmp_path, 64 << 20))
    second.start()
    assert second.close()
    assert sequences(messages(topics), "a") == list(range(4))


def test_a_missing_topic_is_named(kafka: KafkaSettings) -> None:
    with pytest.raises(KafkaAccessError, match="offramp topics create"):
        publisher(kafka)


def test_a_broker_that_takes_smaller_messages_ends_it_with_a_reason(topics: KafkaSettings) -> None:
    from kafka import KafkaAdminClient
    from kafka.admin import ConfigResource, ConfigResourceType

    admin = KafkaAdminClient(**topics.client_arguments())
    admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topics.topic("features"), {"max.message.bytes": "9000"})]
    )
    admin.close()
    out = publisher(topics)
    for batch in batches(1):
        out.publish("a", batch)
    with pytest.raises(OfframpError, match="no message that large"):
        out.close()
