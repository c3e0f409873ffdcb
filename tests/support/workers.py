"""Workers as processes, links with traffic, and the commands that must come out, for the tests of the service."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from kafka import KafkaConsumer, TopicPartition

from offramp.capture.dissect.dissector import Dissector
from offramp.capture.message.encode import encode_parts
from offramp.capture.publish.publisher import Publisher
from offramp.capture.sources.file.files import open_captures
from offramp.decision.site import Site
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_predictor
from offramp.kafka import MAX_BODY, KafkaSettings
from offramp.stream.pipeline.pipeline import Pipeline
from tests.support.places import DEMO as SAMPLE
from tests.support.places import ROOT

DEMO = str(SAMPLE)
SOAK = bool(os.environ.get("OFFRAMP_SOAK"))
"""Asked for by `make soak`: more links, workers, kills and restarts."""
WAIT_S = 600.0 if SOAK else 90.0


def demo_batches(rows: int = 8192) -> list[pa.RecordBatch]:
    """The demo's feature batches, of at most `rows` rows each."""
    dissector = Dissector("stream", site="lab", agent="tap", batch_rows=rows)
    return [batch for block in open_captures([DEMO]).read() for batch in dissector.dissect(block)]


def demo_messages() -> int:
    """How many feature messages the demo comes to, its link's end among them."""
    return sum(1 for batch in demo_batches() for _ in encode_parts(batch, MAX_BODY)) + 1


@cache
def expected_of(site: Site) -> dict[str, tuple[bytes, ...]]:
    """The commands of each link for the demo, as replay gives them: link to bodies in order."""
    artifact, predictor = load_artifact(DEFAULT_ARTIFACT), open_predictor(DEFAULT_ARTIFACT)
    out = {}
    for link in site.links:
        pipeline = Pipeline(site, link.name, predictor, artifact.normaliser)
        commands = [command for batch in demo_batches() for command in pipeline.update(batch)] + pipeline.close()
        out[link.name] = tuple(command.to_json().encode() for command in commands)
    return out


def expected(site: Site) -> dict[str, list[bytes]]:
    """A copy of `expected_of`."""
    return {link: list(bodies) for link, bodies in expected_of(site).items()}


class WorkerProcess:
    """An `offramp worker` that is up when built."""

    def __init__(self, settings: KafkaSettings, site: Path, log: Path, *more: str) -> None:
        config = log.with_suffix(".toml")
        config.write_text(f'prefix = "{settings.prefix}"\n')
        command = [sys.executable, "-m", "offramp", "worker", "--site", str(site), "--checkpoint", "0.3",
                   "--session", "2", "--kafka", settings.shown, "--kafka-config", str(config), *more]  # fmt: skip
        self.log, self.data = log, log.with_suffix(".out")
        with log.open("wb") as err, self.data.open("wb") as out:
            self.process = self.start(command, stdout=out, stderr=err)

    def start(self, command: list[str], stdout: IO[bytes], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, cwd=ROOT, env={**os.environ}, stdout=stdout, stderr=stderr)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> str:
        """End it in order; return what it told. Standard output is for data, and a worker has none."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        assert self.data.read_bytes() == b""
        return self.log.read_text()


@contextmanager
def workers(*started: WorkerProcess) -> Iterator[list[WorkerProcess]]:
    """End all workers of the list with the body, those added to it too."""
    running = list(started)
    try:
        yield running
    finally:
        for each in running:
            each.kill()


def publisher_of(settings: KafkaSettings, epoch: int = 1) -> Publisher:
    out = Publisher(settings, site="lab", agent="tap", epoch=epoch)
    out.start()
    return out


class Decisions:
    """What the decision topic holds, read on as it grows; `bodies`: scope's link to distinct bodies in order."""

    def __init__(self, settings: KafkaSettings, topic: str = "decisions") -> None:
        name = settings.topic(topic)
        self.consumer = KafkaConsumer(**settings.client_arguments(), enable_auto_commit=False)
        places = [TopicPartition(name, number) for number in self.consumer.partitions_for_topic(name)]
        self.consumer.assign(places)
        self.consumer.seek_to_beginning(*places)
        self.bodies: dict[str, dict[str, bytes]] = {}
        self.repeats = 0
        self.records: list[Any] = []

    def read(self) -> None:
        for records in self.consumer.poll(200).values():
            for record in records:
                self.records.append(record)
                if record.topic.endswith("decisions.v1"):
                    self.note(record)

    def note(self, record: Any) -> None:
        """Enter a command; the same id must have the same bytes."""
        body = json.loads(record.value)
        link = body["scope"].split(":")[1].split("/")[0]
        own = self.bodies.setdefault(link, {})
        self.repeats += body["decision_id"] in own
        assert own.setdefault(body["decision_id"], record.value) == record.value

    def wait_for(self, wanted: dict[str, list[bytes]]) -> None:
        """Read until everything wanted is there; then it must be all there is, in order."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            self.read()
            if all(len(self.bodies.get(link, ())) >= len(bodies) for link, bodies in wanted.items()):
                break
        assert {link: list(own.values()) for link, own in self.bodies.items()} == wanted

    def wait_until(self, count: int) -> None:
        """Read until there are so many messages."""
        deadline = time.monotonic() + WAIT_S
        while len(self.records) < count and time.monotonic() < deadline:
            self.read()
        assert len(self.records) >= count

    def close(self) -> None:
        self.consumer.close()
