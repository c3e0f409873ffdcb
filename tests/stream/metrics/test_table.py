"""The table of metrics, and what is derived from it: registration, documentation, the address."""

from __future__ import annotations

import ast
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, generate_latest

from offramp.capture.ledger import CaptureLedger
from offramp.capture.message.encode import FeatureHeaders
from offramp.capture.publish.outgoing import Outgoing
from offramp.capture.publish.publisher import Publisher
from offramp.capture.sources.file.files import open_captures
from offramp.decision.client import DecisionClient
from offramp.decision.site import load_site
from offramp.errors import ConfigError
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact, save_artifact
from offramp.inference.refinement.challenger import InProcess
from offramp.inference.serving.compiled import CompiledPredictor
from offramp.inference.serving.predictor import Predictor
from offramp.inference.serving.table import open_predictor
from offramp.kafka import KafkaSettings
from offramp.stream.links.link_consumer import LinkConsumer
from offramp.stream.local.link_batches import LinkBatches
from offramp.stream.metrics.readings import acknowledgements, file_readings, pipeline_readings, publish_readings
from offramp.stream.metrics.registry import Metrics
from offramp.stream.metrics.server import parse_address, serving
from offramp.stream.metrics.table import TABLE, MetricKind, markdown
from offramp.stream.metrics.timed_predictor import TimedPredictor
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.refine.events import RefineEvents
from offramp.stream.refine.refiner import Refiner, RefineSettings
from offramp.stream.worker.partition_meter import PartitionMeter
from tests.support.fake_predictor import FakePredictor
from tests.support.link_messages import cut, fed
from tests.support.pipelines import SITE as SITE_MADE
from tests.support.pipelines import build, commands_of
from tests.support.places import ROOT
from tests.support.scrape import scrape, total

DEMO, SITE = str(ROOT / "samples/demo.pcap.zst"), ROOT / "samples/site.toml"


