"""Refinement and averaging through a real broker: the swaps are those of replay, workers are left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from offramp.capture.block import some_rows
from offramp.capture.intake.pcapng_writer import PcapngFiles, RingOfFiles
from offramp.capture.sources.file.files import open_captures
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.refinement.challenger import refined_artifact
from offramp.inference.refinement.federated import federate
from offramp.kafka import KafkaSettings
from offramp.stream.topics.model_topic import model_publisher, newest_models
from tests.integration.agents import command_of, run
from tests.integration.until import until
from tests.support.places import ROOT, SITE
from tests.support.training_sequences import series
from tests.support.workers import DEMO

PARTITIONS = 2
CALM_NS = 4_000_000_000


def swaps_of(folder: Path) -> list[tuple[str, str]]:
    """Kind and sha of each champion, as the events tell."""
    events = [json.loads(line) for line in (folder / "uplink" / "events.jsonl").read_text().splitlines()]
    told = [(event["type"].split(".")[2], event["data"]) for event in events]
    return [(kind, data["to"]) for kind, data in told if kind in ("swapped", "rolled_back")]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The sample's first seconds: too few for drift to be told, which would train a challenger for a minute."""
    path = tmp_path_factory.mktemp("calm") / "calm.pcapng"
    files = PcapngFiles(RingOfFiles(path), "eth0")
    for block in open_captures([DEMO]).read():
        files.write(some_rows(block, block.time_ns < block.time_ns[0] + CALM_NS))
        break
    files.close()
    return str(path)


@pytest.mark.long  # two trainings; the running refiner below is the short way over the same code
def test_refinement_of_a_topic_is_that_of_the_capture(topics: KafkaSettings, tmp_path: Path) -> None:
    done = run(command_of(topics, tmp_path, "publish", DEMO, "--site", str(SITE)))
    assert done.returncode == 0, done.stderr
    told = run(
        command_of(
            topics, tmp_path, "refine", str(tmp_path / "a"), "--site", str(SITE), "--from", "beginning", "--no-wait"
        )
    )
    assert told.returncode == 0, told.stderr
    replay = [*command_of(topics, tmp_path)[:3], "replay", DEMO, "--site", str(SITE), "--refine", str(tmp_path / "b")]
    subprocess.run(replay, check=True, capture_output=True, cwd=ROOT, env={**os.environ, "TZ": "UTC"})
    events = (tmp_path / "a" / "uplink" / "events.jsonl").read_bytes()
    assert events == (tmp_path / "b" / "uplink" / "events.jsonl").read_bytes()
    swaps = swaps_of(tmp_path / "a")
    newest = newest_models(topics, "test", frozenset(("lab",)))
    assert [model.artifact.sha for model in newest.values()] == [sha for _, sha in swaps[-1:]]
    assert told.stderr.count("models published") == bool(swaps)
    follow = ("follow", "--topic", "models", "--from", "beginning", "--no-wait", "--format", "jsonl")
    shown = run(command_of(topics, tmp_path, *follow)).stdout.splitlines()
    assert [(each["reason"], each["model"]) for each in map(json.loads, shown)] == swaps
    group = KafkaConsumer(**topics.client_arguments(), group_id=f"{topics.prefix}-lab")
    places = [TopicPartition(topics.topic("features"), number) for number in range(PARTITIONS)]
    assert [group.committed(place) for place in places] == [None] * PARTITIONS
    group.close()


