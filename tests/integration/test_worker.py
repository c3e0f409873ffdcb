"""The service with real brokers and workers as processes: nothing missing, nothing different, whatever is killed."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from kafka import KafkaProducer

from bench.service import site_file
from deploy.kafka.broker import Broker
from offramp.capture.message.encode import FeatureHeaders, encode_batch, times_of
from offramp.decision.site import Site
from offramp.kafka import KafkaSettings
from tests.support.random_batches import bomb, random_batch
from tests.support.scrape import scrape_until, url_in
from tests.support.workers import (
    SOAK,
    Decisions,
    WorkerProcess,
    demo_batches,
    expected,
    publisher_of,
    workers,
)

LINKS = 8 if SOAK else 4


PARTITIONS = LINKS


@pytest.fixture
def decisions(topics: KafkaSettings) -> Iterator[Decisions]:
    made = Decisions(topics)
    yield made
    made.close()


@pytest.fixture(scope="module")
def traffic() -> list[pa.RecordBatch]:
    """The demo in messages of 300 rows."""
    return [batch.slice(at, 300) for batch in demo_batches(300) for at in range(0, batch.num_rows, 300)]


def publish_all(
    settings: KafkaSettings,
    site: Site,
    batches: list[pa.RecordBatch],
    pause_s: float = 0.0,
    done: threading.Event | None = None,
    halfway: threading.Event | None = None,
) -> None:
    """All links' messages, in turn, then their ends; halfway: what is waited for before the second half."""
    out = publisher_of(settings)
    for number, batch in enumerate(batches):
        if halfway is not None and number == len(batches) // 2:
            assert halfway.wait(120)
        for link in site.links:
            out.publish(link.name, batch)
        time.sleep(pause_s)
    for link in site.links:
        out.end(link.name)
    assert out.close()
    if done is not None:
        done.set()


@pytest.mark.parametrize("count", [1, 2, 4] if SOAK else [2])
def test_the_commands_are_those_of_replay(
    count: int, topics: KafkaSettings, decisions: Decisions, traffic: list[pa.RecordBatch], tmp_path: Path
) -> None:
    site, path = site_file(LINKS, tmp_path)
    wanted = expected(site)
    assert all(wanted.values())
    with workers(*(WorkerProcess(topics, path, tmp_path / f"w{n}.log") for n in range(count))) as running:
        publish_all(topics, site, traffic)
        decisions.wait_for(wanted)
        told = [worker.stop() for worker in running]
    assert all(worker.process.returncode == 0 for worker in running), told
    taken = [int(text.split("  messages ")[1].split()[0].replace(",", "")) for text in told]
    assert sum(taken) > LINKS * len(traffic) // 2  # the quiet end may still be on its way
    keys = {record.key: record.headers for record in decisions.records}
    assert {b"link:uplink0", b"link:uplink3"} <= set(keys)
    assert dict(keys[b"link:uplink0"])["ce_specversion"] == b"1.0"


def test_killed_workers_lose_and_change_nothing(
    topics: KafkaSettings, decisions: Decisions, traffic: list[pa.RecordBatch], tmp_path: Path
) -> None:
    kills = 20 if SOAK else 2
    site, path = site_file(LINKS, tmp_path)
    wanted = expected(site)
    rng, done = random.Random(7), threading.Event()
    feeder = threading.Thread(target=publish_all, args=(topics, site, traffic, 4.0 * (kills + 1) / len(traffic), done))
    with workers(WorkerProcess(topics, path, tmp_path / "w0.log")) as running:
        feeder.start()
        decisions.wait_until(2)
        for number in range(kills):
            time.sleep(rng.uniform(0, 2))
            running.append(WorkerProcess(topics, path, tmp_path / f"w{number + 1}.log"))
            running[number].kill()
            decisions.read()
        decisions.wait_for(wanted)
        feeder.join()
        assert "links taken over               0" not in running[-1].stop()
    assert done.is_set()


