"""Records that the client libraries cannot read: nobody who reads a topic ends or stands still on them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from bench.service import site_file
from offramp.decision.client import DecisionClient
from offramp.kafka import KafkaSettings
from offramp.stream.worker.checkpoint_reader import load_states
from tests.support.places import ROOT
from tests.support.workers import Decisions, WorkerProcess, demo_batches, expected, publisher_of, workers

TOPICS = ("features", "decisions", "acks", "state", "models", "dead-letters", "forecasts")


class NoText(str):
    """A header's name that is no UTF-8 on the wire."""

    __slots__ = ()

    def encode(self, *_: Any, **__: Any) -> bytes:
        return b"\xff\xfe"


def poisoned(settings: KafkaSettings, topic: str, key: bytes) -> int:
    """Send records that cannot be read, alone and amid others in a batch; return how many there are of all."""
    name, count = settings.topic(topic), 0
    producer = KafkaProducer(**settings.client_arguments(), linger_ms=200)
    for headers in ([("a", b"b")], [(NoText("x"), b"b")], [("a", b"")], [(NoText("x"), b"")], []):
        producer.send(name, b"rubbish", key, headers)
        count += 1
    producer.flush()
    producer.close()
    for codec in ("gzip", "zstd"):  # of these aiokafka has no zstd here
        packed = KafkaProducer(**settings.client_arguments(), compression_type=codec)
        packed.send(name, b"packed", key, [("a", b"b")]).get(30)
        packed.close()
        count += 1
    return count


def test_a_worker_reads_past_what_it_cannot_read(topics: KafkaSettings, tmp_path: Path) -> None:
    site, path = site_file(1, tmp_path)
    count = sum(poisoned(topics, "features", b"uplink0") for _ in range(2))
    poisoned(topics, "state", b"lab/uplink0")
    out, decisions, dead = publisher_of(topics), Decisions(topics), Decisions(topics, "dead-letters")
    batches = demo_batches()
    with workers(WorkerProcess(topics, path, tmp_path / "w.log")) as running:
        for number, batch in enumerate(batches):
            out.publish("uplink0", batch)
            if number == 1:
                assert out.close()  # all of it is there before the next
                count += poisoned(topics, "features", b"uplink0")
                sent = dict(out._sequences)
                out = publisher_of(topics)
                out._sequences.update(sent)
        out.end("uplink0")
        assert out.close()
        decisions.wait_for(expected(site))
        dead.wait_until(count)
        told = running[0].stop()
    for each in (decisions, dead):
        each.close()
    assert "Traceback" not in told
    assert {dict(record.headers)["dead_reason"] for record in dead.records} == {b"headers"}
    assert len(dead.records) == count


@pytest.mark.parametrize("topic", TOPICS)
def test_who_looks_into_a_topic_reads_past_it_too(topic: str, topics: KafkaSettings, tmp_path: Path) -> None:
    count = poisoned(topics, topic, b"lab/uplink0")
    if topic == "state":
        assert load_states(topics, 0, "lab", frozenset({"uplink0"}), "nobody").states == {}
        return
    if topic == "decisions":
        with DecisionClient(topics, controller="test", start="beginning", idle_s=2) as client:
            assert list(client) == []
            assert client.counts == {"invalid": count}
    config = tmp_path / "kafka.toml"
    config.write_text(f"prefix = {json.dumps(topics.prefix)}\n")
    command = [sys.executable, "-m", "offramp", "follow", "--topic", topic, "--from", "beginning", "--no-wait"]
    command += ["--kafka", topics.shown, "--kafka-config", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("warning: ") + done.stdout.count("\n") == count
