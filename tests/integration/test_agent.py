"""The agent as its user meets it: published, killed, published again; errors in one line."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.service import site_file
from deploy.kafka.broker import free_ports
from offramp.kafka import KafkaSettings
from tests.integration.agents import command_of, messages_of, run
from tests.support.places import ROOT, SITE
from tests.support.workers import (
    DEMO,
    SOAK,
    Decisions,
    WorkerProcess,
    expected,
    workers,
)

PARTITIONS = 2


def test_a_killed_agent_is_started_over_and_nothing_changes(topics: KafkaSettings, tmp_path: Path) -> None:
    kills = 20 if SOAK else 2
    site, path = site_file(1, tmp_path)
    wanted = expected(site)
    command = command_of(topics, tmp_path, "publish", DEMO, "--site", str(path), "--pace", "12x", "--agent", "tap")
    decisions, rng = Decisions(topics), random.Random(3)
    with workers(WorkerProcess(topics, path, tmp_path / "w.log")) as running:
        for _ in range(kills):
            agent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
            time.sleep(rng.uniform(1.5, 4))
            agent.kill()
            agent.wait()
        last = run(command)
        assert last.returncode == 0, last.stderr
        decisions.wait_for(wanted)
        told = running[0].stop()
    decisions.close()
    assert "refused                      0" in told


def test_publish_and_follow_tell_what_there_is(topics: KafkaSettings, tmp_path: Path) -> None:
    done = run(command_of(topics, tmp_path, "publish", DEMO, "--site", str(SITE), "--spool", str(tmp_path / "spool")))
    assert done.returncode == 0, done.stderr
    assert "not acknowledged             0" in done.stderr
    follow = ("follow", "--topic", "features", "--from")
    whole = run(command_of(topics, tmp_path, *follow, "beginning", "--no-wait", "--format", "jsonl"))
    assert whole.returncode == 0, whole.stderr
    sent = messages_of(done.stderr)
    assert whole.stdout.count('"link":"uplink"') == sent > 6
    assert '"end":true' in whole.stdout.splitlines()[-1]
    assert len(run(command_of(topics, tmp_path, *follow, "5", "--no-wait")).stdout.splitlines()) == sent - 5
    assert len(run(command_of(topics, tmp_path, *follow, "0", "--count", "3")).stdout.splitlines()) == 3
    assert run(command_of(topics, tmp_path, *follow, "2100-01-01", "--no-wait")).stdout == ""
    since = run(command_of(topics, tmp_path, *follow, "2020-01-01T00:00:00Z", "--no-wait"))
    assert since.stdout.count("rows=") == sent


def test_wrong_use_is_one_line(topics: KafkaSettings, tmp_path: Path) -> None:
    away = KafkaSettings((f"127.0.0.1:{free_ports(1)[0]}",))
    elsewhere = KafkaSettings(topics.servers, prefix="nothing")
    wrong = (
        (topics, ("publish", DEMO, "--epoch", "soon"), 2, "--epoch soon"),
        (topics, ("follow", "--topic", "nope"), 2, "--topic nope"),
        (topics, ("follow", "--from", "yesterday"), 2, "--from 'yesterday'"),
        (elsewhere, ("publish", DEMO), 1, "offramp topics create"),
        (elsewhere, ("worker",), 1, "offramp topics create"),
        (elsewhere, ("follow",), 1, "offramp topics create"),
        (away, ("publish", DEMO), 1, "does not answer"),
        (away, ("follow",), 1, "does not answer"),
    )
    with ThreadPoolExecutor(4) as pool:
        folders = [tmp_path / str(number) for number in range(len(wrong))]
        for folder in folders:
            folder.mkdir()
        runs = [
            pool.submit(run, command_of(settings, folder, *arguments))
            for folder, (settings, arguments, _, _) in zip(folders, wrong, strict=True)
        ]
    for (_, arguments, code, word), each in zip(wrong, runs, strict=True):
        done = each.result()
        assert done.returncode == code, (arguments, done.stderr)
        assert done.stderr.startswith("offramp: "), done.stderr
        assert word in done.stderr
        assert done.stderr.count("\n") == 1


def test_no_kafka_named_is_said() -> None:
    done = run([sys.executable, "-m", "offramp", "follow"])
    assert done.returncode == 2
    assert "OFFRAMP_KAFKA" in done.stderr
