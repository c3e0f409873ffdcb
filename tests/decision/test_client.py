"""The controller's client over a Kafka in memory (tests/integration/test_client.py has a real one), open and closed."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.errors import KafkaConnectionError
from kafka.structs import TopicPartition

from offramp.decision import client as module
from offramp.decision.acceptance import MAX_AHEAD_NS, time_ns
from offramp.decision.client import MAX_REASON, DecisionClient
from offramp.errors import ConfigError, ContractError
from offramp.hops import HEADER, encode_hops
from offramp.kafka import KafkaAccessError, KafkaSettings, TopicState
from tests.support.commands import as_bytes, example, moved
from tests.support.fake_kafka import FakeConsumer, FakeKafka, FakeProducer, FakeWatch, Headers

SETTINGS = KafkaSettings(("127.0.0.1:9",), prefix="t")


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> FakeKafka:
    """A Kafka in memory under the client, which is opened as its user opens it."""
    made = FakeKafka()
    monkeypatch.setattr(module, "topic_states", made.states)
    monkeypatch.setattr(module, "open_consumer", lambda **options: FakeConsumer(made, **options))
    monkeypatch.setattr(module, "ReachWatch", lambda *_, **__: FakeWatch(made.seen))
    monkeypatch.setattr("kafka.KafkaProducer", lambda **_: FakeProducer(made))
    return made


def opened(**more: Any) -> DecisionClient:
    options: dict[str, Any] = {"controller": "test", "start": "beginning", "idle_s": 0.0, "clock": "stream", **more}
    return DecisionClient(SETTINGS, **options)


def commands(count: int) -> list[dict[str, Any]]:
    """Commands of one loop, in order, a second apart."""
    first = example()
    begins_ns = time_ns(first["not_before"])
    return [moved(first, begins_ns + at * 1_000_000_000, sequence=first["sequence"] + at) for at in range(count)]


def put(kafka: FakeKafka, *bodies: bytes | None, headers: Headers = ()) -> None:
    for body in bodies:
        kafka.append(SETTINGS.topic("decisions"), body, b"link:uplink0", headers)


def test_each_command_comes_once_in_order_and_is_acknowledged(kafka: FakeKafka) -> None:
    wanted = commands(7)
    bodies = [as_bytes(command) for command in wanted]
    put(kafka, b"no json", b"[]", None, *bodies[:4], *bodies[:2], *bodies[4:], *bodies)
    found = []
    with opened() as own:
        for command in own:
            found.append(command)
            own.ack(command, "applied", "r" * 2 * MAX_REASON)
    assert found == wanted
    assert own.counts == {"given": 7, "repeat": 9, "invalid": 3}
    acks = kafka.records[SETTINGS.topic("acks")]
    told = [json.loads(record.value or b"") for record in acks]
    assert [each["decision_id"] for each in told] == [command["decision_id"] for command in wanted]
    assert {(each["status"], each["controller"], len(each["reason"])) for each in told} == {("applied", "test", 1_000)}
    assert {record.key for record in acks} == {wanted[0]["scope"].encode()}
    assert dict(acks[0].headers)["ce_id"] == f"{wanted[0]['decision_id']}/test/applied".encode()


@pytest.mark.parametrize("taken", [0, 1, 3, 6])
def test_what_was_in_hand_comes_again_and_what_was_done_does_not(kafka: FakeKafka, taken: int) -> None:
    wanted = commands(7)
    put(kafka, *map(as_bytes, wanted))
    with opened() as first:
        for number, _ in enumerate(first):
            if number == taken:
                break
    with opened() as second:
        assert list(second) == wanted[taken:]
    with opened(controller="other") as other:
        assert list(other) == wanted
    with opened() as third:
        assert list(third) == []


def test_a_group_without_a_place_begins_at_the_end_where_it_is_told_to(kafka: FakeKafka) -> None:
    wanted = commands(4)
    put(kafka, *map(as_bytes, wanted[:2]))
    with opened(start="end") as own:
        put(kafka, *map(as_bytes, wanted[2:]))
        assert list(own) == wanted[2:]


def test_what_is_withheld_is_acknowledged_with_its_reason_and_what_is_superseded_is_not(kafka: FakeKafka) -> None:
    wanted = commands(3)
    put(kafka, *(as_bytes(wanted[at]) for at in (1, 0, 2)))
    last = time_ns(wanted[2]["expires_at"])
    with opened(clock=lambda: last) as own:
        assert list(own) == []
    assert own.counts == {"expired": 2, "superseded": 1}
    told = [json.loads(record.value or b"") for record in kafka.records[SETTINGS.topic("acks")]]
    assert [(each["decision_id"], each["status"]) for each in told] == [
        (wanted[at]["decision_id"], "expired") for at in (1, 2)
    ]


def test_a_command_of_the_future_is_rejected_by_the_wall_clock(kafka: FakeKafka) -> None:
    put(kafka, as_bytes(moved(example(), time.time_ns() + 2 * MAX_AHEAD_NS)))
    with opened(clock="wall") as own:
        assert list(own) == []
    assert own.counts == {"ahead": 1}
    [told] = [json.loads(record.value or b"") for record in kafka.records[SETTINGS.topic("acks")]]
    assert told["status"] == "rejected"


def test_hops_tell_when_each_stage_had_the_command(kafka: FakeKafka) -> None:
    [command] = commands(1)
    put(kafka, as_bytes(command), headers=[(HEADER, encode_hops({"packet": 5, "decided": 7}))])
    before = time.time_ns()
    with opened() as own:
        assert list(own) == [command]
        hops = own.hops
    assert hops == {"packet": 5, "decided": 7, "arrived": hops["arrived"]}
    assert before <= hops["arrived"] <= time.time_ns()


def test_a_broker_that_goes_is_one_line_and_what_was_not_done_comes_again(kafka: FakeKafka) -> None:
    wanted = commands(2)
    put(kafka, *map(as_bytes, wanted))
    with opened() as own:
        given = iter(own)
        assert next(given) == wanted[0]
        kafka.away = True
        with pytest.raises(KafkaAccessError, match="decisions: "):
            next(given)
    kafka.away = False
    with opened() as again:
        assert list(again) == wanted


def test_an_acknowledgement_that_the_broker_does_not_take_is_counted(kafka: FakeKafka) -> None:
    [command] = commands(1)
    put(kafka, as_bytes(command))

    def late() -> int:
        kafka.away = True  # it goes between the record and the acknowledgement
        return time_ns(command["expires_at"])

    with opened(clock=late) as own, pytest.raises(KafkaAccessError, match="decisions: "):
        list(own)
    assert own.counts == {"expired": 1, "unacknowledged": 1}


def test_a_topic_that_was_made_again_is_read_from_its_beginning(
    kafka: FakeKafka, caplog: pytest.LogCaptureFixture
) -> None:
    before, after = commands(4)[:2], commands(4)[2:]
    put(kafka, *map(as_bytes, before))
    with opened() as own:
        assert list(own) == before
        kafka.records.clear()
        put(kafka, *map(as_bytes, after))
        kafka.seen[SETTINGS.topic("decisions")] = TopicState("second life", 1)
        assert list(own) == after
    assert "was made again: read from its beginning" in caplog.text


def test_wrong_use_is_one_line(kafka: FakeKafka) -> None:
    with opened() as own, pytest.raises(ContractError, match="expected one of"):
        own.ack({}, "whatever")
    with pytest.raises(ConfigError, match="expected beginning or end"):
        opened(start="middle")


def client(call: str, *, closes: bool) -> DecisionClient:
    """A client whose consumer fails at a call, and is closed by another thread in the middle of it, or is not."""
    own = DecisionClient("127.0.0.1:9", controller="test")

    def fail(*_: Any) -> None:
        if closes:
            own._consumer = None
        raise KafkaConnectionError("closed")

    record = SimpleNamespace(value=b"", headers=(), timestamp=0, offset=0)
    calls = {"poll": lambda _: {TopicPartition("d", 0): [record]}, "commit_async": lambda _: None, call: fail}
    own._consumer = SimpleNamespace(**calls)
    return own


@pytest.mark.parametrize("call", ["poll", "commit_async"])
def test_closed_by_another_thread_it_ends(call: str) -> None:
    assert list(client(call, closes=True)) == []


@pytest.mark.parametrize("call", ["poll", "commit_async"])
def test_what_fails_is_told_in_one_line(call: str) -> None:
    with pytest.raises(KafkaAccessError, match="decisions: "):
        list(client(call, closes=False))


def test_an_acknowledgement_through_a_closed_client_is_refused_in_words() -> None:
    told = {"decision_id": "d", "loop_id": "l", "scope": "link:uplink"}
    with pytest.raises(KafkaAccessError, match="not open"):
        DecisionClient("127.0.0.1:9", controller="test").ack(told, "applied")
