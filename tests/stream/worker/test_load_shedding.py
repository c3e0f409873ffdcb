"""When a worker sheds: what is worked off soon, or only looks old, is left alone."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from offramp.capture.ledger import CaptureLedger
from offramp.capture.message.decode import MAX_ROWS, FeatureMessage, RefusedError, decode_message
from offramp.capture.message.encode import FeatureHeaders, encode_batch, times_of
from offramp.stream.links.link_consumer import REASON, LinkConsumer
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.worker.checkpoint import decode_checkpoint, encode_checkpoint
from offramp.stream.worker.load_shedding import FRESH, PATIENCE_S, Backlogs, LinkBacklog
from tests.support.feature_batches import BASE
from tests.support.link_messages import cut, fed
from tests.support.random_batches import random_batch

STEP_S = 0.1


def ages(backlog: LinkBacklog, told: list[float], *, waiting: bool = True) -> list[bool]:
    """Whether each of some ages, STEP_S apart, is shed."""
    out = []
    for number, age_s in enumerate(told):
        backlog.update(age_s, number * STEP_S, waiting=waiting)
        out.append(backlog.shedding)
    return out


def test_a_backlog_that_is_worked_off_in_time_is_left_alone() -> None:
    assert not any(ages(LinkBacklog(1.0), list(np.linspace(30, 0, int(PATIENCE_S / STEP_S)))))


def test_one_that_is_not_is_shed_until_what_comes_is_fresh() -> None:
    patience = int(PATIENCE_S / STEP_S)
    shed = ages(LinkBacklog(1.0), [0.1] * 5 + [1.5] * (patience + 1) + [1.2, 0.8, FRESH, 0.8])
    assert shed == [False] * (5 + patience) + [True, True, True, False, False]


def test_a_new_owner_has_more_patience_once() -> None:
    patience = int(PATIENCE_S / STEP_S)
    backlog = LinkBacklog(1.0, grace_s=1.0)
    assert not any(ages(backlog, [5.0] * (patience + int(1.0 / STEP_S))))
    assert ages(LinkBacklog(1.0, grace_s=1.0), [5.0] * 60).index(True) == patience + int(1.0 / STEP_S)


def test_clocks_that_differ_shed_nothing_where_nothing_waits() -> None:
    assert not any(ages(LinkBacklog(1.0), [50.0] * 100, waiting=False))
    backlog = LinkBacklog(1.0)
    assert ages(backlog, [50.0] * 60)[-1]
    for number in range(60, 80):
        backlog.update(50.0, number * STEP_S, waiting=False)
    assert not backlog.shedding


def test_zero_sheds_nothing() -> None:
    assert not any(ages(LinkBacklog(0.0), [1e6] * 100))


def headers_of(batch: pa.RecordBatch, **more: Any) -> FeatureHeaders:
    return FeatureHeaders("lab", "a", 1, 0, batch.num_rows, *times_of(batch), CaptureLedger(5, 4).as_dict(), **more)


def test_only_live_messages_of_the_site_are_judged() -> None:
    batch = random_batch(3)
    for more, key, site in (
        ({}, b"uplink", "lab"),
        ({"live": True}, b"nowhere", "lab"),
        ({"live": True}, b"uplink", "elsewhere"),
        ({"live": True, "end": True}, b"uplink", "lab"),
    ):
        backlogs = Backlogs(site, frozenset({"uplink"}), 1e-9, -PATIENCE_S)
        assert not backlogs.update(key, headers_of(batch, **more).pairs(), waiting=True)
    backlogs = Backlogs("lab", frozenset({"uplink"}), 3_600.0, -PATIENCE_S)
    assert backlogs.update(b"uplink", headers_of(batch, live=True).pairs(), waiting=True)
    assert backlogs.sheds(b"uplink", [])
    future = FeatureHeaders("lab", "a", 1, 1, 0, clock_ns=time.time_ns() + 10**13, live=True)
    assert not backlogs.update(b"uplink", future.pairs(), waiting=True)
    now = FeatureHeaders("lab", "a", 1, 1, 0, clock_ns=time.time_ns(), live=True)
    assert backlogs.update(b"uplink", now.pairs(), waiting=True)
    assert not backlogs.sheds(b"uplink", [])


def test_what_is_shed_is_not_unpacked_and_still_bounded() -> None:
    headers = headers_of(random_batch(3), live=True)
    message = decode_message(b"uplink", headers.pairs(), b"no Arrow at all", shed=True)
    assert message == FeatureMessage("uplink", headers, None, shed=True, bundle="uplink")
    file = decode_message(b"uplink", headers_of(random_batch(3)).pairs(), encode_batch(random_batch(3)), shed=True)
    assert file is not None
    assert not file.shed
    many = FeatureHeaders("lab", "a", 1, 0, MAX_ROWS + 1, live=True)
    with pytest.raises(RefusedError, match="at most"):
        decode_message(b"uplink", many.pairs(), b"", shed=True)


def shed(message: FeatureMessage) -> FeatureMessage:
    return FeatureMessage(message.link, message.headers, None, shed=True)


def with_ledgers(messages: Iterable[FeatureMessage]) -> list[FeatureMessage]:
    """The messages, each with the account of its packets."""
    out = []
    for each in messages:
        ledger = CaptureLedger(each.headers.rows, each.headers.rows).as_dict()
        headers = FeatureHeaders(**{**{name: getattr(each.headers, name) for name in FIELDS}, "ledger": ledger})
        batch = each.batch and each.batch.replace_schema_metadata({"ledger": json.dumps(ledger)})
        out.append(FeatureMessage(each.link, headers, batch))
    return out


FIELDS = tuple(FeatureHeaders.__dataclass_fields__)


def test_shed_messages_are_counted_and_told_and_make_no_silence(
    busy_batch: pa.RecordBatch, make: Callable[..., Pipeline]
) -> None:
    messages = with_ledgers(cut(busy_batch, parts=40))[:-1]
    gone = range(10, 20)
    consumer = LinkConsumer("uplink", make)
    bins: list[int] = []
    consumer.pipeline.sink = lambda line: bins.extend((line.time_ns - BASE).tolist())
    for at, message in enumerate(messages):
        consumer.feed(shed(message) if at in gone else message, at)
        if at == 19:
            carried = LinkConsumer("uplink", make)
            assert carried.restore(decode_checkpoint(encode_checkpoint(consumer.state())))
    rows = sum(messages[at].headers.rows for at in gone)
    assert (consumer.ledger.shed, consumer.ledger.shed_rows, consumer.ledger.gaps) == (len(gone), rows, 0)
    assert consumer.ledger.rows + consumer.ledger.shed_rows == busy_batch.num_rows
    assert consumer.pipeline.quality_counts["shed"] == rows
    assert consumer.pipeline.quality.shed == round(rows / busy_batch.num_rows, 6)
    first, last = messages[gone[0]].headers.first_time_ns, messages[gone[-1]].headers.last_time_ns
    hole = [time_ns + BASE for time_ns in bins if first + 20_000_000 < time_ns + BASE < last - 40_000_000]
    assert last - first > 200_000_000
    assert hole == []
    assert len(bins) == len(set(bins))
    assert fed(carried, messages[20:], 20) == fed(again(messages, make, gone), messages[20:], 20)


def again(messages: Sequence[FeatureMessage], make: Callable[[str], Pipeline], gone: Container[int]) -> LinkConsumer:
    """A run that has had the messages to the end of the hole, without a checkpoint."""
    consumer = LinkConsumer("uplink", make)
    for at, message in enumerate(messages[:20]):
        consumer.feed(shed(message) if at in gone else message, at)
    return consumer


def test_the_reason_is_told_as_others_are() -> None:
    ledger = CaptureLedger(10, 7, Counter(cut=1), Counter(x=2)).all_shed(REASON)
    assert ledger.balances()
    assert dict(ledger.shed) == {"x": 2, REASON: 8}
