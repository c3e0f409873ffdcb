"""Messages that the topic has lost, with a real broker: no silence, nothing enforced, a line in the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaProducer

from bench.service import site_file
from offramp.capture.message.decode import decode_message
from offramp.capture.message.encode import FeatureHeaders, encode_parts, ledger_of, times_of
from offramp.decision.command import rfc3339
from offramp.decision.site import load_site
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_predictor
from offramp.kafka import MAX_BODY, KafkaSettings
from offramp.stream.links.link_consumer import LinkConsumer
from offramp.stream.pipeline.pipeline import Pipeline
from tests.support.workers import Decisions, WorkerProcess, demo_batches, workers

PARTITIONS = 1
LOST = 2
"""Of the seven messages: four seconds of congestion, in which two moves are open."""

AFTER_NS = 20_000_000_000
"""From there on the data is good again: the message behind the gap covers four seconds, and the far window ten."""


@pytest.fixture
def decisions(topics: KafkaSettings) -> Iterator[Decisions]:
    made = Decisions(topics)
    yield made
    made.close()


def test_a_gap_is_told_and_nothing_is_enforced_on_it(
    topics: KafkaSettings, decisions: Decisions, tmp_path: Path
) -> None:
    _, path = site_file(1, tmp_path)
    path.write_text('mode = "enforce"\n' + path.read_text())
    site = load_site(path)
    artifact, predictor = load_artifact(DEFAULT_ARTIFACT), open_predictor(DEFAULT_ARTIFACT)
    consumer = LinkConsumer("uplink0", lambda link: Pipeline(site, link, predictor, artifact.normaliser))
    raw, wanted, begun_ns = KafkaProducer(**topics.client_arguments()), list[bytes](), 0
    told = [
        (part, value, ledger_of(batch).as_dict() if not at else {})
        for batch in demo_batches()
        for at, (part, value) in enumerate(encode_parts(batch, MAX_BODY))
    ]
    with workers(WorkerProcess(topics, path, tmp_path / "w.log")) as running:
        for number, (batch, value, ledger) in enumerate(told):
            if number == LOST:
                begun_ns = times_of(batch)[0]
                continue
            headers = FeatureHeaders(site.name, "a", 1, number, batch.num_rows, *times_of(batch), ledger).pairs()
            message = decode_message(b"uplink0", headers, value)
            assert message is not None
            wanted += [command.to_json().encode() for command in consumer.feed(message, number)]
            raw.send(topics.topic("features"), value, b"uplink0", headers)
        raw.flush()
        decisions.wait_for({"uplink0": wanted})
        text = running[0].stop()
    raw.close()
    bodies = [json.loads(body) for body in wanted]
    near = [body for body in bodies if rfc3339(begun_ns) < body["not_before"] < rfc3339(begun_ns + AFTER_NS)]
    later = [body for body in bodies if body["not_before"] > rfc3339(begun_ns + AFTER_NS)]
    assert [(body["phase"], body["mode"]) for body in near] == [("update", "dry_run")] * 2
    # what is missing is taken for as much as the message behind it
    assert all(body["reason"]["quality"]["dropped"] == 0.5 and "quality" in body["reason"]["rule"] for body in near)
    assert {body["mode"] for body in later} == {"enforce"}
    assert "  missing, in gaps               1   1 holes, windows begun anew\n" in text
    assert "    uplink0                           1   1 holes\n" in text
