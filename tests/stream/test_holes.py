"""A hole is a hole: what is missing is neither silence nor forgotten, and what is decided beside it says so."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from offramp.capture.ledger import CaptureLedger
from offramp.capture.message.decode import FeatureMessage
from offramp.capture.message.encode import FeatureHeaders, times_of
from offramp.capture.publish.publisher import Publisher
from offramp.cli.show.table import LineTable
from offramp.cli.worker import account
from offramp.decision.command import Command, validate
from offramp.decision.site import Site
from offramp.errors import ContractError
from offramp.inference.serving.predictor import Predictor
from offramp.kafka import KafkaSettings
from offramp.stream.channels import BIN_NS
from offramp.stream.links.link_consumer import LinkConsumer
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.pipeline.timeline import LinkTimeline
from offramp.stream.worker.checkpoint import decode_checkpoint, encode_checkpoint
from offramp.stream.worker.partition_meter import PartitionMeter
from offramp.stream.worker.partition_processor import WorkerLedger
from tests.support.fake_predictor import FakePredictor
from tests.support.pipelines import SITE

ENFORCING = SITE.model_copy(update={"mode": "enforce"})


class Maker:
    """Makes pipelines of a site that enforces; `seen` gets what they tell of bins."""

    def __init__(self, predictor: Predictor, normaliser_state: dict[str, NDArray[Any]]) -> None:
        self.predictor, self.normaliser_state = predictor, normaliser_state
        self.seen: list[LinkTimeline] = []

    def __call__(self, _link: str, site: Site = ENFORCING) -> Pipeline:
        return Pipeline(site, "uplink", self.predictor, self.normaliser_state, sink=self.seen.append)


@pytest.fixture
def make(predictor: FakePredictor, normaliser_state: dict[str, NDArray[Any]]) -> Maker:
    return Maker(predictor, normaliser_state)


def messages(batch: pa.RecordBatch, parts: int = 40, epoch: int = 1, agent: str = "a") -> list[FeatureMessage]:
    """A batch as messages of one epoch, each with the account of its packets, and an end."""
    edges = np.linspace(0, batch.num_rows, parts + 1).astype(int).tolist()
    out = []
    for number, (start, stop) in enumerate(itertools.pairwise(edges)):
        part, ledger = batch.slice(start, stop - start), CaptureLedger(stop - start, stop - start).as_dict()
        headers = FeatureHeaders("lab", agent, epoch, number, len(part), *times_of(part), ledger)
        out.append(message(headers, part))
    return [*out, message(FeatureHeaders("lab", agent, epoch, parts, 0, end=True), None)]


def message(headers: FeatureHeaders, batch: pa.RecordBatch | None) -> FeatureMessage:
    made = FeatureMessage("uplink", headers, batch)
    return replace(made, batch=batch and batch.replace_schema_metadata(made.metadata()))


def fed(consumer: LinkConsumer, told: Sequence[FeatureMessage], start: int = 0) -> list[Command]:
    return [command for at, each in enumerate(told, start) for command in consumer.feed(each, at)]


def texts(commands: Sequence[Command]) -> list[str]:
    return [command.to_json() for command in commands]


def bins_of(seen: list[LinkTimeline]) -> list[int]:
    return [int(time_ns) // BIN_NS for each in seen for time_ns in each.time_ns]


def test_a_gap_is_no_silence_and_lowers_the_quality(busy_batch: pa.RecordBatch, make: Maker) -> None:
    whole = messages(busy_batch)[:-1]
    consumer, lost = LinkConsumer("uplink", make), range(1, 7)
    commands = fed(consumer, [each for at, each in enumerate(whole) if at not in lost])
    first, last = whole[lost[0]].headers.first_time_ns, whole[lost[-1]].headers.last_time_ns
    bins = bins_of(make.seen)
    assert len(bins) == len(set(bins))
    assert [each for each in bins if first // BIN_NS + 2 < each < last // BIN_NS] == []
    assert (consumer.ledger.gaps, consumer.pipeline.ledger.holes) == (6, 1)
    assert [each.behind_hole for each in make.seen].count(True) == 1
    assert consumer.pipeline.quality_counts["dropped"] == pytest.approx(6 * busy_batch.num_rows / 40, rel=0.1)
    assert consumer.pipeline.quality.dropped == pytest.approx(0.15, abs=0.02)
    after = [each for each in commands if each.not_before_ns > last]
    assert after
    assert {each.mode for each in after} == {"dry_run"}
    assert all("data quality" in str(each.reason["rule"]) for each in after)
    for command in commands:
        validate(command.to_dict())


@pytest.mark.parametrize("how", ["gap", "shed"])
def test_a_hole_longer_than_the_window_of_quality_is_not_forgotten_at_its_end(
    busy_batch: pa.RecordBatch, make: Maker, how: str
) -> None:
    whole = messages(busy_batch)[:-1]
    hour_ns = 3_600_000_000_000
    late = [moved(each, hour_ns) for each in whole[20:]]
    consumer = LinkConsumer("uplink", make)
    fed(consumer, whole[:10])
    if how == "shed":
        fed(consumer, [replace(each, batch=None, shed=True) for each in whole[10:20]], 10)
    commands = fed(consumer, late, 20)
    assert consumer.pipeline.ledger.holes == 1
    assert consumer.pipeline.quality.share < 0.8
    assert {each.mode for each in commands} <= {"dry_run"}
    again = messages(busy_batch, epoch=2)[:-1]
    fed(consumer, [moved(each, hour_ns + 15_000_000_000) for each in again], 40)
    assert consumer.pipeline.quality.share == 1.0


def test_a_checkpoint_of_a_version_that_knew_no_holes_is_refused_in_words(
    busy_batch: pa.RecordBatch, make: Maker
) -> None:
    consumer = LinkConsumer("uplink", make)
    fed(consumer, messages(busy_batch)[:10])
    old = decode_checkpoint(encode_checkpoint(consumer.state()))
    old["pipeline"]["quality"] = dict.fromkeys(("captured", "decoded", "shed", "dropped"), 1)
    with pytest.raises(ContractError, match=r"quality: lacks .*slots"):
        LinkConsumer("uplink", make).restore(old)


def moved(told: FeatureMessage, by_ns: int) -> FeatureMessage:
    """A message of a later time."""
    batch = told.batch
    assert batch is not None
    at = batch.schema.get_field_index("frame.time_epoch")
    time = pa.array(batch.column(at).to_numpy() + by_ns, pa.int64())
    batch = batch.set_column(at, batch.schema.field(at), time)
    first, last = times_of(batch)
    return message(replace(told.headers, first_time_ns=first, last_time_ns=last), batch)


@pytest.mark.parametrize("lost", [range(1), range(5), range(3, 4), range(35, 40), range(3, 38)])
def test_wherever_a_gap_is_nothing_is_enforced_on_it(busy_batch: pa.RecordBatch, make: Maker, lost: range) -> None:
    whole = messages(busy_batch)
    consumer = LinkConsumer("uplink", make)
    commands = fed(consumer, [each for at, each in enumerate(whole) if at not in lost])
    assert consumer.ledger.gaps == len(lost)
    bad_ns = 0 if lost.start == 0 else whole[lost.start].headers.first_time_ns
    assert all(each.mode == "dry_run" for each in commands if each.not_before_ns > bad_ns + 2 * BIN_NS)


def test_without_a_gap_all_is_enforced(busy_batch: pa.RecordBatch, make: Maker) -> None:
    consumer = LinkConsumer("uplink", make)
    commands = fed(consumer, messages(busy_batch))
    assert {(each.phase, each.mode) for each in commands} >= {("onset", "enforce"), ("abated", "enforce")}
    assert (consumer.ledger.gaps, sum(each.behind_hole for each in make.seen)) == (0, 0)


def test_repeats_are_no_gaps(busy_batch: pa.RecordBatch, make: Maker) -> None:
    whole = messages(busy_batch)
    expected = texts(fed(LinkConsumer("uplink", make), whole))
    consumer = LinkConsumer("uplink", make)
    again = [*whole[:9], *whole[3:9], *whole[5:20], *whole[:30], *whole]
    assert texts(fed(consumer, again)) == expected
    assert consumer.ledger.gaps == 0


def test_an_open_move_is_not_cleared_on_a_hole(busy_batch: pa.RecordBatch, make: Maker) -> None:
    """The agent's messages are lost from the onset on, to where the link is long calm again."""
    whole = messages(busy_batch, 400)[:-1]
    consumer = LinkConsumer("uplink", make)
    for at, each in enumerate(whole):
        if any(command.mode == "enforce" for command in consumer.feed(each, at)):
            break
    assert consumer.pipeline.policy.open_moves
    lost = slice(at + 1, at + 200)
    bad_ns = whole[lost.stop].headers.first_time_ns
    calm = fed(consumer, whole[lost.stop :], lost.stop)
    assert whole[-1].headers.last_time_ns - bad_ns > 60 * BIN_NS
    assert [(each.phase, each.mode) for each in calm if each.phase == "abated" or each.mode == "enforce"] == []