def test_workers_that_join_and_leave_hand_over(
    topics: KafkaSettings, decisions: Decisions, traffic: list[pa.RecordBatch], tmp_path: Path
) -> None:
    site, path = site_file(LINKS, tmp_path)
    wanted = expected(site)
    alone = threading.Event()
    feeder = threading.Thread(target=publish_all, args=(topics, site, traffic, 16.0 / len(traffic), None, alone))
    with workers(WorkerProcess(topics, path, tmp_path / "first.log")) as running:
        feeder.start()
        decisions.wait_until(1)
        second = WorkerProcess(topics, path, tmp_path / "second.log", "--metrics", "0")
        running.append(second)
        scrape_until(url_in(second.log), lambda found: 0 < found.get(("offramp_worker_partitions",), 0) < PARTITIONS)
        running[0].stop()
        alone.set()
        decisions.wait_for(wanted)
        feeder.join()
        assert "links taken over               0" not in second.stop()


def test_a_restart_of_the_broker_changes_nothing(
    broker: Broker, topics: KafkaSettings, decisions: Decisions, traffic: list[pa.RecordBatch], tmp_path: Path
) -> None:
    if os.environ.get("OFFRAMP_KAFKA"):
        pytest.skip("OFFRAMP_KAFKA names a cluster that tests may not restart")
    site, path = site_file(LINKS, tmp_path)
    wanted = expected(site)
    feeder = threading.Thread(target=publish_all, args=(topics, site, traffic, (80.0 if SOAK else 8.0) / len(traffic)))
    with workers(WorkerProcess(topics, path, tmp_path / "w.log", "--stall", "5")) as running:
        feeder.start()
        decisions.wait_until(1)
        for number in range(10 if SOAK else 1):
            broker.restart(crash=number % 2 == 0)
        decisions.wait_for(wanted)
        feeder.join()
        assert "none came" not in running[0].stop()  # its watchdog takes no broker that is away for a stall


def test_poison_goes_to_the_dead_letters_and_the_stream_goes_on(
    topics: KafkaSettings, decisions: Decisions, traffic: list[pa.RecordBatch], tmp_path: Path
) -> None:
    site, path = site_file(1, tmp_path)
    wanted = expected(site)
    batch = random_batch(50)
    value, good = encode_batch(batch), FeatureHeaders("lab", "evil", 9, 0, 50, *times_of(batch))
    wrong = encode_batch(batch.drop_columns(["frame.len"]))
    poison = [
        (b"garbage", [], "headers"),
        (b"garbage", good.pairs(), "arrow"),
        (value[: len(value) // 2], good.pairs(), "arrow"),
        (wrong, good.pairs(), "columns"),
        (bomb(), good.pairs(), "size"),
        (value, [(name, b"99" if name == "schema_version" else text) for name, text in good.pairs()], "version"),
    ]
    raw = KafkaProducer(**topics.client_arguments())
    out = publisher_of(topics)
    dead = Decisions(topics, "dead-letters")
    with workers(WorkerProcess(topics, path, tmp_path / "w.log")) as running:
        for number, part in enumerate(traffic):
            out.publish("uplink0", part)
            if number % 20 == 3:
                each = poison[(number // 20) % len(poison)]
                raw.send(topics.topic("features"), each[0], b"uplink0", each[1])
        raw.send(topics.topic("features"), value, b"nowhere", good.pairs())
        raw.send(topics.topic("features"), None, b"uplink0", good.pairs())
        raw.flush()
        out.end("uplink0")
        assert out.close()
        decisions.wait_for(wanted)
        sent = len(range(3, len(traffic), 20))
        dead.wait_until(sent + 2)
        told = running[0].stop()
    raw.close()
    dead.close()
    reasons = [dict(record.headers)["dead_reason"].decode() for record in dead.records]
    assert len(reasons) == sent + 2
    assert set(reasons) == {*(reason for _, _, reason in poison[:sent]), "link", "arrow"}
    assert dead.records[0].value == b"garbage"
    assert f"refused           {sent + 2:>12}" in told
