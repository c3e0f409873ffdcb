"""Metrics of agent and worker over a real broker: what is scraped adds up, as the ledgers do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import zstandard
from kafka import KafkaProducer

from bench.service import site_file
from offramp.kafka import KafkaSettings
from tests.integration.agents import command_of
from tests.support.places import ROOT, SITE
from tests.support.scrape import Scraped, scrape_until, total, url_in
from tests.support.workers import (
    DEMO,
    Decisions,
    WorkerProcess,
    demo_batches,
    expected,
    publisher_of,
    workers,
)

PARTITIONS = 2


def test_a_workers_numbers_add_up(topics: KafkaSettings, tmp_path: Path) -> None:
    """A recording published twice, and a message that is none: rows published = rows consumed + rows of duplicates."""
    site, path = site_file(1, tmp_path)
    wanted = expected(site)
    decisions = Decisions(topics)
    rows = messages = 0
    with workers(WorkerProcess(topics, path, tmp_path / "w.log", "--metrics", "127.0.0.1:0")) as running:
        for _ in range(2):
            out = publisher_of(topics)
            for batch in demo_batches(2048):
                out.publish("uplink0", batch)
            out.end("uplink0")
            assert out.close()
            rows, messages = rows + out.ledger.rows, messages + out.ledger.messages
        raw = KafkaProducer(**topics.client_arguments())
        raw.send(topics.topic("features"), b"garbage", b"uplink0")
        raw.close()
        decisions.wait_for(wanted)
        url = url_in(running[0].log)

        def caught_up(found: Scraped) -> bool:
            """Until all is taken, the broker was asked since, and the last checkpoint is written."""
            lag = [value for key, value in found.items() if key[0] == "offramp_worker_lag_messages"]
            taken = found.get(("offramp_worker_messages_total",)) == messages + 1
            return taken and len(lag) == 2 and not any(lag)

        found = scrape_until(url, caught_up)
        told = running[0].stop()
        assert running[0].process.returncode == 0, told

    def value(name: str, *labels: str) -> float:
        return found[f"offramp_{name}", *labels]

    commands = len(wanted["uplink0"])
    assert value("link_rows_total", "uplink0") + value("link_duplicate_rows_total", "uplink0") == rows
    assert value("link_messages_total", "uplink0") + value("link_duplicate_messages_total", "uplink0") == messages
    assert value("link_gap_messages_total", "uplink0") == 0
    assert value("worker_refused_messages_total", "headers") == value("worker_sent_messages_total", "dead-letters") == 1
    assert value("worker_message_rows_count") == value("worker_message_seconds_count") == messages
    assert value("worker_message_rows_sum") == rows
    assert value("stream_rows_total", "uplink0") == value("link_rows_total", "uplink0") == rows / 2
    assert value("link_ends_total", "uplink0") == value("link_begun_anew_total", "uplink0") == 1
    assert total(found, "offramp_stream_commands_total") == value("packet_to_decision_seconds_count") == commands
    assert value("worker_sent_messages_total", "decisions") == len(decisions.records) == commands
    assert value("worker_sent_bytes_total", "decisions") == sum(map(len, wanted["uplink0"]))
    assert (
        value("stream_forecasts_total", "uplink0") == value("model_rows_sum") >= value("stream_bins_total", "uplink0")
    )
    assert value("model_rows_count") == value("model_seconds_count") > 0
    assert value("worker_checkpoints_total") == value("worker_checkpoint_seconds_count")
    assert value("worker_partitions") == 2
    assert value("worker_rebalances_total") >= 1
    assert value("info", "worker", "lab", "0.1.0") == 1
    assert f"metrics on {url}" in told
    decisions.close()


def test_an_agents_numbers_add_up(topics: KafkaSettings, tmp_path: Path) -> None:
    """Packets come over a pipe that is held open, so that the agent can be asked when all of them are acknowledged."""
    command = command_of(topics, tmp_path, "publish", "-", "--site", str(SITE), "--metrics", "0")
    with zstandard.open(DEMO, "rb") as packed:
        capture = packed.read()
    log = tmp_path / "agent.log"
    with (
        log.open("wb") as err,
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=err, cwd=ROOT) as agent,
    ):
        assert agent.stdin is not None
        agent.stdin.write(capture)
        agent.stdin.flush()
        url = url_in(log)

        def acknowledged(found: Scraped) -> bool:
            rows = found.get(("offramp_publish_rows_total",), 0)
            return rows > 0 and found["offramp_publish_acknowledged_rows_total",] == rows

        found = scrape_until(url, acknowledged)
        refused = subprocess.run(
            [*command[:-4], "--metrics", url.split("/")[2], *command[-4:]],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
        agent.stdin.close()
        assert agent.wait(60) == 0, log.read_text()
    rows = found["offramp_publish_rows_total",]
    messages = found["offramp_publish_messages_total",]
    assert found["offramp_capture_packets_total", "uplink"] == found["offramp_capture_decoded_packets_total", "uplink"]
    assert found["offramp_capture_packets_total", "uplink"] >= rows
    assert found["offramp_publish_message_rows_count",] == found["offramp_publish_acknowledged_messages_total",]
    assert found["offramp_publish_acknowledged_messages_total",] == messages
    assert found["offramp_publish_message_rows_sum",] == rows
    assert found["offramp_publish_packet_to_topic_seconds_count",] == messages
    for name in ("queue_bytes", "under_way_bytes", "spool_bytes", "shed_rows_total", "earlier_rows_total"):
        assert found[f"offramp_publish_{name}",] == 0, name
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "in use" in refused.stderr
