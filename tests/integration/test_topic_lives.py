"""The feature topic changes under its workers: deleted, made again, grown. What comes is taken, or told why not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import RetriableError
from kafka.structs import OffsetAndMetadata

from bench.service import site_file
from offramp.capture.publish.publisher import Publisher
from offramp.decision.client import DecisionClient
from offramp.kafka import KafkaSettings, topic_states
from offramp.stream.topics.table import create_topics
from offramp.stream.worker.checkpoint import encode_checkpoint
from offramp.stream.worker.checkpoint_reader import load_states
from tests.integration.until import until
from tests.support.places import ROOT
from tests.support.scrape import scrape_until, url_in
from tests.support.workers import (
    Decisions,
    WorkerProcess,
    demo_batches,
    demo_messages,
    expected,
    publisher_of,
    workers,
)


@contextmanager
def admin_of(settings: KafkaSettings) -> Iterator[Any]:
    admin = KafkaAdminClient(**settings.client_arguments())
    try:
        yield admin
    finally:
        admin.close()


def delete(settings: KafkaSettings, *names: str) -> None:
    with admin_of(settings) as admin:
        topics = [settings.topic(name) for name in names]
        admin.delete_topics(topics)
        until(lambda: not set(topics) & set(admin.list_topics()))


def id_of(settings: KafkaSettings, name: str = "features") -> str:
    return topic_states(settings, "test", name)[settings.topic(name)].id


def publish(settings: KafkaSettings, epochs: Mapping[str, int]) -> None:
    """The demo on each link, as a recording of that epoch."""
    for link, epoch in epochs.items():
        out = publisher_of(settings, epoch)
        for batch in demo_batches():
            out.publish(link, batch)
        out.end(link)
        assert out.close()


def committed(settings: KafkaSettings, site: str) -> int:
    with admin_of(settings) as admin:
        group, place = f"{settings.prefix}-{site}", TopicPartition(settings.topic("features"), 0)
        try:
            found = admin.list_group_offsets({group: [place]})[group]
        except RetriableError:  # a new broker makes the topic of offsets when it is first asked
            return -1
        return int(found[place].offset) if place in found else -1


def test_what_a_topic_holds_that_was_made_again_is_taken_whole(topics: KafkaSettings, tmp_path: Path) -> None:
    """More messages than the worker's place in the former one counts, some of epochs that were published before."""
    site, path = site_file(5, tmp_path)
    wanted, names = expected(site), [link.name for link in site.links]
    each, messages = len(wanted[names[0]]), demo_messages()
    decisions = Decisions(topics)
    worker = WorkerProcess(topics, path, tmp_path / "w.log", "--stall", "10")
    with workers(worker):
        publish(topics, dict.fromkeys(names[:4], 1))
        decisions.wait_until(4 * each)
        until(lambda: committed(topics, site.name) == 4 * messages)
        delete(topics, "features")
        until(lambda: "deleted; run `offramp topics create`" in worker.log.read_text())
        create_topics(topics, 1, 1)
        publish(topics, dict(zip(names, (1, 1, 2, 2, 1), strict=True)))
        decisions.wait_until(9 * each)
        until(lambda: committed(topics, site.name) == 5 * messages)
        told = worker.stop()
    assert worker.process.returncode == 0
    assert told.count("was made again: its messages are taken from its beginning") == 1
    assert "Traceback" not in told
    decisions.wait_for(wanted)
    assert len(decisions.records) == 9 * each
    decisions.close()


