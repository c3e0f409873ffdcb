"""A broker that enforces the rights `offramp topics acl` prints: each role works with its own, and not beyond them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType
from kafka.errors import AuthorizationError, KafkaError

from bench.service import site_file
from deploy.kafka.broker import Broker, User
from offramp.decision.client import DecisionClient
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.kafka import KafkaSettings, kafka_settings, topic_name
from offramp.stream.topics.acl import ROLES
from offramp.stream.topics.model_topic import model_publisher, newest_models
from offramp.stream.topics.table import TOPICS, create_topics
from tests.integration.agents import SECRET, config_of, messages_of
from tests.integration.brokers import running
from tests.integration.until import until
from tests.support.places import ROOT
from tests.support.workers import DEMO, expected

NAMES = [role.name for role in ROLES]
ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if not k.startswith("OFFRAMP_")},
    "OFFRAMP_KAFKA_PASSWORD": SECRET,
}


@pytest.fixture(scope="module")
def guarded() -> Iterator[Broker]:
    """A broker whose users have the rights that the printed commands give them, and no others."""
    users = tuple(User(f"offramp-{name}", SECRET) for name in NAMES)
    with running(Broker(secure=True, guarded=True, more=users)) as made:
        command = [
            sys.executable,
            "-m",
            "offramp",
            "topics",
            "acl",
            "--site",
            "lab",
            "--controller",
            "sdn",
            "--commands",
        ]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=ENVIRONMENT).stdout
        admin = KafkaAdminClient(bootstrap_servers=made.address)
        admin.create_acls([acl for line in printed.splitlines() for acl in acls_of(line)])
        admin.close()
        yield made


def acls_of(line: str) -> Iterator[ACL]:
    """What a printed command asks Kafka's tool for."""
    words = shlex.split(line, comments=True)
    told = [(words[at], words[at + 1]) for at in range(len(words) - 1) if words[at].startswith("--")]
    given = dict(told)
    for name, operation in told:
        if name == "--operation":
            kind = "topic" if "--topic" in given else "group"
            pattern = ResourcePattern(
                ResourceType[kind.upper()], given[f"--{kind}"],
                ACLResourcePatternType[given["--resource-pattern-type"].upper()],
            )  # fmt: skip
            yield ACL(
                given["--allow-principal"], "*", ACLOperation[operation.upper()], ACLPermissionType.ALLOW, pattern
            )


def config(broker: Broker, role: str, folder: Path) -> Path:
    assert broker.certificates is not None
    values = {"tls": True, "ca": broker.certificates.authority, "username": f"offramp-{role}"}
    return config_of(folder / f"{role}.toml", **values, mechanism="SCRAM-SHA-512")


def settings(broker: Broker, role: str, folder: Path) -> KafkaSettings:
    path = config(broker, role, folder)
    return kafka_settings(broker.sasl_address, path, {"OFFRAMP_KAFKA_PASSWORD": SECRET})


def offramp(broker: Broker, role: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    reached = ["--kafka", broker.sasl_address, "--kafka-config", str(config(broker, role, folder))]
    command = [sys.executable, "-m", "offramp", *arguments, *reached]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=ENVIRONMENT, timeout=240)