def test_another_recording_whose_first_messages_are_lost_is_another_recording(
    busy_batch: pa.RecordBatch, make: Maker
) -> None:
    consumer = LinkConsumer("uplink", make)
    fed(consumer, messages(busy_batch)[:-1])
    make.seen.clear()
    fed(consumer, messages(busy_batch, epoch=2)[4:-1], 40)
    assert (consumer.ledger.restarts, consumer.ledger.gaps) == (1, 4)
    assert consumer.pipeline.ledger.rows == sum(each.headers.rows for each in messages(busy_batch)[4:-1])
    assert consumer.pipeline.ledger.late == 0


def test_an_agent_that_died_leaves_a_hole_not_silence(busy_batch: pa.RecordBatch, make: Maker) -> None:
    """No sequence says that anything is missing: the next life begins 2 s later. Nothing is known of these."""
    consumer = LinkConsumer("uplink", make)
    whole = messages(busy_batch)
    fed(consumer, whole[:12])
    make.seen.clear()
    rest = [
        replace(each, headers=replace(each.headers, agent_epoch=2, sequence=at)) for at, each in enumerate(whole[38:])
    ]
    fed(consumer, rest, 12)
    first, last = whole[12].headers.first_time_ns, whole[37].headers.last_time_ns
    assert last - first > 64 * BIN_NS
    assert [each for each in bins_of(make.seen) if first // BIN_NS + 2 < each < last // BIN_NS] == []
    assert (consumer.ledger.gaps, consumer.pipeline.windows.holes, consumer.ledger.restarts) == (
        0,
        0,
        1,
    )  # ended, in order
    assert [each.behind_hole for each in make.seen].count(True) == 1


def test_a_gap_of_one_of_two_agents_is_a_hole_of_the_link(busy_batch: pa.RecordBatch, make: Maker) -> None:
    whole = messages(busy_batch)[:-1]
    both = [
        replace(each, headers=replace(each.headers, agent="ab"[at % 2], sequence=at // 2))
        for at, each in enumerate(whole)
    ]
    consumer = LinkConsumer("uplink", make)
    fed(consumer, both)
    assert (consumer.ledger.gaps, consumer.pipeline.ledger.holes) == (0, 0)
    consumer = LinkConsumer("uplink", make)
    fed(consumer, both[:10] + both[11:])
    assert (consumer.ledger.gaps, consumer.pipeline.ledger.holes) == (1, 1)
    assert consumer.pipeline.quality.dropped > 0.01


@pytest.mark.parametrize("after", [3, 9, 10, 11, 25, 30])
def test_a_checkpoint_beside_a_hole_changes_no_byte(busy_batch: pa.RecordBatch, make: Maker, after: int) -> None:
    """Gaps, drops, holes that a message tells of; cut anywhere."""
    told = [each for at, each in enumerate(messages(busy_batch)) if at not in (9, 10, 11, 30)]
    ledgers: dict[int, dict[str, Any]] = {
        5: {"kernel_drops": 700}, 20: {"kernel_drops": 100_000}, 22: {"shed": {"queue_full": 50}},
    }  # fmt: skip
    for at, ledger in ledgers.items():
        headers = told[at].headers
        rows = headers.rows
        account = {"captured": rows + sum(ledger.get("shed", {}).values()), "decoded": rows, **ledger}
        told[at] = message(replace(headers, ledger=account), told[at].batch)
    whole = fed(LinkConsumer("uplink", make), told)
    first, second = LinkConsumer("uplink", make), LinkConsumer("uplink", make)
    before = fed(first, told[:after])
    assert second.restore(decode_checkpoint(encode_checkpoint(first.state())))
    assert texts(before + fed(second, told[after - 2 :], after - 2)) == texts(whole)
    assert second.state()["pipeline"]["quality"] == first_state(make, told)["quality"]


def first_state(make: Any, told: Sequence[FeatureMessage]) -> dict[str, Any]:
    consumer = LinkConsumer("uplink", make)
    fed(consumer, told[:-1])
    fed(consumer, told[-1:], len(told) - 1)
    state: dict[str, Any] = consumer.state()["pipeline"]
    return state


def test_a_sequence_that_leaps_to_the_end_of_numbers_is_a_gap_like_any(busy_batch: pa.RecordBatch, make: Maker) -> None:
    whole = messages(busy_batch)[:-1]
    leaps = [
        *whole[:20],
        *(
            replace(each, headers=replace(each.headers, sequence=(1 << 63) - 21 + at))
            for at, each in enumerate(whole[20:])
        ),
    ]
    consumer = LinkConsumer("uplink", make)
    commands = fed(consumer, leaps)
    assert consumer.pipeline.quality.share < 0.01
    assert all(
        command.mode == "dry_run" for command in commands if command.not_before_ns > whole[20].headers.first_time_ns
    )
    assert LinkConsumer("uplink", make).restore(decode_checkpoint(encode_checkpoint(consumer.state())))


# what the kernel dropped


def thinned(batch: pa.RecordBatch, keep: int, parts: int) -> list[pa.RecordBatch]:
    """A batch in parts, of which one row of every `keep` is left, and the others told as dropped by the kernel."""
    out = []
    for start, stop in itertools.pairwise(np.linspace(0, batch.num_rows, parts + 1).astype(int).tolist()):
        rows = np.arange(start, stop)[::keep]
        told = CaptureLedger(len(rows), len(rows), kernel_drops=int(stop - start) - len(rows)).as_dict()
        out.append(batch.take(pa.array(rows)).replace_schema_metadata({"ledger": json.dumps(told)}))
    return out


def load_of(seen: list[LinkTimeline]) -> float:
    return float(sum((each.load_up + each.load_down).sum() for each in seen))


@pytest.mark.parametrize("keep", [2, 3, 5, 15])
def test_what_the_kernel_dropped_is_scaled_up(busy_batch: pa.RecordBatch, make: Maker, keep: int) -> None:
    make("uplink").update(busy_batch)
    whole = load_of(make.seen)
    make.seen.clear()
    pipeline = make("uplink")
    commands = [command for part in thinned(busy_batch, keep, 40) for command in pipeline.update(part)]
    assert load_of(make.seen) == pytest.approx(whole, rel=0.1)
    assert {command.mode for command in commands} <= {"dry_run"}
    assert pipeline.quality.dropped == pytest.approx(1 - 1 / keep, abs=0.02)


def test_a_large_block_in_several_batches_is_scaled_as_a_whole(busy_batch: pa.RecordBatch, make: Maker) -> None:
    """Its account comes with the first; a checkpoint between them keeps that."""
    part = thinned(busy_batch, 4, 1)[0]
    one, other = make("uplink"), make("uplink")
    make.seen.clear()
    one.update(part)
    one.close()
    expected = load_of(make.seen)
    make.seen.clear()
    nothing = {"ledger": json.dumps(CaptureLedger().as_dict())}
    half = part.num_rows // 2
    other.update(part.slice(0, half))
    third = make("uplink")
    third.restore(decode_checkpoint(encode_checkpoint(other.state())))
    third.update(part.slice(half).replace_schema_metadata(nothing))
    third.close()
    assert load_of(make.seen) == pytest.approx(expected)


def test_drops_of_nearly_everything_are_a_hole(busy_batch: pa.RecordBatch, make: Maker) -> None:
    parts = [busy_batch.slice(at, 200) for at in range(0, 4_000, 200)]
    told = [{"captured": 200, "decoded": 200, "kernel_drops": 100_000 if at == 10 else 0} for at in range(len(parts))]
    pipeline = make("uplink")
    for part, ledger in zip(parts, told, strict=True):
        pipeline.update(part.replace_schema_metadata({"ledger": json.dumps(ledger)}))
    assert pipeline.ledger.holes == 1
    assert pipeline.quality.dropped > 0.9


# the table


def test_the_table_tells_what_its_lines_do_not_have(busy_batch: pa.RecordBatch, make: Maker) -> None:
    whole = messages(busy_batch)[:-1]
    consumer, lines = LinkConsumer("uplink", make), list[str]()
    table = LineTable(lines.append, 500_000_000, BIN_NS)
    for at, each in enumerate(whole):
        if at in range(10, 20):
            continue
        if at == 30:
            told = {"captured": each.headers.rows, "decoded": each.headers.rows, "kernel_drops": each.headers.rows}
            each = message(replace(each.headers, ledger=told), each.batch)
        consumer.feed(each, at)
    for timeline in make.seen:
        table.update(timeline)
    table.close()
    text = "\n".join(lines)
    assert "not known" in text
    assert "% dropped" in text
    quiet = [line for line in lines[1:] if "▶" not in line and "known" not in line and "dropped" not in line]
    assert quiet
    first = next(line for line in lines if "not known" in line)
    assert float(first.split("%")[0].split()[-1]) > 5  # the load of the bins that are known, not of the hole


# the agent, and what a worker prints


def test_what_an_agent_shed_is_told_by_the_message_behind_it(busy_batch: pa.RecordBatch, make: Maker) -> None:
    """The broker is away, the oldest messages are shed: the queue's first, not its newest, stands behind the hole."""
    publisher = Publisher(
        KafkaSettings(("nowhere:9092",)), site="lab", agent="a", epoch=1, live=True, queue_bytes=40_000
    )
    parts = [busy_batch.slice(at, 200) for at in range(0, busy_batch.num_rows, 200)]
    for part in parts:
        ledger = json.dumps(CaptureLedger(part.num_rows, part.num_rows).as_dict())
        publisher.publish("uplink", part.replace_schema_metadata({"ledger": ledger}))
    sent = []
    while publisher._queue:
        with publisher._changed:
            taken = publisher._take()
        assert taken is not None
        sent.append(taken.headers)
    assert publisher.ledger.shed > 3
    assert [each.sequence for each in sent] == list(range(len(sent)))
    shed = [each.ledger["shed"].get("publish_backlog", 0) for each in sent]
    assert shed == [publisher.ledger.rows_shed] + [0] * (len(sent) - 1)
    assert sum(each.ledger["captured"] for each in sent) == busy_batch.num_rows
    consumer = LinkConsumer("uplink", make)
    fed(consumer, messages(busy_batch)[:2])
    headers = replace(messages(busy_batch)[38].headers, sequence=2, ledger=sent[0].ledger)
    fed(consumer, [message(headers, messages(busy_batch)[38].batch)], 2)
    assert (consumer.ledger.gaps, consumer.pipeline.ledger.holes) == (0, 1)
    assert consumer.pipeline.quality.shed > 0.5


def test_a_workers_ledger_has_a_line_for_gaps_and_one_for_each_link_that_has_any(
    busy_batch: pa.RecordBatch, make: Maker
) -> None:
    meter = PartitionMeter()
    for link, lost in (("uplink", range(3, 8)), ("spare", range(0))):
        consumer = LinkConsumer(link, make)
        fed(consumer, [each for at, each in enumerate(messages(busy_batch)) if at not in lost])
        fed(consumer, messages(busy_batch)[:2], 100)
        meter.worked(consumer, 0, 0.0)
    text = "\n".join(account(WorkerLedger(), meter.links))
    assert "missing, in gaps               5   1 holes" in text
    assert "repeats dropped                4" in text
    assert [line.split() for line in text.splitlines() if "uplink" in line] == [["uplink", "5", "1", "holes"]]
    assert "spare" not in text