def test_a_new_worker_believes_no_place_of_another_life(topics: KafkaSettings, tmp_path: Path) -> None:
    """Checkpoints and a committed offset of a topic before, as in a cluster that was restored or moved."""
    site, path = site_file(3, tmp_path)
    wanted, names = expected(site), [link.name for link in site.links]
    each, messages = len(wanted[names[0]]), demo_messages()
    decisions, before = Decisions(topics), id_of(topics)
    with workers(WorkerProcess(topics, path, tmp_path / "w.log")) as running:
        publish(topics, dict.fromkeys(names[:2], 1))
        decisions.wait_until(2 * each)
        until(lambda: committed(topics, site.name) == 2 * messages)
        running[0].stop()
        delete(topics, "features")
        create_topics(topics, 1, 1)
        consumer = KafkaConsumer(**topics.client_arguments(), group_id=f"{topics.prefix}-{site.name}")
        place = TopicPartition(topics.topic("features"), 0)
        consumer.commit({place: OffsetAndMetadata(2 * messages, f"{before}/1", -1)})
        consumer.close()
        publish(topics, dict(zip(names, (1, 2, 1), strict=True)))
        running.append(WorkerProcess(topics, path, tmp_path / "next.log"))
        decisions.wait_until(5 * each)
        until(lambda: committed(topics, site.name) == 3 * messages)
        running[-1].stop()
    decisions.wait_for(wanted)
    assert len(decisions.records) == 5 * each
    decisions.close()


@pytest.mark.long  # three lives of the topics; the tests around it have two each
def test_topics_made_anew_with_another_number_of_partitions_are_worked_on(kafka: KafkaSettings, tmp_path: Path) -> None:
    """The way back that is told where partitions were added; more of them, and then fewer, under one worker."""
    site, path = site_file(4, tmp_path)
    wanted, names = expected(site), [link.name for link in site.links]
    each = len(wanted[names[0]])
    create_topics(kafka, 1, 1)
    decisions = Decisions(kafka)
    worker = WorkerProcess(kafka, path, tmp_path / "w.log", "--metrics", "0")
    with workers(worker):
        url = url_in(worker.log)
        for life, partitions in enumerate((1, 3, 2), start=1):
            if life > 1:
                delete(kafka, "features", "state")
                create_topics(kafka, partitions, 1)
            publish(kafka, dict.fromkeys(names, life))
            decisions.wait_until(4 * each * life)
            scrape_until(
                url,
                lambda found, count=partitions: found["offramp_worker_partitions",] == count,  # type: ignore[misc]
            )
        assert scrape_until(url, lambda _: True)["offramp_worker_added_partitions",] == 0
        told = worker.stop()
    assert worker.process.returncode == 0
    assert told.count("was made again") == 2
    assert "Traceback" not in told
    decisions.wait_for(wanted)
    decisions.close()


def test_an_agent_that_goes_on_over_the_lives_of_a_topic_goes_on_with_its_link(
    topics: KafkaSettings, tmp_path: Path
) -> None:
    """Its next message is of what comes after the checkpoint: windows and moves stay, and no gap is counted."""
    site, path = site_file(1, tmp_path)
    decisions, batches = Decisions(topics), demo_batches(2048)
    worker = WorkerProcess(topics, path, tmp_path / "w.log", "--metrics", "0")
    with workers(worker):
        out = publisher_of(topics)
        for batch in batches[:6]:
            out.publish("uplink0", batch)
        until(lambda: committed(topics, site.name) == 6)
        delete(topics, "features")
        until(lambda: "deleted; run" in worker.log.read_text())
        create_topics(topics, 1, 1)
        until(lambda: "was made again" in worker.log.read_text())
        for batch in batches[6:]:
            out.publish("uplink0", batch)
        out.end("uplink0")
        assert out.close()
        decisions.wait_for(expected(site))
        found = scrape_until(
            url_in(worker.log), lambda found: found["offramp_link_messages_total", "uplink0"] == len(batches) + 1
        )
        assert found["offramp_link_gap_messages_total", "uplink0"] == 0
        assert found["offramp_link_duplicate_messages_total", "uplink0"] == 0
    decisions.close()


