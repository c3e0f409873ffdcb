"""A broker that goes away under commands that run: one line when it goes, one when it is back, and an end in order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import zstandard

from bench.service import site_file
from deploy.kafka.broker import Broker
from offramp.kafka import KafkaSettings
from tests.integration.agents import command_of
from tests.integration.until import until
from tests.support.places import ROOT
from tests.support.scrape import scrape_until, url_in
from tests.support.workers import (
    DEMO,
    Decisions,
    WorkerProcess,
    demo_batches,
    expected,
    publisher_of,
    workers,
)

END_S = 10.0
"""What Docker gives a container that is told to end."""
STAMPED = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ WARNING offramp \w+: ")


def restartable(broker: Broker) -> Broker:
    if os.environ.get("OFFRAMP_KAFKA"):
        pytest.skip("OFFRAMP_KAFKA names a cluster that tests may not restart")
    return broker


def test_a_worker_says_once_that_kafka_is_away_and_ends_in_time_without_it(
    broker: Broker, topics: KafkaSettings, tmp_path: Path
) -> None:
    restartable(broker)
    site, path = site_file(1, tmp_path)
    worker = WorkerProcess(topics, path, tmp_path / "w.log", "--metrics", "127.0.0.1:0")
    decisions, batches = Decisions(topics), demo_batches(2048)

    def publish(stop: int | None) -> None:
        out = publisher_of(topics)
        for batch in batches[:stop]:
            out.publish("uplink0", batch)
        if stop is None:
            out.end("uplink0")
        assert out.close()

    with workers(worker):
        publish(6)
        url = url_in(worker.log)
        scrape_until(url, lambda found: found.get(("offramp_worker_checkpoints_total",), 0) > 0)
        found = scrape_until(url, lambda found: found.get(("offramp_worker_lag_messages", "0")) == 0)
        assert found["offramp_kafka_connected",] == 1
        before = worker.log.read_text()
        broker.stop()
        scrape_until(url, lambda found: found["offramp_kafka_connected",] == 0)
        scrape_until(url, lambda found: found["offramp_kafka_silent_seconds",] > 15)
        gone = worker.log.read_text().removeprefix(before)
        assert len(gone.splitlines()) == 1, gone
        assert "does not answer" in gone
        assert STAMPED.match(gone)
        broker.start()
        scrape_until(url, lambda found: found["offramp_kafka_connected",] == 1)
        publish(None)
        decisions.wait_for(expected(site))
        back = worker.log.read_text().removeprefix(before + gone)
        assert len(back.splitlines()) == 1, back
        assert "answers again" in back
        assert STAMPED.match(back)
        broker.stop()
        scrape_until(url, lambda found: found["offramp_kafka_connected",] == 0)
        worker.process.send_signal(signal.SIGTERM)
        try:
            assert worker.process.wait(END_S) == 0
        finally:
            broker.start()
            decisions.close()
    told = worker.log.read_text().removeprefix(before + gone + back).splitlines()
    assert "does not answer" in told[0]
    assert told[1] == "ledger"
    assert "links taken over" in told[-1]


def test_a_worker_that_is_told_to_end_while_it_cannot_checkpoint_ends_in_time(
    broker: Broker, topics: KafkaSettings, tmp_path: Path
) -> None:
    """The broker goes with messages taken and none checkpointed, and the signal comes before anybody has seen that."""
    restartable(broker)
    site, path = site_file(1, tmp_path)
    worker = WorkerProcess(topics, path, tmp_path / "w.log", "--metrics", "127.0.0.1:0", "--checkpoint", "600")
    with workers(worker) as running:
        out = publisher_of(topics)
        for batch in demo_batches(2048):
            out.publish("uplink0", batch)
        out.end("uplink0")
        assert out.close()
        taken = out.ledger.messages
        scrape_until(url_in(worker.log), lambda found: found.get(("offramp_worker_messages_total",)) == taken)
        broker.stop()
        worker.process.send_signal(signal.SIGTERM)
        try:
            assert worker.process.wait(END_S) == 0
        finally:
            broker.start()
        told = worker.log.read_text()
        assert "Traceback" not in told
        assert "checkpoints                    0" in told
        decisions = Decisions(topics)
        running.append(WorkerProcess(topics, path, tmp_path / "next.log"))
        decisions.wait_for(expected(site))  # by both, each command with the same bytes
        decisions.close()


def test_a_worker_that_is_started_while_kafka_goes_ends_with_one_line(
    broker: Broker, topics: KafkaSettings, tmp_path: Path
) -> None:
    restartable(broker)
    _, path = site_file(1, tmp_path)
    worker = WorkerProcess(topics, path, tmp_path / "w.log")
    with workers(worker):
        until(lambda: "worker of site" in worker.log.read_text() or worker.process.poll() is not None)
        broker.stop()
        try:
            until(lambda: "does not answer" in worker.log.read_text() or worker.process.poll() is not None)
            worker.process.send_signal(signal.SIGTERM)
            worker.process.wait(END_S)
        finally:
            broker.start()
    told = worker.log.read_text()
    assert "Traceback" not in told
    assert sum("WARNING" in line or line.startswith("offramp: worker") for line in told.splitlines()) <= 2, told


GONE = """
import aiokafka.client
from aiokafka.errors import KafkaConnectionError
from offramp.cli.commands import main
from offramp.stream.worker import service

