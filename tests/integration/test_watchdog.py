"""The watchdog with real workers: one whose messages do not come is ended, with a checkpoint where that can be."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from bench.service import site_file
from offramp.kafka import KafkaSettings
from offramp.stream.topics.table import create_topics
from offramp.stream.worker.watchdog import OffsetPosition, PartitionWaits, Wait
from tests.support.places import ROOT
from tests.support.workers import (
    Decisions,
    WorkerProcess,
    demo_batches,
    expected,
    publisher_of,
    workers,
)

SABOTAGE = """
import sys, threading, time
from functools import partial
from offramp.cli.commands import main
from offramp.stream.worker import watchdog
from offramp.stream import app

class Sabotaged(app.Worker):
    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        threading.Thread(target=self.sabotage, daemon=True).start()

    def sabotage(self):
        while self.ledger.messages < 3:
            time.sleep(0.05)
        if HOW == "paused":  # as after a rebalance that Faust does not come out of
            consumer = self.app.consumer
            consumer.pause_partitions(consumer.assignment())
        else:
            self.app.loop.call_soon_threadsafe(time.sleep, 3600)
        print("sabotaged", file=sys.stderr, flush=True)

app.Worker = Sabotaged
watchdog.Watchdog = partial(watchdog.Watchdog, end_s=3.0)
main()
"""


class Sabotaged(WorkerProcess):
    """A worker whose consumer is paused, or whose event loop hangs, after its third message."""

    def __init__(self, how: str, settings: KafkaSettings, site: Path, log: Path) -> None:
        self.how = how
        super().__init__(settings, site, log, "--stall", "2", "--checkpoint", "60")

    def start(self, command: list[str], stdout: IO[bytes], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        return super().start([sys.executable, "-c", f"HOW = {self.how!r}\n{SABOTAGE}", *command[3:]], stdout, stderr)


def publish(settings: KafkaSettings, stop: int | None) -> None:
    """The demo's messages up to one, or all with their end; those that came before are dropped as repeats."""
    out = publisher_of(settings)
    for batch in demo_batches(2048)[:stop]:
        out.publish("uplink0", batch)
    if stop is None:
        out.end("uplink0")
    assert out.close()


def test_a_worker_whose_messages_do_not_come_is_ended(kafka: KafkaSettings, tmp_path: Path) -> None:
    site, path = site_file(1, tmp_path)
    wanted = expected(site)
    both = [("paused", replace(kafka, prefix=f"t{uuid.uuid4().hex[:12]}")), ("hung", kafka)]
    for _, settings in both:
        create_topics(settings, 2, 1)
    running = [Sabotaged(how, settings, path, tmp_path / f"{how}.log") for how, settings in both]
    with workers(*running) as all_of_them:
        for (_, settings), worker in zip(both, running, strict=True):
            publish(settings, 4)
            deadline = time.monotonic() + 90
            while "sabotaged" not in worker.log.read_text():
                assert time.monotonic() < deadline, worker.log.read_text()
                time.sleep(0.05)
            publish(settings, None)
        for worker in running:
            assert worker.process.wait(60) == 1, worker.log.read_text()
        paused, hung = (worker.log.read_text() for worker in running)
        told = [line for line in paused.splitlines() if not line.startswith("offramp: compil")]
        assert told[-1].startswith("offramp: worker: partition ")
        assert "message(s) wait and none came for" in paused
        assert "Traceback" not in paused + hung
        assert "checkpoints                    1" in paused  # of its end: none was due before
        assert hung.splitlines()[-1].endswith("and it did not end in order")
        decisions = Decisions(both[0][1])
        all_of_them.append(WorkerProcess(both[0][1], path, tmp_path / "next.log"))
        decisions.wait_for(wanted)
        decisions.close()
        assert "links taken over               1" in all_of_them[-1].stop()


def test_only_what_is_waited_for_in_vain_waits() -> None:
    waits = PartitionWaits()

    def at(now_s: float, offset: int, end: int, *, idle: bool = True) -> Wait:
        return waits.update(now_s, {3: OffsetPosition(offset, idle)}, {3: end})[3]

    assert at(0, 5, 9) == Wait(4, 0)
    assert at(10, 5, 9) == Wait(4, 10)
    assert at(20, 5, 9, idle=False) == Wait(4, 0)  # a slow message
    assert at(25, 5, 9) == Wait(4, 5)
    assert at(30, 6, 12) == Wait(6, 0)  # one was taken
    assert at(40, 12, 12) == Wait(0, 0)  # nothing to wait for
    assert at(90, 12, 12) == Wait(0, 0)
    assert at(91, 12, 13) == Wait(1, 1)
    waits.clear()  # Kafka was away, or the partition another's
    assert at(200, 12, 13) == Wait(1, 0)
    assert at(201, 12, 11) == Wait(0, 0)


@pytest.mark.parametrize("text", ["-1", "soon"])
def test_a_wrong_stall_is_refused(text: str) -> None:
    command = [sys.executable, "-m", "offramp", "worker", "--kafka", "127.0.0.1:9", "--stall", text]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert "--stall" in done.stderr