def test_an_offset_of_another_life_of_the_topic_says_nothing(topics: KafkaSettings) -> None:
    """Checkpoints and committed offsets, by what they name; those of before, that name nothing, stay readable."""
    now, before = id_of(topics), "00000000-1111-2222-3333-444444444444"
    producer = KafkaProducer(**topics.client_arguments())
    for _ in range(100):
        producer.send(topics.topic("features"), b"x", b"uplink", partition=0)

    def write(link: str, offset: int, topic: str | None = None) -> None:
        told = {} if topic is None else {"topic": topic}
        value = encode_checkpoint({"next_offset": offset, **told})
        producer.send(topics.topic("state"), value, f"lab/{link}".encode(), partition=0).get(30)

    written: dict[str, list[tuple[int, str | None]]] = {
        "old": [(60, None), (40, None)],
        "moved": [(90, before), (30, before)],
        "back": [(90, before), (30, now), (95, before)],
        "cut": [(101, now)],
        "ahead": [(101, None)],
    }
    for link, checkpoints in written.items():
        for offset, topic in checkpoints:
            write(link, offset, topic)
    producer.close()
    places = []
    consumer = KafkaConsumer(**topics.client_arguments(), group_id="g")
    for offset, topic in ((50, ""), (50, now), (50, before), (101, now), (101, "")):
        consumer.commit({TopicPartition(topics.topic("features"), 0): OffsetAndMetadata(offset, topic, -1)})
        states, due, _ = load_states(topics, 0, "lab", frozenset(written), "g", now)
        places.append(due)
    consumer.close()
    assert places == [50, 50, 0, 0, 0]
    found = {link: (state["next_offset"], bool(state.get("elsewhere"))) for link, state in states.items()}
    assert found == {"old": (60, False), "moved": (0, True), "back": (30, False), "cut": (0, False)}


def test_partitions_that_are_added_are_told_and_the_others_go_on(kafka: KafkaSettings, tmp_path: Path) -> None:
    create_topics(kafka, 2, 1)
    site, path = site_file(1, tmp_path)
    decisions = Decisions(kafka)
    command = [sys.executable, "-m", "offramp", "worker", "--site", str(path), "--kafka", kafka.shown]
    worker = WorkerProcess(kafka, path, tmp_path / "w.log", "--metrics", "0", "--stall", "10")
    command += ["--kafka-config", str(tmp_path / "w.toml")]
    with workers(worker), admin_of(kafka) as admin:
        url = url_in(worker.log)
        scrape_until(url, lambda found: found.get(("offramp_worker_partitions",)) == 2)
        where = KafkaProducer(**kafka.client_arguments())
        partition = where.send(kafka.topic("features"), b"x", b"uplink0").get(30).partition
        where.close()
        publish(kafka, {"uplink0": 1})
        decisions.wait_for(expected(site))
        admin.create_partitions({kafka.topic("features"): 5})
        scrape_until(url, lambda found: found["offramp_worker_added_partitions",] == 3)
        until(lambda: "the links of 3 are not worked on; partitions cannot be added" in worker.log.read_text())
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert "5 partitions" in done.stderr
        assert "docs/kafka.md, Partitions" in done.stderr
        admin.create_partitions({kafka.topic("state"): 5})
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr  # its links would lose their state
        assert "had 2 partitions" in done.stderr
        producer = KafkaProducer(**kafka.client_arguments())
        for each in range(5):
            producer.send(kafka.topic("features"), b"x", b"uplink0", partition=each).get(30)
        producer.close()
        found = scrape_until(url, lambda found: found.get(("offramp_worker_messages_total",), 0) >= 10)
        assert worker.process.poll() is None
        assert found["offramp_worker_added_partitions",] == 3
        assert partition < 2
        told = worker.stop()
        assert "Traceback" not in told
    decisions.close()


