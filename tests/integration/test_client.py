"""The controller's client against a real broker."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from kafka import KafkaProducer

from bench.service import site_file
from decision.client import DecisionClient, time_ns
from decision.command import rfc3339
from offramp_errors import ContractError
from offramp_kafka import KafkaAccessError, KafkaSettings
from tests.integration.workers import Decisions, expected

PARTITIONS = 3


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


def client(settings: KafkaSettings, **more: object) -> DecisionClient:
    return DecisionClient(settings, controller="test", start="beginning", idle_s=2, **more)  # type: ignore[arg-type]


def test_each_command_comes_once_and_is_acknowledged(topics, commands, send) -> None:  # type: ignore[no-untyped-def]
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


def test_what_was_in_hand_comes_again_and_what_was_done_does_not(topics, commands, send) -> None:  # type: ignore[no-untyped-def]
    send(*commands)
    with client(topics) as first:
        for number, _ in enumerate(first):
            if number == 3:
                break
    with client(topics) as second:
        again = [command["decision_id"] for command in second]
    assert again == [json.loads(body)["decision_id"] for body in commands[3:]]


def test_expired_and_superseded_commands_are_left_out(topics, commands, send) -> None:  # type: ignore[no-untyped-def]
    last = time_ns(json.loads(commands[-1])["expires_at"])
    send(*commands)
    with client(topics, clock=lambda: last) as own:
        assert list(own) == []
        assert own.counts["expired"] == len(commands)
    first = json.loads(commands[0])
    late = DecisionClient(topics, controller="other", start="beginning", idle_s=2)
    send(json.dumps({**first, "decision_id": "6352a353-e4b8-5f78-8030-ec2378bf3b96"}).encode())
    with late:
        assert len(list(late)) == len(commands)
        assert late.counts["superseded"] == 1


def test_wrong_use_is_one_line(topics, kafka) -> None:  # type: ignore[no-untyped-def]
    with client(topics) as own, pytest.raises(ContractError, match="expected one of"):
        own.ack({}, "whatever")
    elsewhere = KafkaSettings(kafka.servers, prefix="nothing")
    with pytest.raises(KafkaAccessError, match="offramp topics create"):
        client(elsewhere).open()


def test_times_go_there_and_back() -> None:
    for time in (0, 1_700_000_000_123_456_789, 1_700_000_000_000_000_000):
        assert time_ns(rfc3339(time)) == time