def test_sites_average_through_the_topic_as_through_files(topics: KafkaSettings, tmp_path: Path) -> None:
    base = load_artifact(DEFAULT_ARTIFACT)
    made = []
    for seed, (site, rows) in enumerate((("lab", 300), ("plant", 100))):
        rng = np.random.default_rng(seed)
        moved = {name: each + 1e-3 * rng.normal(size=each.shape).astype(np.float32)
                 for name, each in base.weights.items() if not name.startswith("scale_")}  # fmt: skip
        made.append((site, *refined_artifact(base, {**base.weights, **moved}, tmp_path, series(rows), seed, {})))
    with model_publisher(topics, "test") as publisher:
        for site, artifact, folder in made:
            publisher.publish(site, "uplink", folder, artifact.sha, base=base.sha, reason="swapped", serves_from=5)
        publisher.publish(
            "idle", "uplink", DEFAULT_ARTIFACT, base.sha, base=base.sha, reason="rolled_back", serves_from=5
        )
    raw = KafkaProducer(**topics.client_arguments())
    raw.send(topics.topic("models"), b"garbage", b"lab/uplink").get(30)
    raw.close()
    out = tmp_path / "out"
    wanted = federate(base, [artifact for _, artifact, _ in made], tmp_path / "files")
    done = run(command_of(topics, tmp_path, "federate", str(DEFAULT_ARTIFACT), "-o", str(out), "--publish"))
    assert done.returncode == 0, done.stderr
    assert "left out: idle/uplink" in done.stderr
    assert "headers ce_model" in done.stderr
    assert load_artifact(out).sha == wanted.sha
    newest = newest_models(topics, "test")
    found = {name: (model.reason, model.artifact.sha, model.base) for name, model in newest.items()}
    together = ("federated", wanted.sha, base.sha)
    assert found == {
        "idle/uplink": ("rolled_back", base.sha, base.sha),
        "lab/uplink": together,
        "plant/uplink": together,
    }
    alone = run(command_of(topics, tmp_path, "federate", str(DEFAULT_ARTIFACT), "-o", str(out), "--site", "nowhere"))
    assert (alone.returncode, "--site nowhere" in alone.stderr, "Traceback" in alone.stderr) == (2, True, False)


def test_a_refiner_takes_up_the_newest_model_of_its_link(topics: KafkaSettings, tmp_path: Path, calm: str) -> None:
    base = load_artifact(DEFAULT_ARTIFACT)
    artifact, folder = refined_artifact(base, dict(base.weights), tmp_path, series(10), 1, {})
    with model_publisher(topics, "test") as publisher:
        publisher.publish("lab", "uplink", folder, artifact.sha, base=base.sha, reason="federated", serves_from=5)
    assert run(command_of(topics, tmp_path, "publish", calm, "--site", str(SITE))).returncode == 0
    arguments = (
        "refine",
        str(tmp_path / "a"),
        "--site",
        str(SITE),
        "--from",
        "beginning",
        "--no-wait",
        "--every",
        "3600",
    )
    done = run(command_of(topics, tmp_path, *arguments))
    assert done.returncode == 0, done.stderr
    assert f"taken up: model {artifact.sha[:16]} of lab/uplink (federated)" in done.stderr
    kept = load_artifact(tmp_path / "a" / "uplink" / "models" / artifact.sha[:16])
    assert kept.sha == artifact.sha
    stranger = run(command_of(topics, tmp_path, *arguments[:4], "--model", str(folder), *arguments[4:]))
    assert stranger.returncode == 0, stranger.stderr
    assert "left aside: model" in stranger.stderr


def test_a_running_refiner_takes_up_an_average_and_ends_in_order(topics: KafkaSettings, tmp_path: Path) -> None:
    base = load_artifact(DEFAULT_ARTIFACT)
    artifact, folder = refined_artifact(base, dict(base.weights), tmp_path, series(10), 1, {})
    log = tmp_path / "refine.log"
    arguments = ("refine", str(tmp_path / "a"), "--site", str(SITE), "--from", "beginning", "--every", "3600")
    with log.open("wb") as told:
        process = subprocess.Popen(command_of(topics, tmp_path, *arguments), cwd=ROOT, stderr=told)
        try:
            until(lambda: "refining site lab" in log.read_text() or process.poll() is not None)
            assert run(command_of(topics, tmp_path, "publish", DEMO, "--site", str(SITE))).returncode == 0
            until(lambda: (tmp_path / "a" / "uplink" / "events.jsonl").exists())
            with model_publisher(topics, "test") as publisher:
                told_of = {"base": base.sha, "reason": "federated", "serves_from": 5}
                publisher.publish("lab", "uplink", folder, artifact.sha, **told_of)  # type: ignore[arg-type]
                publisher.publish("elsewhere", "uplink", folder, artifact.sha, **told_of)  # type: ignore[arg-type]
            until(lambda: "taken up" in log.read_text(), 300)  # a challenger that is being trained comes first
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
    text = log.read_text()
    assert f"taken up: model {artifact.sha[:16]} of lab/uplink (federated)" in text
    assert text.count("taken up") == 1
    assert "ledger" in text
    assert "Traceback" not in text
