"""Messages that were made to end who reads them: a partition processor buries each and goes on; the follower tells
it in a line."""

from __future__ import annotations

import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from offramp.cli.follow import FollowOptions, _show
from offramp.errors import ConfigError
from offramp.kafka import MAX_BODY, MAX_NAME
from offramp.stream.topics.consume import parse_start
from offramp.stream.topics.records import OutgoingMessage
from offramp.stream.worker.checkpoint import decode_checkpoint
from offramp.stream.worker.partition_processor import PartitionProcessor
from tests.support.partitions import LINK, Message, Outlet, processor_of, reached
from tests.support.shown import Shown


def headed(message: Message, **changed: bytes | None) -> Message:
    """The message with other headers."""
    return replace(message, headers=[(name, changed.get(name, text)) for name, text in message.headers])


def worked_on(outlet: Outlet, records: list[Message]) -> PartitionProcessor:
    """Let a partition processor take messages, to the end."""

    async def work() -> PartitionProcessor:
        with ThreadPoolExecutor(1) as executor:
            processor = await processor_of(outlet, executor)
            for record in records:
                await processor.put(record)
            await reached(processor, len(records))
            await processor.close()
            processor._task.result()
            return processor

    return asyncio.run(work())


@pytest.mark.parametrize(
    "bad",
    [
        {"last_time_ns": b"9" * 400},
        {"last_time_ns": b"9" * 5_000},
        {"clock_ns": b"1e400"},
        {"last_time_ns": None},
        {"agent": None},
        {"agent": b""},
        {"agent": b"a" * (MAX_NAME + 1)},
        {"agent": b"\xff"},
        {"agent": b"a" * 860_000},
        {"agent_epoch": b"9" * 30},
        {"ledger": b'{"shed":{"\\ud800":-1}}'},
        {"ledger": b'{"notes":7}'},
        {"ledger": b'{"undecodable":7}'},
        {"schema_version": None},
    ],
)
def test_a_message_made_to_hurt_is_buried_and_the_next_is_worked_on(
    bad: dict[str, bytes | None], messages: list[Message], caplog: pytest.LogCaptureFixture
) -> None:
    """Of a live link, so that its age is judged before it is read."""
    outlet = Outlet()
    live = headed(messages[0], live=b"1")
    processor = worked_on(outlet, [headed(replace(live, value=live.value), **bad), replace(messages[0], offset=1)])
    [letter] = [message for message in outlet.sent if message.topic == "dead-letters"]
    assert dict(letter.headers)["dead_reason"] == b"headers"
    assert sum(len(text) for _, text in letter.headers) < 2_000
    assert (processor.ledger.messages, processor.ledger.refused.total(), processor.consumers[LINK].ledger.messages) == (
        2,
        1,
        1,
    )
    assert "Traceback" not in caplog.text


def test_what_fails_when_it_is_worked_on_is_told_in_one_line(
    messages: list[Message], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("told by a test: \ud800")

    monkeypatch.setattr("offramp.stream.links.link_consumer.LinkConsumer.accept", broken)
    outlet = Outlet()
    processor = worked_on(outlet, [messages[0]])
    assert processor.ledger.refused == {"failed": 1}
    [record] = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert record.exc_info is None
    assert "ZeroDivisionError" in record.getMessage()
    assert "test_hostile_messages.py:" in record.getMessage()


def test_names_of_every_agent_leave_a_checkpoint_that_can_be_sent(messages: list[Message]) -> None:
    """Agents with names as long as may be, of characters that JSON escapes: more than are remembered."""
    outlet = Outlet()
    names = [f"{number:03d}".encode() + b"\x01" * (MAX_NAME - 3) for number in range(100)]
    records = [
        headed(replace(messages[0], offset=at), agent=name, agent_epoch=b"9" * 18) for at, name in enumerate(names)
    ]
    processor = worked_on(outlet, records)
    assert not processor.ledger.refused
    state = next(message for message in reversed(outlet.sent) if message.topic == "state")
    assert len(state.value) < MAX_BODY // 4
    assert len(decode_checkpoint(state.value)["links"][LINK]["epochs"]) == 64


class Refusing(Outlet):
    """Takes all but one topic's messages, which are too large for it, for ever."""

    def __init__(self, topic: str) -> None:
        super().__init__()
        self.topic = topic

    async def post(self, message: OutgoingMessage) -> asyncio.Future[Any]:
        future = await super().post(message)
        if message.topic == self.topic:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(MessageSizeTooLargeError())
        return future


@pytest.mark.parametrize("topic", ["forecasts", "decisions", "state", "dead-letters"])
def test_no_refusal_stops_a_partition(topic: str, messages: list[Message], caplog: pytest.LogCaptureFixture) -> None:
    outlet = Refusing(topic)
    bad = headed(messages[0], agent=None)
    processor = worked_on(outlet, [replace(each, offset=at) for at, each in enumerate([bad, *messages, bad])])
    refused = outlet.topics.count(topic)
    assert processor.ledger.unsendable == {topic: refused}
    assert outlet.committed[-1] == len(messages) + 2
    assert len([record for record in caplog.records if "given up" in record.getMessage()]) == 1
    letters = [message for message in outlet.sent if dict(message.headers).get("dead_reason") == b"unsendable"]
    assert len(letters) == (refused if topic in ("decisions", "state") else 0)


HOSTILE = [
    ("features", [("agent", None), ("schema_version", None)], b""),
    ("features", None, None),
    ("dead-letters", [("dead_reason", None)], b""),
    ("dead-letters", None, None),
    ("acks", [], b'{"action":1}'),
    ("acks", [], b'{"action":{"type":1}}'),
    ("acks", [], b'{"phase":1,"mode":2,"action":{"type":3},"reason":4}'),
    ("acks", [], b'{"scope":"\\ud800"}'),
    ("acks", [], b"[" * 200_000),
    ("decisions", [], b"null"),
    ("forecasts", [], b"9" * 5_000),
    ("models", [("ce_model", None)], b""),
    ("models", None, None),
]


@pytest.mark.parametrize("form", ["jsonl", "pretty"])
@pytest.mark.parametrize(("topic", "headers", "value"), HOSTILE)
def test_the_follower_shows_it_or_tells_it_in_a_line(
    topic: str, headers: Any, value: Any, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = FollowOptions(topic=topic, form=form)
    for timestamp in (0, 1 << 62):
        _show(Shown(topic, b"\xff", value, headers, timestamp=timestamp), options)
    told = capsys.readouterr()
    assert (told.out + told.err).count("\n") == 2
    if form == "jsonl" and told.out:
        json.loads(told.out.splitlines()[0])


@pytest.mark.parametrize("text", ["9" * 20, "9" * 5_000, "-1", "yesterday", "2026-13-01", "\u0661" * 30])
def test_where_following_begins_is_checked(text: str) -> None:
    with pytest.raises(ConfigError, match="--from"):
        parse_start(text)