def test_names_follow_prometheus_conventions() -> None:
    names = [metric.name for metric in TABLE]
    assert len(set(names)) == len(names)
    for metric in TABLE:
        assert re.fullmatch(r"offramp(_[a-z]+)+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is MetricKind.COUNTER), metric.name
        assert bool(metric.buckets) == (metric.kind is MetricKind.HISTOGRAM), metric.name
        assert list(metric.buckets) == sorted(metric.buckets)
        assert metric.commands
        assert not {"le", "quantile"} & set(metric.labels)


def test_every_metric_is_documented() -> None:
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert markdown() in page, "docs/metrics.md: put in what `python -m offramp.stream.metrics.table` prints"
    known = {metric.name for metric in TABLE}
    for name in set(re.findall(r"offramp_[a-z_]+", page)):
        assert re.sub(r"_(bucket|sum|count)$", "", name) in known or name in known, name


def test_a_controllers_counts_can_be_exported() -> None:
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert example is not None
    names: dict[str, Any] = {}
    exec(example[1], names)  # noqa: S102 - our own page
    client = DecisionClient("127.0.0.1:9", controller="mine")
    client.counts.update(given=3, repeat=1)
    registry = CollectorRegistry()
    registry.register(names["CommandCounts"](client))
    assert registry.get_sample_value("controller_commands_total", {"fate": "given"}) == 3


def test_every_metric_is_fed_and_nothing_else_is() -> None:
    """What the code names is what the table has."""
    named = set()
    for path in (ROOT / "stream").rglob("*.py"):
        if path != ROOT / "stream/metrics/table.py":
            constants = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
            named |= {text for text in constants if isinstance(text, str) and re.fullmatch(r"offramp_[a-z_]+", text)}
    assert named == {metric.name for metric in TABLE}


def test_counts_of_another_worker_are_not_ours(
    busy_batch: pa.RecordBatch, predictor: FakePredictor, normaliser_state: dict[str, NDArray[Any]]
) -> None:
    """Two workers, one after the other: what they count adds up to what one counts alone."""
    messages = cut(busy_batch)
    consumers = [LinkConsumer("uplink", lambda _: build(predictor, normaliser_state)) for _ in range(3)]
    meters = [PartitionMeter() for _ in consumers]

    def feed(number: int, start: int, stop: int) -> None:
        for at in range(start, stop):
            fed(consumers[number], [messages[at]], at)
            meters[number].worked(consumers[number], 1, 0.0)

    feed(0, 0, len(messages))
    feed(1, 0, 5)
    assert consumers[2].restore(consumers[1].state())
    feed(2, 5, len(messages))
    alone, first, second = (meter.links["uplink"] for meter in meters)
    assert alone.intake["rows"] == alone.stream.rows == busy_batch.num_rows
    assert first.intake["rows"] > 0 < second.intake["rows"]
    assert first.intake + second.intake == +alone.intake
    assert alone.intake["ends"] == alone.intake["restarts"] == 1
    together = first.stream
    together.add(second.stream)
    assert together == alone.stream
    assert alone.stream.commands.total() > 0 < alone.stream.forecasts


def test_the_readings_are_the_ledgers(
    busy_batch: pa.RecordBatch, predictor: FakePredictor, normaliser_state: dict[str, NDArray[Any]]
) -> None:
    publish, tap = Metrics("publish"), Metrics("tap")
    batches = LinkBatches(open_captures([DEMO]), load_site(SITE), "a")
    publisher = Publisher(KafkaSettings(("127.0.0.1:9",)), site="lab", agent="a", epoch=1, queue_bytes=4 << 20)
    publish.read_from(lambda: file_readings(batches), lambda: publish_readings(publisher))
    for link, batch in batches.read():
        publisher.publish(link, batch)
    acknowledgements(publish.observe)(Outgoing("uplink", FeatureHeaders("lab", "a", 1, 0, 9, 1, 2), b""))
    pipeline = build(TimedPredictor(predictor, tap.observe), normaliser_state)
    tap.read_from(lambda: pipeline_readings(pipeline))
    assert commands_of(pipeline, busy_batch, []) == commands_of(build(predictor, normaliser_state), busy_batch, [])

    def value(metrics: Metrics, name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    ledger = batches.ledger()
    assert ledger.captured > 0
    assert value(publish, "offramp_capture_packets_total", link="uplink") == ledger.captured
    assert value(publish, "offramp_capture_decoded_packets_total", link="uplink") == ledger.decoded
    assert value(publish, "offramp_publish_rows_total") == ledger.captured == publisher.ledger.rows
    assert value(publish, "offramp_publish_queue_bytes") == publisher.backlog.queued > 0
    assert value(publish, "offramp_publish_queue_fill_ratio") == publisher.backlog.queued / (4 << 20)
    assert value(publish, "offramp_publish_message_rows_sum") == 9
    assert value(publish, "offramp_publish_packet_to_topic_seconds_bucket", le="10.0") == 0  # an old recording
    own = pipeline.ledger
    assert value(tap, "offramp_stream_rows_total", link=pipeline.link.name) == own.rows == busy_batch.num_rows
    assert value(tap, "offramp_stream_commands_total", link=pipeline.link.name, action="clear") == own.commands["clear"]
    assert value(tap, "offramp_model_rows_sum") == own.forecasts > 0
    assert value(tap, "offramp_model_seconds_count") == value(tap, "offramp_model_rows_count")
    assert b"offramp_worker" not in generate_latest(publish.registry)


def test_a_model_that_refinement_brings_into_service_is_timed_as_the_first(
    busy_batch: pa.RecordBatch, tmp_path: Path
) -> None:
    artifact = load_artifact(DEFAULT_ARTIFACT)
    meta = {key: each for key, each in artifact.manifest.items() if key not in ("format", "sha256")}
    weights = {**artifact.weights, "classes_b": artifact.weights["classes_b"] + np.float32(0.1)}
    other = save_artifact(tmp_path / "other", weights, artifact.normaliser, meta)
    events = RefineEvents(tmp_path, "lab", "uplink", quiet=True)
    refiner = Refiner(artifact, tmp_path, events, InProcess(), settings=RefineSettings(least_s=1_000_000))
    tap = Metrics("tap")
    pipeline = Pipeline(
        SITE_MADE, "uplink", open_predictor(DEFAULT_ARTIFACT), artifact.normaliser, refiner=refiner,
        watched=lambda predictor: TimedPredictor(predictor, tap.observe),
    )  # fmt: skip
    half = busy_batch.num_rows // 2
    pipeline.update(busy_batch.slice(0, half))
    before = pipeline.ledger.forecasts
    assert pipeline.predictor.sha == artifact.sha
    refiner.artifact, refiner.predictor = other, CompiledPredictor(other)
    pipeline.update(busy_batch.slice(half))
    pipeline.close()
    assert pipeline.predictor.sha == other.sha != artifact.sha
    assert tap.registry.get_sample_value("offramp_model_rows_sum") == pipeline.ledger.forecasts > before > 0


def test_reasons_become_labels() -> None:
    metrics, ledger = Metrics("tap"), CaptureLedger(captured=7, decoded=4)
    ledger.shed.update(flow_sampling=2, queue_full=1)
    ledger.unfollowed.update(ether_type_0x88e5=12)
    from offramp.stream.metrics.readings import _packets

    metrics.read_from(lambda: _packets(ledger, "up"))
    shed = "offramp_capture_shed_packets_total"
    assert metrics.registry.get_sample_value(shed, {"link": "up", "reason": "flow_sampling"}) == 2
    assert metrics.registry.get_sample_value(shed, {"link": "up", "reason": "queue_full"}) == 1
    unfollowed = "offramp_capture_unfollowed_packets_total"
    assert metrics.registry.get_sample_value(unfollowed, {"link": "up", "kind": "ether_type_0x88e5"}) == 12


def test_labels_that_are_not_the_tables_are_refused() -> None:
    metrics = Metrics("tap")
    metrics.read_from(lambda: [("offramp_stream_rows_total", 1, ())])
    with pytest.raises(ValueError, match="the table says"):
        list(metrics.collect())


def test_a_timed_predictor_changes_no_bit(predictor: FakePredictor) -> None:
    seen: list[tuple[str, float]] = []
    timed = TimedPredictor(predictor, lambda name, value, *_: seen.append((name, value)))
    rng = np.random.default_rng(1)
    x = rng.random((5, len(predictor.channels))).astype(np.float32)
    spectrum = rng.random((5, predictor.spectrum_size)).astype(np.float32)
    states = [np.zeros((2, predictor.state_size), np.float32) for _ in range(2)]
    series = np.array([0, 1, 0, 1, 1], np.int32)
    both: tuple[Predictor, Predictor] = predictor, timed
    found = [one.predict(x, spectrum, series, state) for one, state in zip(both, states, strict=True)]
    np.testing.assert_array_equal(found[0].probabilities, found[1].probabilities)
    np.testing.assert_array_equal(states[0], states[1])
    assert [name for name, _ in seen] == ["offramp_model_seconds", "offramp_model_rows"]
    assert seen[1][1] == 5


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),  # noqa: S104 - asked for
        ("[::1]:9464", ("::1", 9464)),
        ("tap.example:0", ("tap.example", 0)),
    ],
)
def test_a_port_alone_is_on_loopback(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["nonsense", "localhost", "1.2.3.4:", ":70000", "host:-1", "::"])
def test_wrong_addresses_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--metrics"):
        parse_address(text)


def test_served_while_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with serving("", "tap") as metrics:
        assert metrics is None
    with serving("127.0.0.1:0", "tap") as metrics:
        assert metrics is not None
        url = capsys.readouterr().err.split()[-1]
        metrics.read_from(lambda: [("offramp_stream_rows_total", 3, ("up",))])
        metrics.observe("offramp_model_seconds", 0.002)
        found = scrape(url)
        assert found["offramp_stream_rows_total", "up"] == 3
        assert found["offramp_model_seconds_bucket", "0.0025"] == 1
        assert found["offramp_model_seconds_bucket", "0.001"] == 0
        assert total(found, "process_resident_memory_bytes") > 0
        taken = url.split("/")[2]
        with pytest.raises(ConfigError, match="in use"), serving(taken, "tap"):
            pass
    host, port = taken.split(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0


def test_a_host_that_is_not_ours_is_refused() -> None:
    for address in ("192.0.2.1:9464", "no.such.host.invalid:9464"):
        with pytest.raises(ConfigError, match=address), serving(address, "tap"):
            pass