def test_each_role_works_with_its_rights(guarded: Broker, tmp_path: Path) -> None:
    """All the way: topics, packets, commands, what a controller tells of them, a model; and looking on."""
    site, path = site_file(1, tmp_path)
    done = offramp(guarded, "admin", tmp_path, "topics", "create", "--partitions", "1")
    assert done.returncode == 0, done.stderr
    worker = subprocess.Popen(
        [sys.executable, "-m", "offramp", "worker", "--site", str(path), "--kafka", guarded.sasl_address,
         "--kafka-config", str(config(guarded, "worker", tmp_path)), "--checkpoint", "0.3"],
        cwd=ROOT, env=ENVIRONMENT, stderr=(tmp_path / "worker.log").open("wb"),
    )  # fmt: skip
    try:
        done = offramp(guarded, "agent", tmp_path, "publish", DEMO, "--site", str(path))
        assert done.returncode == 0, done.stderr
        sent = messages_of(done.stderr)
        wanted = len(expected(site)["uplink0"])
        found = []
        with DecisionClient(
            settings(guarded, "controller", tmp_path), controller="sdn", start="beginning", clock=lambda: 0
        ) as client:
            for command in client:
                client.ack(command, "applied")
                found.append(command)
                if len(found) == wanted:
                    break
        group = KafkaAdminClient(bootstrap_servers=guarded.address)
        places = [TopicPartition("offramp.features.v2", 0)]
        until(lambda: group.list_group_offsets({"offramp-lab": places})["offramp-lab"][places[0]].offset == sent)
        group.close()
    finally:
        worker.terminate()
        assert worker.wait(60) == 0
    log = (tmp_path / "worker.log").read_text()
    assert "WARNING" not in log, log
    done = offramp(guarded, "refiner", tmp_path, "refine", str(tmp_path / "refined"), "--site", str(path),
                   "--from", "beginning", "--no-wait")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for role in ("refiner", "federator"):
        own = settings(guarded, role, tmp_path)
        sha = load_artifact(DEFAULT_ARTIFACT).sha
        with model_publisher(own, role) as publisher:
            publisher.publish("lab", role, DEFAULT_ARTIFACT, sha, base=sha, reason="swapped", serves_from=0)
        assert f"lab/{role}" in newest_models(own, role)
    for topic in ("features", "forecasts", "decisions", "acks", "models", "dead-letters"):
        done = offramp(guarded, "follower", tmp_path, "follow", "--topic", topic, "--from", "beginning", "--no-wait")
        assert done.returncode == 0, done.stderr
        assert bool(done.stdout) == (topic != "dead-letters")


def operations(role: str, name: str) -> tuple[bool, bool]:
    """Whether a role may read and write a topic."""
    rights = next(each for each in ROLES if each.name == role).topics.get(name, ())
    return "Read" in rights, "Write" in rights


@pytest.mark.parametrize("role", NAMES)
def test_no_role_goes_beyond_its_rights(guarded: Broker, tmp_path: Path, role: str) -> None:
    """Every topic read and written by everybody: what the table has is allowed, all else is refused."""
    create_topics(KafkaSettings((guarded.address,)), 1, 1)
    arguments: dict[str, Any] = settings(guarded, role, tmp_path).client_arguments()
    producer = KafkaProducer(**arguments, acks="all", enable_idempotence=False, max_block_ms=20_000)
    for topic in TOPICS:
        name, allowed = topic_name("offramp", topic.name), operations(role, topic.name)
        assert (can_read(arguments, name), can_write(producer, name)) == allowed, name
    producer.close(timeout=5)
    foreign = KafkaConsumer(**arguments, group_id="somebody-elses")
    with pytest.raises(AuthorizationError):
        foreign.committed(TopicPartition("offramp.features.v2", 0))
    foreign.close()
    if role != "admin":
        done = offramp(guarded, role, tmp_path, "topics", "create")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr


def can_write(producer: KafkaProducer, topic: str) -> bool:
    try:
        producer.send(topic, b"x", b"key").get(30)
    except AuthorizationError:
        return False
    return True


def can_read(arguments: dict[str, Any], topic: str) -> bool:
    consumer, place = KafkaConsumer(**arguments, enable_auto_commit=False), TopicPartition(topic, 0)
    try:
        consumer.assign([place])
        consumer.seek_to_beginning(place)
        end = consumer.end_offsets([place])[place]
        until(lambda: consumer.poll(500) is not None and consumer.position(place) == end)
        return True
    except AuthorizationError:
        return False
    except KafkaError as error:
        raise AssertionError(f"{topic}: neither allowed nor refused: {error!r}") from error
    finally:
        consumer.close()
