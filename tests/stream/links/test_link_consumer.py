"""A link in a worker: repeats, gaps, checkpoints and recordings, without a broker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from offramp.errors import ContractError
from offramp.stream.links.link_consumer import LinkConsumer
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.worker.checkpoint import decode_checkpoint, encode_checkpoint
from tests.support.fake_predictor import FakePredictor
from tests.support.link_messages import cut, fed
from tests.support.pipelines import SITE, build, commands_of


def test_messages_give_what_the_pipeline_gives(
    busy_batch: pa.RecordBatch,
    make: Callable[..., Pipeline],
    predictor: FakePredictor,
    normaliser_state: dict[str, NDArray[Any]],
) -> None:
    whole = commands_of(build(predictor, normaliser_state), busy_batch, [])
    assert whole
    assert fed(LinkConsumer("uplink", make), cut(busy_batch)) == whole


def test_repeats_change_nothing_and_gaps_are_counted(busy_batch: pa.RecordBatch, make: Callable[..., Pipeline]) -> None:
    messages = cut(busy_batch)
    whole = fed(LinkConsumer("uplink", make), messages)
    consumer = LinkConsumer("uplink", make)
    assert fed(consumer, [*messages[:5], *messages[2:5], *messages, *messages]) == whole
    assert consumer.ledger.duplicates == 3 + 5 + 13
    assert consumer.ledger.gaps == 0
    assert consumer.ledger.rows == busy_batch.num_rows
    lossy = LinkConsumer("uplink", make)
    fed(lossy, messages[:3] + messages[6:])
    assert lossy.ledger.gaps == 3


@pytest.mark.parametrize("after", [1, 6, 12, 13])
def test_a_checkpoint_carries_a_link_to_another_worker(
    busy_batch: pa.RecordBatch, make: Callable[..., Pipeline], after: int
) -> None:
    messages = cut(busy_batch)
    whole = fed(LinkConsumer("uplink", make), messages)
    first, second = LinkConsumer("uplink", make), LinkConsumer("uplink", make)
    before = fed(first, messages[:after])
    value = encode_checkpoint(first.state())
    assert len(value) < 500_000
    assert second.restore(decode_checkpoint(value))
    replayed = fed(second, messages[max(0, after - 4) :], max(0, after - 4))
    assert before + replayed == whole
    assert second.ledger == LinkConsumer("uplink", make).ledger or second.ledger.rows == busy_batch.num_rows


def test_another_models_checkpoint_keeps_the_place_only(
    busy_batch: pa.RecordBatch, make: Callable[..., Pipeline], predictor: FakePredictor
) -> None:
    consumer = LinkConsumer("uplink", make)
    fed(consumer, cut(busy_batch)[:4])
    state = decode_checkpoint(encode_checkpoint(consumer.state()))
    other = LinkConsumer("uplink", make)
    assert not other.restore({**state, "model": "another"})
    assert other.next_offset == 4
    assert other.pipeline.ledger.rows == 0


def test_another_recording_begins_the_link_anew(busy_batch: pa.RecordBatch, make: Callable[..., Pipeline]) -> None:
    first = cut(busy_batch)[:-1]
    again = cut(busy_batch, epoch=2)
    once = fed(LinkConsumer("uplink", make), cut(busy_batch))
    consumer = LinkConsumer("uplink", make)
    assert fed(consumer, first + again) == once + once
    later = [replace(message, headers=replace(message.headers, agent_epoch=3)) for message in cut(busy_batch)[6:]]
    live = LinkConsumer("uplink", make)
    fed(live, cut(busy_batch)[:6] + later)
    assert live.ledger.restarts == 1  # by its end only


@pytest.mark.parametrize(("lateness_ms", "back_ms", "anew"), [(1, 15, 0), (1, 25, 1), (100, 95, 0), (100, 105, 1)])
def test_an_agent_that_takes_over_may_begin_a_little_in_the_past(
    busy_batch: pa.RecordBatch,
    predictor: FakePredictor,
    normaliser_state: dict[str, NDArray[Any]],
    lateness_ms: float,
    back_ms: int,
    anew: int,
) -> None:
    """Within 20 ms, or what the site waits for packets out of order: no other recording, so windows are kept."""
    link = SITE.links[0].model_copy(update={"lateness_ms": lateness_ms})
    site = SITE.model_copy(update={"links": (link,)})
    consumer = LinkConsumer("uplink", lambda name: Pipeline(site, name, predictor, normaliser_state))
    first = cut(busy_batch)[:6]
    fed(consumer, first)
    newest_ns = first[-1].headers.last_time_ns
    taken = cut(busy_batch, epoch=2)[5]
    begins_ns = newest_ns - back_ms * 1_000_000
    assert taken.headers.rows
    headers = replace(taken.headers, sequence=0, first_time_ns=begins_ns)
    fed(consumer, [replace(taken, headers=headers)], 6)
    assert consumer.ledger.restarts == anew


@pytest.mark.parametrize("value", [b"", b"nonsense", encode_checkpoint({"a": 1})[:-3]])
def test_a_damaged_checkpoint_is_refused(value: bytes) -> None:
    with pytest.raises(ContractError, match="checkpoint"):
        decode_checkpoint(value)


def test_a_checkpoint_keeps_types_and_bits() -> None:
    state: dict[str, Any] = {
        "a": np.array([1.5, np.nan, np.inf]),
        "b": {"c": [1, "x", None, {"d": np.zeros((2, 0), np.int8)}]},
        "e": 2**62,
    }
    back = decode_checkpoint(encode_checkpoint(state))
    assert back["a"].tobytes() == state["a"].tobytes()
    assert back["b"]["c"][3]["d"].shape == (2, 0)
    assert back["b"]["c"][3]["d"].dtype == np.int8
    assert back["e"] == 2**62