@pytest.mark.parametrize("lost", ["decisions", "state"])
def test_a_topic_that_is_deleted_is_told_and_used_again_when_it_is_back(
    topics: KafkaSettings, tmp_path: Path, lost: str
) -> None:
    site, path = site_file(1, tmp_path)
    worker, batches = WorkerProcess(topics, path, tmp_path / "w.log"), demo_batches(2048)
    with workers(worker):
        out = publisher_of(topics)
        for batch in batches[:3]:
            out.publish("uplink0", batch)
        until(lambda: committed(topics, site.name) == 3)
        delete(topics, lost)
        for batch in batches[3:]:
            out.publish("uplink0", batch)
        out.end("uplink0")
        assert out.close()
        until(lambda: f"{topics.topic(lost)}: deleted; run" in worker.log.read_text())
        create_topics(topics, 1, 1)
        until(lambda: committed(topics, site.name) == len(batches) + 1)
        told = worker.stop()
        assert worker.process.returncode == 0
        assert "Traceback" not in told
        assert len(told.splitlines()) < 25, told


def test_a_controller_and_a_follower_pass_nothing_over_of_a_topic_that_was_made_again(
    topics: KafkaSettings, tmp_path: Path
) -> None:
    """Of the new life there is more than they had read of the former."""
    site, _ = site_file(2, tmp_path)
    first, second = (expected(site)[link.name] for link in site.links)
    out = tmp_path / "follow.out"
    config = tmp_path / "kafka.toml"
    config.write_text(f'prefix = "{topics.prefix}"\n')
    follow = [sys.executable, "-m", "offramp", "follow", "--from", "beginning"]
    follow += ["--kafka", topics.shown, "--kafka-config", str(config)]

    def send(bodies: list[bytes]) -> None:
        producer = KafkaProducer(**topics.client_arguments())
        for body in bodies:
            producer.send(topics.topic("decisions"), body, b"link").get(30)
        producer.close()

    found: list[str] = []
    with out.open("wb") as told, subprocess.Popen(follow, stdout=told, stderr=told, cwd=ROOT) as follower:
        try:
            send(first[:4])
            with DecisionClient(topics, controller="c", start="beginning", clock=lambda: 0, idle_s=90) as client:
                commands = iter(client)
                found += [next(commands)["decision_id"] for _ in first[:4]]
                until(lambda: out.read_text().count(" (") == 4)
                delete(topics, "decisions")
                create_topics(topics, 1, 1)
                name, now = topics.topic("decisions"), id_of(topics, "decisions")
                until(lambda: client._watch is not None and (seen := client._watch.topics.get(name)) and seen.id == now)
                send(second)
                found += [next(commands)["decision_id"] for _ in second]
            until(lambda: "/10 link " in out.read_text() and "was made again" in out.read_text())
        finally:
            follower.kill()
    assert found == [json.loads(body)["decision_id"] for body in (*first[:4], *second)]
    text = out.read_text()
    assert text.count("was made again") == 1
    assert {int(number) for number in re.findall(r" 0/(\d+) link ", text)} == set(range(len(second)))


def test_a_worker_that_sees_other_sites_only_says_so(topics: KafkaSettings, tmp_path: Path) -> None:
    _, path = site_file(1, tmp_path)
    worker = WorkerProcess(topics, path, tmp_path / "w.log")
    with workers(worker):
        out = Publisher(topics, site="Lab", agent="tap", epoch=1)
        out.start()
        for batch in demo_batches():
            out.publish("uplink0", batch)
        assert out.close()
        until(lambda: "only messages of other sites came" in worker.log.read_text())
        told = [line for line in worker.stop().splitlines() if "other sites came" in line]
    assert len(told) == 1
    assert "the last of site 'Lab'; this worker is of site 'lab': is `name` in its site.toml that of its" in told[0]


def test_a_client_that_is_closed_by_another_thread_ends_its_iteration(topics: KafkaSettings) -> None:
    client = DecisionClient(topics, controller="c").open()
    ended: list[object] = []

    def work() -> None:
        try:
            ended.append(list(client))
        except BaseException as error:
            ended.append(error)
            raise

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: ended or client._consumer.assignment())
    client.close()
    thread.join(30)
    assert ended == [[]]
