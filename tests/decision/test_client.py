"""A client that is closed, whichever way: its iterator ends, an acknowledgement is refused in words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kafka.errors import KafkaConnectionError
from kafka.structs import TopicPartition

from offramp.decision.client import DecisionClient
from offramp.kafka import KafkaAccessError


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
