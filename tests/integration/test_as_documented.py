"""What the pages show is run as it stands there; and what the programs print is the same on either way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from kafka import KafkaProducer

from bench.service import site_file
from deploy.client.build_hook import write_client
from offramp.kafka import KafkaSettings
from tests.integration.agents import command_of, run
from tests.support.commands import as_bytes, moved
from tests.support.places import ROOT
from tests.support.workers import DEMO, WAIT_S, Decisions, WorkerProcess, expected, workers


def snippet() -> str:
    """The controller of docs/controller.md, which README shows too."""
    page = (ROOT / "docs/controller.md").read_text(encoding="utf-8")
    found = [each for each in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "DecisionClient" in each]
    assert len(found) == 1
    assert found[0] in (ROOT / "README.md").read_text(encoding="utf-8")
    return str(found[0])


def test_the_controller_of_the_page_does_what_it_says(topics: KafkaSettings, tmp_path: Path) -> None:
    """It begins at the end of the topic, so commands are sent, as repeats, until it has acknowledged them."""
    assert len(snippet().splitlines()) <= 10
    site, _ = site_file(1, tmp_path)
    sample = [json.loads(body) for body in expected(site)["uplink0"]]
    now_ns = time.time_ns() + 50_000_000_000  # the sample's, as if decided in most of a minute: they live 10 s
    bodies = [as_bytes(moved(body, now_ns + number)) for number, body in enumerate(sample)]
    enforced = [as_bytes({**json.loads(body), "mode": "enforce"}) for body in bodies[:2]]
    config = tmp_path / "kafka.toml"
    config.write_text(f'prefix = "{topics.prefix}"\n')
    client = tmp_path / "client/offramp_client"  # as its wheel has it
    client.mkdir(parents=True)
    write_client(client)
    environment = {**os.environ, "OFFRAMP_KAFKA": topics.shown, "OFFRAMP_KAFKA_CONFIG": str(config)}
    environment["PYTHONPATH"] = str(client.parent)
    acks = Decisions(topics, "acks")
    producer = KafkaProducer(**topics.client_arguments())
    controller = subprocess.Popen(
        [sys.executable, "-c", snippet()], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        until = time.monotonic() + WAIT_S
        while len(acks.records) < len(bodies) and time.monotonic() < until:
            for body in [*enforced, *bodies[2:]]:
                producer.send(topics.topic("decisions"), body, b"link:uplink0")
            producer.flush()
            acks.read()
    finally:
        controller.kill()
        printed, _ = controller.communicate()
    for each in (acks, producer):
        each.close()
    told = [json.loads(record.value) for record in acks.records]
    assert [each["decision_id"] for each in told] == [json.loads(body)["decision_id"] for body in bodies]
    assert {(each["status"], each["controller"]) for each in told} == {("applied", "mine")}
    assert printed.splitlines() == [str(json.loads(body)["action"]) for body in enforced]


def test_follow_prints_what_replay_prints(topics: KafkaSettings, tmp_path: Path) -> None:
    """Byte for byte, from program to program: publish, worker and follow beside replay."""
    site, path = site_file(1, tmp_path)
    replayed = run([sys.executable, "-m", "offramp", "replay", DEMO, "--site", str(path), "--format", "jsonl"])
    assert replayed.returncode == 0, replayed.stderr
    decisions = Decisions(topics)
    with workers(WorkerProcess(topics, path, tmp_path / "w.log")) as running:
        published = run(command_of(topics, tmp_path, "publish", DEMO, "--site", str(path)))
        assert published.returncode == 0, published.stderr
        decisions.wait_for(expected(site))
        running[0].stop()
    decisions.close()
    followed = run(command_of(topics, tmp_path, "follow", "--from", "beginning", "--no-wait", "--format", "jsonl"))
    assert followed.returncode == 0, followed.stderr
    assert followed.stdout.encode() == replayed.stdout.encode()
    assert followed.stdout.count("\n") == len(expected(site)["uplink0"]) > 10
