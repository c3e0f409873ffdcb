"""The processor of a partition: what leaves it, in which order, and what a checkpoint waits for."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa

from offramp.capture.message.decode import decode_message
from offramp.capture.message.encode import FeatureHeaders, encode_batch, times_of
from offramp.stream.worker.checkpoint import decode_checkpoint
from offramp.stream.worker.load_shedding import PATIENCE_S, Backlogs
from offramp.stream.worker.partition_processor import PartitionProcessor
from tests.support.partitions import LINK, Message, Outlet, processor_of, reached, until

ORDER = ("packet", "read", "dissected", "published", "fetched", "begun", "decoded", "decided")


def test_commands_leave_before_the_forecasts_of_their_bins(messages: list[Message]) -> None:
    outlet = Outlet()

    async def work() -> None:
        with ThreadPoolExecutor(1) as executor:
            processor = await processor_of(outlet, executor)
            for message in messages:
                before = len(outlet.sent)
                await processor.put(message)
                await reached(processor, message.offset + 1)
                own = outlet.topics[before:]
                assert own == sorted(own)  # decisions, then forecasts, of which there is one at most
                assert own.count("forecasts") <= 1
            await processor.close()

    asyncio.run(work())
    commands = [message for message in outlet.sent if message.topic == "decisions"]
    assert commands
    for command in commands:
        hops = dict(sorted(command.hops.items(), key=lambda each: ORDER.index(each[0])))
        assert tuple(hops) == ORDER
        own = [hops[name] for name in ORDER]
        assert own == sorted(own)


def test_a_checkpoint_waits_for_the_commands_before_it_and_the_stream_for_no_checkpoint(
    messages: list[Message],
) -> None:
    outlet = Outlet(at_once=False)

    async def work() -> None:
        with ThreadPoolExecutor(1) as executor:
            processor = await processor_of(outlet, executor)
            at = 0
            while "decisions" not in outlet.topics:
                await processor.put(messages[at])
                at += 1
                await reached(processor, at)
            await processor._checkpoint()
            told = len(outlet.sent)
            await processor.put(messages[at])
            await reached(processor, at + 1)  # the broker is silent, the partition processor goes on
            assert ("state" in outlet.topics, outlet.committed) == (False, [])
            for future in outlet.futures[:told]:
                future.set_result(None)
            await until(lambda: "state" in outlet.topics)
            await asyncio.sleep(0)
            assert outlet.committed == []
            outlet.at_once = True
            for future in outlet.futures:
                if not future.done():
                    future.set_result(None)
            await until(lambda: outlet.committed == [at])
            await processor.close()
            assert outlet.committed == [at, at + 1]

    asyncio.run(work())
    assert outlet.topics.count("state") == 2


def live_now(message: Message) -> Message:
    """The message as a live agent sends it just now: a millisecond a row, the last one now."""
    told = decode_message(message.key, message.headers, message.value)
    assert told is not None
    assert told.batch is not None
    batch = told.batch.replace_schema_metadata(None)
    times = pa.array(time.time_ns() - 1_000_000 * np.arange(batch.num_rows)[::-1])
    at = batch.schema.get_field_index("frame.time_epoch")
    batch = batch.set_column(at, batch.schema.field(at), times.cast(batch.schema.field(at).type))
    first, last = times_of(batch)
    headers = FeatureHeaders("lab", "tap", 1, message.offset, batch.num_rows, first, last, live=True)
    return replace(message, value=encode_batch(batch), headers=headers.pairs())


def test_what_is_taken_up_after_shedding_comes_behind_a_checkpoint(messages: list[Message]) -> None:
    """Old messages of a live link are shed, unread, those of a file are not; a fresh one ends it."""
    outlet = Outlet()
    outlet.waiting = lambda partition, offset: True  # type: ignore[method-assign]
    old = [
        replace(message, value=b"unread", headers=[(n, b"1" if n == "live" else v) for n, v in message.headers])
        for message in messages[:5]
    ]

    async def work() -> PartitionProcessor:
        with ThreadPoolExecutor(1) as executor:
            processor = await processor_of(outlet, executor)
            processor._backlogs = Backlogs(
                "lab", frozenset({LINK}), 60.0, grace_s=-PATIENCE_S
            )  # fresh on a slow machine too
            for message in [*old, live_now(messages[5])]:
                await processor.put(message)
            await reached(processor, 6)
            await processor.close()
            return processor

    processor = asyncio.run(work())
    assert outlet.topics == ["state", "forecasts", "state"]
    assert outlet.committed == [5, 6]
    state = decode_checkpoint(outlet.sent[0].value)
    rows = sum(int(dict(message.headers)["rows"]) for message in old)
    link = state["links"][LINK]
    assert (state["next_offset"], link["closed"]) == (5, True)
    assert (link["intake"]["shed"], link["intake"]["shed_rows"], link["intake"]["rows"]) == (5, rows, 0)
    assert (processor.ledger.shed, processor.ledger.shed_rows) == (5, rows)


def test_a_checkpoint_that_the_group_did_not_take_is_tried_again_though_nothing_comes(messages: list[Message]) -> None:
    outlet = Outlet()

    async def work() -> None:
        with ThreadPoolExecutor(1) as executor:
            processor = await processor_of(outlet, executor)
            processor._checkpoint_s = 0.05
            outlet.owner = False
            await processor.put(messages[0])
            await until(lambda: "state" in outlet.topics)
            assert outlet.committed == []
            outlet.owner = True
            await until(lambda: 1 in outlet.committed)
            await processor.close()

    asyncio.run(work())


def test_who_may_have_lost_the_partition_asks_before_a_checkpoint(messages: list[Message]) -> None:
    outlet = Outlet()

    async def work() -> None:
        with ThreadPoolExecutor(1) as executor:
            processor = await processor_of(outlet, executor)
            await processor.put(messages[0])
            await reached(processor, 1)
            outlet.owner, processor._sure_until = False, 0.0  # it stood still for long
            await processor._checkpoint(wait=True)
            assert "state" not in outlet.topics
            outlet.owner = True
            await processor._checkpoint(wait=True)
            assert outlet.committed == [0, 1]
            await processor.close()

    asyncio.run(work())
    assert outlet.topics.count("state") == 1