async def fails(self):
    raise KafkaConnectionError("Unable to bootstrap")

def run(*arguments, real=service.run):
    aiokafka.client.AIOKafkaClient.bootstrap = fails
    real(*arguments)

service.run = run
main()
"""


def test_a_worker_whose_clients_cannot_start_says_why_in_one_line(topics: KafkaSettings, tmp_path: Path) -> None:
    """Kafka goes between the checks and Faust's start, which prints tracebacks of the threads that it begins."""
    _, path = site_file(1, tmp_path)
    command = command_of(topics, tmp_path, "worker", "--site", str(path))
    done = subprocess.run([sys.executable, "-c", GONE, *command[3:]], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "offramp: worker: ended by KafkaConnectionError: Unable to bootstrap; start it again"
    )


@pytest.mark.long  # by the same code as the worker above
def test_agent_refiner_and_follower_say_it_once_too(broker: Broker, topics: KafkaSettings, tmp_path: Path) -> None:
    """Each in the middle of its work: an agent whose packets come over a pipe, and two that wait for messages."""
    restartable(broker)
    _, path = site_file(1, tmp_path)
    commands = {
        "publish": command_of(topics, tmp_path, "publish", "-", "--site", str(path), "--metrics", "0"),
        "refine": command_of(topics, tmp_path, "refine", str(tmp_path / "refined"), "--site", str(path)),
        "follow": command_of(topics, tmp_path, "follow", "--topic", "features"),
    }
    with zstandard.open(DEMO, "rb") as packed:
        capture = packed.read()
    with ExitStack() as stack:
        logs, started = {}, {}
        for name, command in commands.items():
            logs[name] = tmp_path / f"{name}.log"
            err, out = (stack.enter_context(each.open("wb")) for each in (logs[name], tmp_path / f"{name}.out"))
            started[name] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=err, cwd=ROOT)
            stack.callback(started[name].wait)
            stack.callback(started[name].kill)

        def told(name: str) -> list[str]:
            return [line for line in logs[name].read_text().splitlines() if STAMPED.match(line)]

        def all_told(count: int, text: str) -> bool:
            return all(len(told(name)) == count and text in told(name)[-1] for name in commands)

        until(lambda: "stop it with Ctrl-C" in logs["refine"].read_text())
        pipe = started["publish"].stdin
        assert pipe is not None
        pipe.write(capture)
        pipe.flush()
        until(lambda: (tmp_path / "follow.out").read_text().count("rows=") > 5)
        broker.stop()
        try:
            until(lambda: all_told(1, "does not answer"))
            scrape_until(url_in(logs["publish"]), lambda found: found["offramp_kafka_silent_seconds",] > 15)
            assert all_told(1, "does not answer")
        finally:
            broker.start()
        until(lambda: all_told(2, "answers again"))
        broker.stop()
        try:
            until(lambda: all_told(3, "does not answer"))
            for each in started.values():
                each.send_signal(signal.SIGTERM)
            ended = {name: each.wait(END_S) for name, each in started.items()}
        finally:
            broker.start()
    assert ended == {"publish": 130, "refine": 0, "follow": -signal.SIGTERM}
    for name, log in logs.items():
        text = log.read_text()
        assert "Traceback" not in text, text
        assert ("\nledger\n" in text) == (name != "follow")
