"""What is too large, or spread too thin: through a real broker all the same, or given up, and the rest goes on."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType

from bench.service import site_file
from offramp.capture.block import PacketBlock
from offramp.capture.dissect.dissector import Dissector
from offramp.capture.ledger import CaptureLedger
from offramp.capture.message.decode import MAX_LEDGER
from offramp.capture.message.encode import FeatureHeaders, encode_batch, encode_parts, times_of
from offramp.capture.publish.outgoing import Outgoing
from offramp.capture.publish.publisher import Publisher
from offramp.capture.publish.spool import Spool
from offramp.capture.sources.file.files import open_captures
from offramp.decision.client import DecisionClient
from offramp.decision.site import Site
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_predictor
from offramp.kafka import MAX_BODY, MAX_NAME, KafkaAccessError, KafkaSettings
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.worker.checkpoint_reader import load_states
from tests.integration.until import until
from tests.support.places import ROOT
from tests.support.random_batches import random_batch
from tests.support.workers import (
    DEMO,
    Decisions,
    WorkerProcess,
    demo_batches,
    expected,
    publisher_of,
    workers,
)

PUBLIC = ROOT.parent / "shared/pcaps/MQTTset-reduced/benign.pcap"
SPARSE, EVERY_NS = 1_200, 400_000_000
"""Packets before the demo, and the time from one to the next: less than a window, so that no bin between is skipped."""


def pcap(path: Path, packets: Iterator[tuple[int, bytes, int]]) -> Path:
    """Write a capture of Ethernet packets (time in ns, bytes, length on the wire)."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65_535, 1))
        for time_ns, data, length in packets:
            file.write(struct.pack("<IIII", time_ns // 10**9, time_ns % 10**9, len(data), length) + data)
    return path


def thin(before_s: int) -> Iterator[tuple[int, bytes, int]]:
    """Two packets an hour apart, some hundred 0.4 s apart behind them, and the demo behind those."""
    blocks = list(open_captures([DEMO]).read())

    def packet(block: PacketBlock, row: int) -> tuple[bytes, int]:
        start, size = int(block.offset[row]), int(block.caplen[row])
        return block.data[start : start + size].tobytes(), int(block.length[row])

    begin = int(blocks[0].time_ns[0]) - before_s * 10**9
    first = packet(blocks[0], 0)
    yield begin, *first
    for at in range(SPARSE):
        yield begin + 3_600 * 10**9 + at * EVERY_NS, *first
    for block in blocks:
        for row in range(len(block)):
            yield int(block.time_ns[row]), *packet(block, row)


def published(settings: KafkaSettings, site: Site, capture: Path, link: str) -> list[bytes]:
    """Publish a capture; return the commands that a replay gives for it."""
    artifact, predictor = load_artifact(DEFAULT_ARTIFACT), open_predictor(DEFAULT_ARTIFACT)
    pipeline = Pipeline(site, link, predictor, artifact.normaliser)
    dissector, out = Dissector("stream", site=site.name, agent="tap"), publisher_of(settings, 77)
    commands = []
    for block in open_captures([str(capture)]).read():
        for batch in dissector.dissect(block):
            commands += pipeline.update(batch)
            out.publish(link, batch)
    commands += pipeline.close()
    out.end(link)
    assert out.close()
    return [command.to_json().encode() for command in commands]


def test_a_recording_of_few_packets_goes_through(topics: KafkaSettings, tmp_path: Path) -> None:
    """One feature message closes bins for more forecasts than a message holds; the commands are those of a replay."""
    site, path = site_file(2, tmp_path)
    capture = pcap(tmp_path / "thin.pcap", thin(3_600 + SPARSE * EVERY_NS // 10**9 + 60))
    wanted = published(topics, site, capture, "uplink0")
    decisions, forecasts = Decisions(topics), Decisions(topics, "forecasts")
    with workers(WorkerProcess(topics, path, tmp_path / "w.log")) as running:
        decisions.wait_for({"uplink0": wanted})
        told = running[0].stop()
    bins = [len(json.loads(record.value)["bins"]) for record in _all(forecasts)]
    for each in (decisions, forecasts):
        each.close()
    assert wanted
    assert sum(bins) > SPARSE * EVERY_NS // 10_000_000
    assert max(len(record.value) for record in forecasts.records) <= MAX_BODY
    assert "Traceback" not in told
    assert "trying again" not in told


def _all(topic: Decisions) -> list[Any]:
    """Read to the end of a topic."""
    places = topic.consumer.assignment()
    ends = topic.consumer.end_offsets(places)
    while any(topic.consumer.position(place) < ends[place] for place in places):
        topic.read()
    return topic.records


@pytest.mark.skipif(not PUBLIC.is_file(), reason="the real captures of ../shared/pcaps are not here")
def test_a_public_recording_of_few_packets_goes_through(topics: KafkaSettings, tmp_path: Path) -> None:
    """Twenty packets a second, nine minutes in two messages; what is published behind it is decided too."""
    site, path = site_file(2, tmp_path)
    wanted = published(topics, site, PUBLIC, "uplink0")
    after = published(topics, site, Path(DEMO), "uplink1")
    decisions = Decisions(topics)
    with workers(WorkerProcess(topics, path, tmp_path / "w.log")) as running:
        decisions.wait_for({"uplink1": after} | ({"uplink0": wanted} if wanted else {}))
        told = running[0].stop()
    decisions.close()
    assert "trying again" not in told


def limit(settings: KafkaSettings, topic: str, size: int) -> None:
    """Let a topic take messages of at most `size` bytes."""
    admin = KafkaAdminClient(**settings.client_arguments())
    resource = ConfigResource(ConfigResourceType.TOPIC, settings.topic(topic), {"max.message.bytes": str(size)})
    admin.alter_configs([resource])
    admin.close()


@pytest.mark.parametrize("topic", ["forecasts", "state", "dead-letters"])
def test_what_a_broker_refuses_for_good_is_given_up(topic: str, topics: KafkaSettings, tmp_path: Path) -> None:
    """An idempotent producer has a gap in its numbers then, behind which the broker takes nothing of it any more."""
    site, path = site_file(1, tmp_path)
    limit(topics, topic, 600)
    out, decisions = publisher_of(topics), Decisions(topics)
    batches = [batch.slice(at, 1_000) for batch in demo_batches() for at in range(0, batch.num_rows, 1_000)]
    with workers(WorkerProcess(topics, path, tmp_path / "w.log")) as running:
        for batch in batches:
            out.publish("uplink0", batch)
            out.publish("elsewhere", batch)
        out.end("uplink0")
        assert out.close()
        decisions.wait_for(expected(site))
        told = running[0].stop()
    decisions.close()
    assert told.count("given up, others are only counted") == 1
    assert f"   {topic}" in told.partition("never sent")[2].splitlines()[0]
    assert "Traceback" not in told


def test_a_live_agent_gives_up_what_the_broker_refuses_and_goes_on(
    topics: KafkaSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an earlier life has left in the spool too: it would be in the way of all that follows, for ever."""
    limit(topics, "features", 30_000)
    small, large = demo_batches()[0].slice(0, 20), demo_batches()[1]
    before = Publisher(topics, site="lab", agent="tap", epoch=1, spool=Spool(tmp_path, 64 << 20))
    for number in range(6):
        batch = small if number % 2 else large
        told = dict(zip(("first_time_ns", "last_time_ns"), times_of(batch), strict=True)) | {"rows": batch.num_rows}
        before._to_spool(Outgoing("uplink0", before._headers(CaptureLedger(), **told), encode_batch(batch)))
    assert before.spool is not None
    before.spool.close()
    spool = Spool(tmp_path, 64 << 20)
    out = Publisher(topics, site="lab", agent="tap", epoch=2, live=True, spool=spool)
    out.start()
    for number in range(10):
        out.publish("uplink0", large if number % 3 == 0 else small)
    out.end("uplink0")
    assert out.close(60)
    assert (out.ledger.shed, out.ledger.rows_shed) == (7, 7 * large.num_rows)
    assert out.ledger.rows_acknowledged == 9 * small.num_rows
    assert out.ledger.rows + out.ledger.earlier_rows == out.ledger.rows_acknowledged + out.ledger.rows_shed
    assert not spool.pending
    assert capsys.readouterr().err.count("given up") == 1
    features = Decisions(topics, "features")
    found = [{name: value.decode() for name, value in record.headers} for record in _all(features)]
    features.close()
    lives: dict[str, list[int]] = {}
    for headers in found:
        lives.setdefault(headers["agent_epoch"], []).append(int(headers["sequence"]))
    assert set(lives) == {"1", "2"}
    for own in lives.values():  # repeats, which a worker drops, of what was under way; what is new in order
        assert list(dict.fromkeys(own)) == sorted(set(own)), own


def test_a_recording_that_the_broker_refuses_is_the_end_of_its_agent(topics: KafkaSettings) -> None:
    limit(topics, "features", 30_000)
    out = publisher_of(topics)
    with pytest.raises(KafkaAccessError, match=r"max\.message\.bytes"):  # noqa: PT012
        for batch in demo_batches():
            out.publish("uplink0", batch)
        out.close()


def ends_of(state: dict[str, Any] | None) -> int:
    """How many ends of its link a bundle's checkpoint counts."""
    return int(state["links"]["uplink0"]["intake"]["ends"]) if state else 0


def large_batch() -> tuple[bytes, FeatureHeaders]:
    """A feature message of nearly as many bytes as one may have, of all random columns."""
    rows = 64
    while len(encode_batch(random_batch(2 * rows))) <= MAX_BODY:
        rows *= 2
    while len(encode_batch(random_batch(rows + 256))) <= MAX_BODY:
        rows += 256
    batch = random_batch(rows)
    return encode_batch(batch), FeatureHeaders("lab", "a" * MAX_NAME, 1, 0, rows, *times_of(batch))


def test_every_message_at_its_limit_is_taken_or_refused_and_nobody_ends(topics: KafkaSettings, tmp_path: Path) -> None:
    _, path = site_file(1, tmp_path)
    value, good = large_batch()
    assert len(value) > 0.9 * MAX_BODY
    ledger = b'{"captured":7' + b" " * (MAX_LEDGER - 14) + b"}"

    def headers(**changed: bytes) -> list[tuple[str, bytes]]:
        return [(name, changed.get(name, text)) for name, text in good.pairs()]

    link, taken, refused = b"uplink0", 0, 0
    raw = KafkaProducer(**topics.client_arguments(), max_request_size=2 << 20)

    def send(key: bytes, body: bytes, pairs: list[tuple[str, bytes]]) -> None:
        raw.send(topics.topic("features"), body, key, pairs).get(30)

    for sequence, more in enumerate(({}, {"ledger": ledger}, {"agent": b"\x01" * MAX_NAME})):
        send(link, value, headers(sequence=str(sequence).encode(), **more))
        taken += 1
    most = 1_048_588 - 1_000  # what a broker takes
    for key, body, pairs in (
        (link, value, headers(agent=b"a" * (MAX_NAME + 1))),
        (b"k" * MAX_NAME, value, headers()),
        (b"k" * (MAX_NAME + 1), value, headers()),
        (b"k" * 900_000, b"", headers()),
        (link, bytes(most - 2_000), headers()),
        (link, b"", headers(ledger=ledger + b" ")),
        (link, b"", headers(agent=b"a" * (most - 2_000))),
        (link, b"", headers(hops=b"h" * (most - 2_000))),
        (link, b"", [(f"h{number}", b"") for number in range(60_000)]),
    ):
        send(key, body, pairs)
        refused += 1
    raw.close()
    dead, decisions, out = Decisions(topics, "dead-letters"), Decisions(topics), publisher_of(topics, 9)
    with workers(WorkerProcess(topics, path, tmp_path / "w.log", "--no-forecasts")) as running:
        dead.wait_until(refused)
        for batch in demo_batches():
            out.publish("uplink0", batch)
        out.end("uplink0")
        assert out.close()
        state = (topics, 0, "lab", frozenset({"uplink0"}), f"{topics.prefix}-lab")
        until(lambda: ends_of(load_states(*state).states.get("uplink0")) == 1)
        told = running[0].stop()
    for each in (dead, decisions):
        each.close()
    assert len(dead.records) == refused
    parts = sum(1 for batch in demo_batches() for _ in encode_parts(batch, MAX_BODY))
    assert load_states(*state).states["uplink0"]["links"]["uplink0"]["intake"]["messages"] == taken + parts + 1
    assert "Traceback" not in told
    assert "never sent" not in told


def test_what_is_too_large_to_acknowledge_is_no_command_and_ends_no_controller(
    topics: KafkaSettings, tmp_path: Path
) -> None:
    site, _ = site_file(1, tmp_path)
    bodies = [json.loads(body) for body in expected(site)["uplink0"]]
    large = {**bodies[0], "scope": "link:" + "x" * 940_000, "decision_id": "other", "loop_id": "other"}
    raw = KafkaProducer(**topics.client_arguments(), max_request_size=2 << 20)
    for body in (large, bodies[0]):
        raw.send(topics.topic("decisions"), json.dumps(body).encode(), b"link:uplink0").get(30)
    raw.close()
    with DecisionClient(topics, controller="test", start="beginning", idle_s=2, clock=lambda: 1 << 62) as client:
        assert list(client) == []
        assert client.counts == {"invalid": 1, "expired": 1}
        with pytest.raises(KafkaAccessError, match="takes no message that large"):
            client.ack(large, "applied")
        client.ack(bodies[0], "applied")
