"""The outbox: in order, acknowledged later, sent again with all that followed, whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import kafka.errors
import pytest
from aiokafka.errors import (
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from offramp.kafka import is_final
from offramp.stream.topics.records import OutgoingMessage
from offramp.stream.worker import outbox
from offramp.stream.worker.outbox import Outbox


def message(number: int) -> OutgoingMessage:
    return OutgoingMessage("decisions", b"k", str(number).encode(), [])


def instead_of(given_up: OutgoingMessage, error: Exception) -> OutgoingMessage | None:
    """A thousand more stands for a message of an even number; of another one nothing is sent."""
    number = int(given_up.value)
    return message(1_000 + number) if number % 2 == 0 else None


class Producer:
    """Takes messages; each is acknowledged, or fails, when told."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, asyncio.Future[None]]] = []

    async def post(self, each: OutgoingMessage) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.taken.append((int(each.value), future))
        return future

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.taken]

    def acknowledge(self, at: slice = slice(None)) -> None:
        for _, future in self.taken[at]:
            if not future.done():
                future.set_result(None)


def run(work: Callable[[Producer, Outbox], object], limit: int = 64) -> None:
    async def inside() -> None:
        producer = Producer()
        await asyncio.wait_for(work(producer, Outbox(producer.post, instead_of, limit)), 30)  # type: ignore[arg-type]

    asyncio.run(inside())


def test_a_message_does_not_wait_for_the_one_before_it() -> None:
    async def work(producer: Producer, own: Outbox) -> None:
        for number in range(10):
            await own.put(message(number))
        assert (producer.numbers, len(own)) == (list(range(10)), 10)
        settled = asyncio.create_task(own.settle())
        await asyncio.sleep(0)
        await own.put(message(10))  # while the others settle
        producer.acknowledge(slice(0, 10))
        await settled
        assert len(own) == 1

    run(work)


def test_only_so_many_are_under_way() -> None:
    async def work(producer: Producer, own: Outbox) -> None:
        for number in range(3):
            await own.put(message(number))
        fourth = asyncio.create_task(own.put(message(3)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert producer.numbers == [0, 1, 2]
        producer.acknowledge()
        await fourth
        assert producer.numbers == [0, 1, 2, 3]

    run(work, limit=3)


@pytest.mark.parametrize("error", [KafkaTimeoutError(), KafkaError("gone"), OSError("closed")])
def test_what_failed_is_sent_again_with_all_that_followed(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "RETRY_S", 0.0)

    async def work(producer: Producer, own: Outbox) -> None:
        for number in range(4):
            await own.put(message(number))
        producer.acknowledge(slice(0, 1))
        producer.taken[1][1].set_exception(error)
        producer.acknowledge()
        settled = asyncio.create_task(own.settle())
        while len(producer.taken) < 7:
            await asyncio.sleep(0)
        producer.acknowledge()
        await settled
        assert producer.numbers == [0, 1, 2, 3, 1, 2, 3]
        assert len(own) == 0

    run(work)


@pytest.mark.parametrize(
    "error", [MessageSizeTooLargeError(), RecordListTooLargeError(), InvalidTopicError(), TypeError("no bytes")]
)
def test_what_can_never_be_sent_is_given_up_and_the_rest_goes_on(error: Exception) -> None:
    async def work(producer: Producer, own: Outbox) -> None:
        for number in range(4):
            await own.put(message(number))
        producer.acknowledge(slice(0, 1))
        producer.taken[1][1].set_exception(error)
        producer.taken[2][1].set_exception(error)
        producer.acknowledge()
        settled = asyncio.create_task(own.settle())
        while len(producer.taken) < 5:
            await asyncio.sleep(0)
        producer.acknowledge()
        await settled
        assert producer.numbers == [0, 1, 2, 3, 1_002]
        assert len(own) == 0

    run(work)


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (BrokenPipeError(32, "the system's 32, Kafka's is the time stamp"), False),
        (OSError(10, "the system's 10"), False),
        (TopicAuthorizationFailedError(), False),  # may be granted
        (KafkaConnectionError(), False),
        (OutOfOrderSequenceNumber(), False),
        (kafka.errors.KafkaTimeoutError(), False),
        (MessageSizeTooLargeError(), True),
        (kafka.errors.MessageSizeTooLargeError(), True),
        (kafka.errors.RecordListTooLargeError(), True),
        (kafka.errors.InvalidTopicError(), True),
    ],
)
def test_final_is_what_is_the_messages_fault(error: Exception, final: bool) -> None:
    assert is_final(error) is final
