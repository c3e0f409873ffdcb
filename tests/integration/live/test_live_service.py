"""A live link all the way: agent, broker, worker and client on a veth, and what its recording replays to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.namespace import Namespace
from offramp.decision.client import DecisionClient
from offramp.kafka import KafkaSettings
from tests.integration.agents import Agent
from tests.support.places import ROOT, SITE
from tests.support.tap_process import number_of
from tests.support.workers import WorkerProcess, workers

WAY = ("packet", "read", "dissected", "published", "fetched", "begun", "decoded", "decided", "sent", "arrived")


def taken(settings: KafkaSettings) -> list[tuple[dict[str, object], dict[str, int]]]:
    """The commands that a controller gets until none come, each with its hops."""
    with DecisionClient(settings, controller="test", start="beginning", clock="stream", idle_s=3) as client:
        return [(command, dict(client.hops)) for command in client]


def test_live_commands_are_those_of_the_recording_and_tell_their_way(
    namespace: Namespace,
    topics: KafkaSettings,
    tmp_path: Path,
    own: Path,
) -> None:
    """A flood on the lab's link, as in tests/cli/test_tap.py, over Kafka."""
    file = own / "flood.pcapng"
    with workers(namespace.call(WorkerProcess, topics, SITE, tmp_path / "worker.log")):
        agent = Agent(namespace, topics, tmp_path, "--write", file, "--filter", "udp")
        agent.told("watching")
        blast = "from bench.blast import Sender; "
        blast += "Sender('v0', 1000, flows=4, segments=1, network=bytes([10, 13])).send(1500, 2.5)"
        sender = namespace.start([sys.executable, "-c", blast], cwd=ROOT)
        assert sender.communicate(timeout=60)[1] == ""
        text = agent.end()
        assert number_of(text, "rows published") == number_of(text, "acknowledged") == 3750
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "offramp",
            "replay",
            file,
            "--site",
            SITE,
            "--format",
            "jsonl",
        ]
        replayed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
        found = namespace.call(taken, topics)
    assert [body for body, _ in found] == [json.loads(line) for line in replayed]
    assert found
    for body, hops in found:
        times = [hops[name] for name in WAY if name in hops]
        assert times == sorted(times), (body["phase"], hops)
    assert any(tuple(hops) == WAY for _, hops in found)
