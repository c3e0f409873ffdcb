"""The controller's client against a real broker."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from bench.service import site_file
from offramp.decision.acceptance import time_ns
from offramp.decision.client import DecisionClient
from offramp.errors import ContractError
from offramp.kafka import KafkaAccessError, KafkaSettings
from tests.support.commands import as_bytes, changed, moved
from tests.support.places import ROOT
from tests.support.workers import Decisions, expected

PARTITIONS = 3
OTHER_LOOP = "0000000f-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    site, _ = site_file(1, tmp_path_factory.mktemp("site"))
    return expected(site)["uplink0"]


@pytest.fixture
def send(topics: KafkaSettings) -> Iterator[object]:
    producer = KafkaProducer(**topics.client_arguments())

    def work(*bodies: bytes) -> None:
        for body in bodies:
            producer.send(topics.topic("decisions"), body, b"link:uplink0")
        producer.flush()

    yield work
    producer.close()


def client(settings: KafkaSettings, **more: Any) -> DecisionClient:
    """A client that follows the sample's recording, unless told another clock."""
    options: dict[str, Any] = {"controller": "test", "start": "beginning", "idle_s": 2, "clock": "stream", **more}
    return DecisionClient(settings, **options)


def test_each_command_comes_once_and_is_acknowledged(
    topics: KafkaSettings, commands: list[bytes], send: Callable[..., None]
) -> None:
    broken = json.dumps({**json.loads(commands[0]), "phase": "never"}).encode()
    send(b"no json", b"[]", broken, *commands[:5], *commands[:3], *commands[3:], *commands)
    with client(topics) as own:
        found = []
        for command in own:
            found.append(command)
            own.ack(command, "applied", "done")
    assert found == [json.loads(body) for body in commands]
    assert own.counts == {"given": len(commands), "repeat": len(commands) + 5, "invalid": 3}
    acks = Decisions(topics, "acks")
    acks.wait_until(len(commands))
    acks.close()
    told = [json.loads(record.value) for record in acks.records]
    assert [each["decision_id"] for each in told] == [command["decision_id"] for command in found]
    assert {(each["status"], each["controller"], each["reason"]) for each in told} == {("applied", "test", "done")}


def test_what_was_in_hand_comes_again_and_what_was_done_does_not(
    topics: KafkaSettings, commands: list[bytes], send: Callable[..., None]
) -> None:
    send(*commands)
    with client(topics) as first:
        for number, _ in enumerate(first):
            if number == 3:
                break
    with client(topics) as second:
        again = [command["decision_id"] for command in second]
    assert again == [json.loads(body)["decision_id"] for body in commands[3:]]


def test_expired_and_superseded_commands_are_left_out(
    topics: KafkaSettings, commands: list[bytes], send: Callable[..., None]
) -> None:
    last = time_ns(json.loads(commands[-1])["expires_at"])
    send(*commands)
    with client(topics, clock=lambda: last) as own:
        assert list(own) == []
        assert own.counts["expired"] == len(commands)
    first = json.loads(commands[0])
    late = client(topics, controller="other")
    send(as_bytes(changed(first, action={"type": "limit", "device": "10.0.0.1", "rate_bps": 1e6})))
    with late:
        assert len(list(late)) == len(commands)
        assert late.counts["superseded"] == 1


def test_wrong_use_is_one_line(topics: KafkaSettings, kafka: KafkaSettings) -> None:
    with client(topics) as own, pytest.raises(ContractError, match="expected one of"):
        own.ack({}, "whatever")
    elsewhere = KafkaSettings(kafka.servers, prefix="nothing")
    with pytest.raises(KafkaAccessError, match="offramp topics create"):
        client(elsewhere).open()


def test_by_default_nothing_is_given_that_expired_before_it_came(
    topics: KafkaSettings, commands: list[bytes], send: Callable[..., None]
) -> None:
    """What a controller finds that was away for days: old commands, what is none, and one that lives now."""
    living = as_bytes(moved(json.loads(commands[0]), time.time_ns() + 5_000_000_000, loop_id=OTHER_LOOP))
    huge = json.dumps({**json.loads(commands[0]), "scope": "link:" + "x" * 900_000}).encode()
    send(*commands, huge, b"[" * 100_000, living)
    with DecisionClient(topics, controller="late", start="beginning", idle_s=2) as own:
        assert list(own) == [json.loads(living)]
    assert own.counts == {"given": 1, "expired": len(commands), "invalid": 2}
    acks = Decisions(topics, "acks")
    acks.wait_until(len(commands))
    acks.close()
    assert {json.loads(record.value)["status"] for record in acks.records} == {"expired"}


SLIM = """
import sys
from offramp.decision.client import DecisionClient
with DecisionClient(controller="slim", start="beginning", clock="stream", idle_s=2) as client:
    given = sum(1 for command in client)
heavy = {"jsonschema", "numpy", "numba", "keras", "pyarrow", "pydantic", "faust"} & set(sys.modules)
print(given, client.counts["invalid"], sorted(heavy))
"""


def test_it_says_no_with_kafka_python_alone(
    topics: KafkaSettings, commands: list[bytes], send: Callable[..., None], tmp_path: Path
) -> None:
    """In an interpreter that sees nothing of what is installed but kafka-python and its checksum."""
    for name in ("kafka", "crc32c"):
        (tmp_path / name).symlink_to(Path(importlib.import_module(name).__file__ or "").parent)
    send(b'{"hello":1}', b"no json", *commands)
    config = tmp_path / "kafka.toml"
    config.write_text(f'prefix = "{topics.prefix}"\n')
    environment = {
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
        "OFFRAMP_KAFKA": topics.shown,
        "OFFRAMP_KAFKA_CONFIG": str(config),
    }
    done = subprocess.run(
        [sys.executable, "-S", "-c", SLIM], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=2) == [str(len(commands)), "2", "[]\n"]
