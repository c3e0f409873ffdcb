"""Times are an input like any other: whatever they are, a link goes on, counts what it leaves out, and repeats."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from offramp.capture.block import END_OF_TIME_NS, NO_TIME
from offramp.capture.message.decode import FeatureMessage
from offramp.capture.message.encode import FeatureHeaders
from offramp.capture.sources.file.files import open_captures
from offramp.capture.sources.source import ListSource
from offramp.decision.site import load_site
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_predictor
from offramp.stream.bins.bins import Bins
from offramp.stream.bins.event_time import BACK_NS, FAR_NS, MIN_STAYS_ROWS, STAYS_ROWS, lives
from offramp.stream.bins.packets import IPV4_MAPPED, Packets, part_of
from offramp.stream.bins.state import AHEAD, LATE, NEXT, OUT_ROWS, ROWS, STEPS, UNTIMED, ClosedBins, LinkConfig
from offramp.stream.channels import BIN_NS, CHANNELS, WINDOW_BINS
from offramp.stream.datasets.arrivals import of_one_time
from offramp.stream.links.link_consumer import LinkConsumer
from offramp.stream.local.replay import Replay
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.refine.refiner import Refiner
from offramp.stream.windows.windows import Windows
from offramp.stream.worker.checkpoint import decode_checkpoint, encode_checkpoint
from tests.support.link_messages import cut, fed
from tests.support.places import ROOT
from tests.support.times import BASE, SECOND, Times, steady

SHAPE = LinkConfig(1e7, 1e7, None, ("10.0.0.0/8",), device_share=0.0)
UP = CHANNELS.index("packets_up")


def packets(time_ns: Times) -> Packets:
    n = len(time_ns)
    address = np.zeros((n, 4), np.int64)
    address[:, 1] = (IPV4_MAPPED | 0x0A000000) + np.arange(n) % 5
    address[:, 3] = IPV4_MAPPED | 0xC0000201
    some = np.full(n, 6, np.int64)
    return Packets(np.asarray(time_ns, np.int64), some * 20, address, some, some, some * 0, np.full(n, np.nan))


def rows_of(
    bins: Bins, given_packets: Packets, cuts: list[int], told: Callable[[Bins], Bins] = lambda bins: bins
) -> tuple[list[bytes], Bins, float]:
    """The rows of closed bins of packets in parts, and the bins; `told`: what becomes of the bins between parts."""
    rows = []

    def take(chunks: Iterable[ClosedBins]) -> None:
        for chunk in chunks:
            assert 0 < len(chunk.series) <= OUT_ROWS
            for row in range(len(chunk.series)):
                told = chunk if chunk.series[row] == 0 else chunk[:-2]  # flows are of the link's rows only
                rows.append(b"".join(np.ascontiguousarray(array[row]).tobytes() for array in told))
            counts.append(np.expm1(chunk.x[chunk.series == 0][:, UP].astype(np.float64)).sum())

    counts: list[float] = []
    edges = [0, *sorted(cuts), len(given_packets.time_ns)]
    for start, end in itertools.pairwise(edges):
        take(bins.update(part_of(given_packets, start, end)))
        bins = told(bins)
    take(bins.close())
    return rows, bins, sum(counts)


def moved_to_another(bins: Bins) -> Bins:
    """Bins with the state of others, as after a checkpoint."""
    other = Bins(SHAPE, bins.lateness_ns / 1e6)
    pairs: list[tuple[Iterable[NDArray[Any]], Iterable[NDArray[Any]]]] = [
        (bins.state, other.state),
        (bins.hitters, other.hitters),
        (bins.held, other.held),
    ]
    for ours, theirs in pairs:
        for before, after in zip(ours, theirs, strict=True):
            after[...] = before
    return other


def counted(bins: Bins) -> dict[str, int]:
    clock = bins.state.clock
    places = {"rows": ROWS, "late": LATE, "ahead": AHEAD, "untimed": UNTIMED, "steps": STEPS}
    return {name: int(clock[place]) for name, place in places.items()}


@st.composite
def faulty_times(draw: st.DrawFn) -> Times:
    time_ns = steady(draw(st.integers(1, 400)), draw(st.sampled_from([0.1, 2.0, 30.0, 700.0])))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(time_ns) - 1))
        until = min(len(time_ns), at + draw(st.sampled_from([1, 1, 2, 3, 70, 400])))
        off = draw(st.sampled_from([1, 50, 130, 700, 2_100, 60_000, 3_600_000, 10**10, 10**12])) * 1_000_000
        kind = draw(st.sampled_from(["ahead", "behind", "absent", "zero", "negative", "random", "end"]))
        with np.errstate(over="ignore"):
            altered: dict[str, Any] = {
                "ahead": time_ns[at:until] + off, "behind": time_ns[at:until] - off,
                "absent": NO_TIME, "zero": 0, "negative": -off, "end": END_OF_TIME_NS - 1,
                "random": draw(st.integers(-(2**63), 2**63 - 1)),
            }  # fmt: skip
            time_ns[at:until] = altered[kind]
    return time_ns


@settings(max_examples=150, deadline=None)
@given(faulty_times(), st.lists(st.integers(0, 400), max_size=5), st.sampled_from([0.0, 1.0, 140.0]))
def test_whatever_the_times_all_rows_are_accounted_for_however_they_come(
    time_ns: Times, cuts: list[int], lateness_ms: float
) -> None:
    given_packets, cuts = packets(time_ns), [cut for cut in cuts if cut <= len(time_ns)]
    whole, bins, binned = rows_of(Bins(SHAPE, lateness_ms), given_packets, [])
    in_parts, other, _ = rows_of(Bins(SHAPE, lateness_ms), given_packets, cuts, moved_to_another)
    assert in_parts == whole
    found = counted(bins)
    assert counted(other) == found
    assert found["rows"] == len(time_ns)
    assert round(binned) == found["rows"] - found["late"] - found["ahead"] - found["untimed"]


@settings(max_examples=60, deadline=None)
@given(faulty_times(), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6))
def test_no_clock_breaks_a_link(time_ns: Times, clocks: list[int]) -> None:
    bins, whole = Bins(SHAPE), packets(time_ns)
    for number, now_ns in enumerate(clocks):
        part = part_of(whole, number * len(time_ns) // len(clocks), (number + 1) * len(time_ns) // len(clocks))
        rows = sum(len(chunk.series) for chunk in bins.update(part))
        rows += sum(len(chunk.series) for chunk in bins.advance(now_ns))
        assert rows <= (len(part.time_ns) + 1) * 6 * (WINDOW_BINS + 18)
    list(bins.close())
    assert counted(bins)["rows"] == len(time_ns)


@pytest.mark.parametrize("ahead_s", [0.7, 2, 60, 3_600, 2**31 - 1_700_000_000, 2_900_000_000])
def test_one_packet_of_the_future_costs_itself_alone(ahead_s: float) -> None:
    time_ns = steady(2_000)
    time_ns[1_000] += int(ahead_s * SECOND)
    bins = Bins(SHAPE)
    given_packets = packets(time_ns)
    order = np.delete(np.arange(2_000), 1_000)
    without, *_ = rows_of(Bins(SHAPE), Packets._make(column[order] for column in given_packets), [])
    found, bins, _ = rows_of(bins, given_packets, [])
    assert found == without
    assert counted(bins) == {"rows": 2_000, "late": 0, "ahead": 1, "untimed": 0, "steps": 0}


def test_a_second_witness_bears_a_leap_out_packet_or_clock() -> None:
    far = int(steady(1)[0]) + 10 * SECOND
    for witness in ("packet", "clock"):
        bins = Bins(SHAPE)
        list(bins.update(packets(steady(100))))
        before = bins.reached_ns
        list(bins.update(packets(np.array([far]))))
        assert bins.reached_ns == before
        if witness == "packet":
            list(bins.update(packets(np.array([far + SECOND]))))
        else:
            list(bins.advance(far + 3_000_000))
        assert bins.newest_ns == far
        list(bins.close())
        assert counted(bins)["ahead"] == (witness == "packet")  # the second one waits for a third


def test_a_clock_of_the_future_does_not_move_time_alone() -> None:
    bins = Bins(SHAPE)
    list(bins.update(packets(steady(100))))
    at = int(bins.state.clock[NEXT])
    assert list(bins.advance(BASE + 3_600 * SECOND)) == []
    assert bins.state.clock[NEXT] == at
    list(bins.update(packets(steady(200)[100:])))
    list(bins.close())
    assert counted(bins) == {"rows": 200, "late": 0, "ahead": 0, "untimed": 0, "steps": 0}


@pytest.mark.parametrize("back_s", [10, 60, 3_600, 1_000_000_000])
@pytest.mark.parametrize("apart_ms", [0.2, 20, 1_000])
def test_a_clock_that_is_set_back_begins_the_link_anew(back_s: int, apart_ms: float) -> None:
    time_ns = steady(3_000, apart_ms)
    time_ns[1_500:] -= int(back_s * SECOND)
    _, bins, binned = rows_of(Bins(SHAPE), packets(time_ns), [])
    found = counted(bins)
    assert found["steps"] == 1
    assert found["late"] < STAYS_ROWS
    assert found["late"] >= MIN_STAYS_ROWS - 1
    assert round(binned) == 3_000 - found["late"] - found["ahead"]


def test_what_is_late_by_little_is_made_up_for_and_begins_nothing_anew() -> None:
    time_ns = steady(3_000, 2.0)
    time_ns[1_500:] -= BACK_NS // 2
    _, bins, _ = rows_of(Bins(SHAPE), packets(time_ns), [])
    assert counted(bins)["steps"] == 0
    assert counted(bins)["late"] == pytest.approx(BACK_NS / 2 / 2_000_000, abs=BIN_NS / 2_000_000)


def test_strays_of_another_time_begin_nothing_anew() -> None:
    time_ns = steady(5_000)
    time_ns[7::10] -= 3_600 * SECOND
    time_ns[3::10] += 3_600 * SECOND
    _, bins, _ = rows_of(Bins(SHAPE), packets(time_ns), [])
    assert counted(bins) == {"rows": 5_000, "late": 500, "ahead": 500, "untimed": 0, "steps": 0}


def test_closed_bins_keep_to_their_room_whatever_the_state_says() -> None:
    bins = Bins(SHAPE)
    list(bins.update(packets(steady(50))))
    far = int(bins.state.clock[NEXT]) + 360_000
    bins.state.first[:], bins.state.last[:] = 0, far
    rows = 0
    for chunk in bins.advance(int(bins.reached_ns) + FAR_NS):
        assert len(chunk.series) <= OUT_ROWS
        rows += len(chunk.series)
    bins.state.clock[NEXT] -= 3_600 * 100
    for chunk in bins.close():
        assert len(chunk.series) <= OUT_ROWS
        rows += len(chunk.series)
    assert rows > 3_600 * 100


def test_a_data_set_takes_the_time_that_most_packets_are_of() -> None:
    time_ns = steady(1_000)
    ours, left_out = of_one_time(packets(time_ns))
    assert (len(ours.time_ns), left_out) == (1_000, 0)
    time_ns[300:] -= 3_600 * SECOND
    time_ns[[5, 500, 900, 901]] = NO_TIME, 2**31 * SECOND, 0, -1
    ours, left_out = of_one_time(packets(time_ns))
    assert len(ours.time_ns) + left_out == 1_000
    assert len(ours.time_ns) == 700 - 3 - STAYS_ROWS + 1
    assert (np.diff(ours.time_ns) > 0).all()
    assert len(of_one_time(packets(np.full(9, NO_TIME)))[0].time_ns) == 0


@settings(max_examples=100, deadline=None)
@given(faulty_times())
def test_a_data_set_tells_times_apart_as_bins_do(time_ns: Times) -> None:
    found = lives(time_ns, 0)
    _, bins, _ = rows_of(Bins(SHAPE, 0), packets(time_ns), [])
    told = counted(bins)
    assert max(0, int(found.max(initial=0))) == told["steps"]
    assert (found < 0).sum() <= told["late"] + told["ahead"] + told["untimed"]


Decided = tuple[float, str, str, str]
Replayed = Callable[..., tuple[list[Decided], Replay]]


@pytest.fixture(scope="module")
def replayed() -> Replayed:
    """Replays the sample with other times; gives its commands as seconds since the begin, phase, type and body."""
    blocks = list(open_captures([str(ROOT / "samples/demo.pcap.zst")]).read())
    artifact, predictor = load_artifact(DEFAULT_ARTIFACT), open_predictor(DEFAULT_ARTIFACT)
    site, begin = load_site(ROOT / "samples/site.toml"), int(blocks[0].time_ns[0])

    def run(change: Callable[[Times, Times], Times] = lambda _, time_ns: time_ns) -> tuple[list[Decided], Replay]:
        altered, first = [], 0
        for block in blocks:
            number = np.arange(first, first + len(block))
            altered.append(replace(block, time_ns=change(number, block.time_ns)))
            first += len(block)
        replay = Replay(ListSource(altered), site, artifact, predictor)
        commands = [
            ((each.not_before_ns - begin) / SECOND, each.phase, str(each.action["type"]), each.to_json())
            for each in replay.run()
        ]
        return commands, replay

    return run


ONE_WRONG: dict[str, Callable[[Times], Times | int]] = {
    "+2 s": lambda time_ns: time_ns + 2 * SECOND, "+60 s": lambda time_ns: time_ns + 60 * SECOND,
    "+1 h": lambda time_ns: time_ns + 3_600 * SECOND, "2038": lambda _: 2**31 * SECOND,
    "2262": lambda _: 2**63 - 1, "-1 h": lambda time_ns: time_ns - 3_600 * SECOND, "1970": lambda _: 0,
    "1969": lambda _: -SECOND, "none": lambda _: NO_TIME,
}  # fmt: skip


@pytest.mark.parametrize("wrong", ONE_WRONG)
def test_one_wrong_time_in_the_sample_changes_no_command_but_where_it_is(replayed: Replayed, wrong: str) -> None:
    right, _ = replayed()
    found, replay = replayed(lambda number, time_ns: np.where(number == 2_000, ONE_WRONG[wrong](time_ns), time_ns))
    assert [each[:3] for each in found] == [each[:3] for each in right]
    ledger = replay.stream_ledger()
    assert (ledger.rows, ledger.binned) == (26_988, 26_987)
    assert ledger.balances()


CLOCK_SET: dict[str, tuple[Callable[[Times], Any], int]] = {  # which packets, by how many seconds
    "back 1 s": (lambda at: at >= 0, -1), "back 1 h": (lambda at: at >= 0, -3_600),
    "ahead 1 h for 2 s": (lambda at: (at >= 0) & (at < 2 * SECOND), 3_600), "ahead 1 h": (lambda at: at >= 0, 3_600),
    "ahead 1 h at first": (lambda at: at < 0, 3_600),
}  # fmt: skip


@pytest.mark.parametrize("how", CLOCK_SET)
def test_a_clock_that_is_set_changes_no_command_but_for_the_moments_after(
    replayed: Replayed, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    right, _ = replayed()
    which, seconds = CLOCK_SET[how]
    times: list[Times] = []

    def seen(_: Times, time_ns: Times) -> Times:
        times.append(time_ns)
        return time_ns

    replayed(seen)
    set_at = int(np.concatenate(times)[2_000])
    caplog.clear()
    found, replay = replayed(lambda _, time_ns: time_ns + np.where(which(time_ns - set_at), seconds * SECOND, 0))
    assert [each[1:3] for each in found] == [each[1:3] for each in right]
    stays = 0 if how in ("ahead 1 h for 2 s", "ahead 1 h at first") else seconds
    for ours, theirs in zip(found, right, strict=True):
        assert abs(ours[0] - stays - theirs[0]) < 1.0
    ledger = replay.stream_ledger()
    assert ledger.time_steps == (seconds == -3_600 or how.endswith(("for 2 s", "first")))
    assert len([each for each in caplog.messages if "goes back" in each]) == ledger.time_steps
    assert ledger.binned >= 26_988 - STAYS_ROWS or how == "back 1 s"


def test_commands_say_what_they_said_where_all_times_are_right(replayed: Replayed) -> None:
    commands, replay = replayed()
    assert len(commands) == 11
    assert replay.stream_ledger().binned == 26_988
    assert json.loads(commands[0][3])["phase"] == "onset"
    told = replay.stream_ledger().lines()
    assert not any("went back" in line or "lateness" in line or "no time" in line for line in told)


def test_rows_that_a_refiner_cuts_at_its_ticks_keep_the_time_they_are_of(
    normaliser_state: dict[str, NDArray[Any]],
) -> None:
    time_ns = steady(4_000, 1.0)
    time_ns[2_000:] -= 3_600 * SECOND
    windows = Windows(SHAPE, normaliser_state)
    rows = [*windows.rows_of(windows.bins.update(packets(time_ns))), *windows.rows_of(windows.bins.close())]
    ticked: list[int] = []
    refiner: Any = SimpleNamespace(_tick=0, _on_tick=ticked.append)
    steps = [part.step for whole in rows for part in Refiner.parts(refiner, whole)]
    assert steps == sorted(steps)
    assert set(steps) == {0, 1}


def test_a_link_in_a_worker_takes_wrong_times_as_they_come(
    busy_batch: pa.RecordBatch, make: Callable[..., Pipeline]
) -> None:
    """One row of the future, rows gone back, a clock of the future: with checkpoints between, the same commands."""

    def dated(batch: pa.RecordBatch, change: Callable[[Times], Times]) -> pa.RecordBatch:
        column = batch.schema.get_field_index("frame.time_epoch")
        times = change(batch.column(column).to_numpy().copy())
        return batch.set_column(column, "frame.time_epoch", pa.array(times, pa.int64()))

    def one(times: Times) -> Times:
        times[3_000] += 3_600 * SECOND
        return times

    right = fed(LinkConsumer("uplink", make), cut(busy_batch))
    assert right
    consumer, told = LinkConsumer("uplink", make), []
    for offset, message in enumerate(cut(dated(busy_batch, one))):
        told += [command.to_json() for command in consumer.feed(message, offset)]
        if offset % 3 == 1:
            other = LinkConsumer("uplink", make)
            assert other.restore(decode_checkpoint(encode_checkpoint(consumer.state())))
            consumer = other
    assert len(told) == len(right)
    assert consumer.ledger.restarts == 1  # by its end only

    def back(times: Times) -> Times:
        times[len(times) // 2 :] -= 3_600 * SECOND
        return times

    consumer = LinkConsumer("uplink", make)
    messages = cut(dated(busy_batch, back))
    fed(consumer, messages[:-1])
    assert consumer.pipeline.ledger.time_steps == 1
    assert consumer.pipeline.ledger.late < STAYS_ROWS
    assert consumer._newest_ns == consumer.pipeline.reached_ns == messages[-2].headers.last_time_ns

    consumer = LinkConsumer("uplink", make)
    messages = cut(busy_batch)
    ahead = FeatureHeaders("lab", "a", 1, 99, 0, clock_ns=BASE + 10**6 * SECOND)
    fed(consumer, messages[:6])
    before = consumer._newest_ns
    consumer.feed(FeatureMessage("uplink", ahead, None), 6)
    assert consumer._newest_ns == before
