"""The tap's own part: what is lost on the way shows in ledger, quality and scale; an idle link's lines are printed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from offramp.capture.block import PacketBlock, tick
from offramp.capture.intake.intake import Intake
from offramp.capture.intake.shedding import Shedding, SheddingRule
from offramp.capture.ledger import CaptureLedger
from offramp.capture.sources.source import Fault, ListSource
from offramp.cli.show.table import LineTable
from offramp.decision.site import Link, Site, default_site
from offramp.stream.agent.live import LiveAgent
from offramp.stream.local.link_batches import ByLink
from offramp.stream.local.link_choice import LinkChoice
from offramp.stream.local.live_batches import LiveBatches
from offramp.stream.local.tap import Tap
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.pipeline.timeline import LinkTimeline
from tests.support.fake_predictor import FakePredictor
from tests.support.feature_batches import make_batch
from tests.support.live_blocks import BASE, FLOWS, INTERFACE, blocks


def tapped(
    source: ListSource, level: int, predictor: FakePredictor, normaliser_state: dict[str, NDArray[Any]], **hooks: Any
) -> tuple[Tap, float]:
    """Run a tap whose shedding stays at a level; return it and the load of all bins."""
    site, seen = default_site(), []

    def told(timeline: LinkTimeline) -> None:
        seen.append(float((timeline.load_up + timeline.load_down).sum()))
        if "sink" in hooks:
            hooks["sink"](timeline)

    link = site.links[0].name
    pipeline = Pipeline(site, link, predictor, normaliser_state, sink=told)
    rule = SheddingRule(raise_fill=2.0, lower_s=1e12)
    shedding = Shedding(rule, level=level, secret=np.uint64(7), _changed_s=0.0)
    batches = LiveBatches(Intake(source, shedding=shedding), ByLink(LinkChoice(site), site, "tap"))
    tap = Tap([batches], lambda _: pipeline, hooks.get("tick"))
    assert list(tap.run()) == []
    return tap, sum(seen)


class Idle(ListSource):
    """Waits after each tick until it has been dealt with, as otherwise several become one."""

    def __init__(self, blocks: list[PacketBlock], seen: threading.Semaphore) -> None:
        super().__init__(blocks)
        self.seen = seen

    def read(self) -> Iterator[PacketBlock]:
        for block in self.blocks:
            yield block
            assert not block.clock_ns or self.seen.acquire(timeout=30)


@pytest.mark.parametrize("level", [0, 1, 2, 4])
def test_counters_are_scaled_by_what_was_sampled_away(
    level: int, predictor: FakePredictor, normaliser_state: dict[str, NDArray[Any]]
) -> None:
    tap, load = tapped(ListSource(blocks(10)), level, predictor, normaliser_state)
    ledger = tap.sources[0].ledger()
    assert ledger.balances()
    assert ledger.captured == 10 * FLOWS
    assert ledger.shed.total() == ledger.shed["flow_sampling"]
    kept = tap.pipelines["capture"].ledger.rows
    assert kept == ledger.decoded == 10 * FLOWS - ledger.shed.total()
    factor = tap.sources[0].intake.shedding.factor
    assert factor == 1 << max(0, level - 1)
    assert (kept < 10 * FLOWS) == (factor > 1)
    _, whole = tapped(ListSource(blocks(10)), 0, predictor, normaliser_state)
    assert load == pytest.approx(whole * factor * kept / (10 * FLOWS), rel=1e-6)
    assert load == pytest.approx(whole, rel=4 * np.sqrt(factor / FLOWS))
    assert tap.pipelines["capture"].quality.shed == pytest.approx(1 - kept / (10 * FLOWS), abs=0.02)


def test_kernel_drops_show_in_ledger_and_quality(
    predictor: FakePredictor, normaliser_state: dict[str, NDArray[Any]]
) -> None:
    tap, _ = tapped(ListSource(blocks(10, drops=FLOWS)), 0, predictor, normaliser_state)
    assert tap.sources[0].ledger().kernel_drops == 10 * FLOWS
    assert tap.pipelines["capture"].quality.dropped == pytest.approx(0.5)


def test_the_clock_is_not_told_across_packets_that_were_lost() -> None:
    """A tick behind drops that no batch has told of would make their time pass for silence."""
    idle = [tick(INTERFACE, BASE + at * 1_000_000, 0, drops) for at, drops in ((60, 0), (110, 9), (160, 0))]
    later = replace(blocks(1)[0], time_ns=blocks(1)[0].time_ns + 200_000_000)
    source = ListSource([*blocks(1), *idle, later, tick(INTERFACE, BASE + 260_000_000, 0, 0)])
    shedding = Shedding(SheddingRule(raise_fill=2.0, lower_s=1e12))
    batches = LiveBatches(Each(source, shedding), by_link())  # type: ignore[arg-type]
    found = [(item - BASE) // 1_000_000 if isinstance(item, int) else item.num_rows for _, item in batches.read()]
    assert found == [FLOWS, 60, FLOWS, 260]
    assert batches.ledger().kernel_drops == 9


def by_link() -> ByLink:
    """The links of the assumed site."""
    return ByLink(LinkChoice(default_site()), default_site(), "tap")


class Each:
    """An intake that hands on each block by itself."""

    def __init__(self, source: ListSource, shedding: Shedding) -> None:
        self.source, self.shedding, self.account = source, shedding, CaptureLedger()
        self.faults: list[Fault] = []

    def read(self) -> Iterator[PacketBlock]:
        for block in self.source.read():
            if block.shed_before:
                self.account.add(CaptureLedger(block.shed_before, shed=Counter(queue_full=block.shed_before)))
            yield block


def test_a_block_that_was_shed_is_a_hole(predictor: FakePredictor, normaliser_state: dict[str, NDArray[Any]]) -> None:
    """Half a second of blocks is shed while the dissection stands; the tap says so, and makes no silence of it."""
    lines: list[str] = []
    table = LineTable(lines.append, 100_000_000, 10_000_000)
    rounds = [replace(each, shed_before=7 * FLOWS if at == 12 else 0) for at, each in enumerate(blocks(24))]
    site = default_site()
    link = site.links[0].name
    pipeline = Pipeline(site, link, predictor, normaliser_state, sink=table.update)
    kept = [each for at, each in enumerate(rounds) if not 5 <= at < 12]
    intake = Each(ListSource(kept), Shedding())
    for _, batch in LiveBatches(intake, by_link()).read():  # type: ignore[arg-type]
        assert isinstance(batch, pa.RecordBatch)
        pipeline.update(batch)
    pipeline.close()
    table.close()
    assert pipeline.ledger.holes == 1
    assert any("s not known" in line for line in lines)
    assert any("% shed" in line for line in lines)
    assert pipeline.quality.shed == pytest.approx(7 / 24, abs=0.02)


def test_an_idle_links_bins_and_lines_come_by_the_clock(
    predictor: FakePredictor, normaliser_state: dict[str, NDArray[Any]]
) -> None:
    lines: list[str] = []
    table = LineTable(lines.append, 100_000_000, 10_000_000, note="  1/4 of flows")
    after: list[tuple[int, int]] = []
    idle = [tick(INTERFACE, BASE + at * 1_000_000, 0, 0) for at in (60, 120, 250, 800, 900, 5_000, 5_001)]

    seen = threading.Semaphore(0)

    def clock(now_ns: int) -> None:
        table.advance(now_ns)
        after.append(((now_ns - BASE) // 1_000_000, len(lines)))
        seen.release()

    tapped(Idle([*blocks(1), *idle], seen), 0, predictor, normaliser_state, sink=table.update, tick=clock)
    assert [now for now, _ in after] == [60, 120, 250, 800, 900, 900, 5_001]  # a leap waits for a second witness
    assert [count for _, count in after] == sorted(count for _, count in after)
    assert after[2][1] >= 2
    assert after[-1][1] == len(lines) == 1 + 7  # the heading, and 0.7 s until the silence ends the link's series
    assert all(line.endswith("  1/4 of flows") for line in lines[1:])


def test_lines_do_not_wait_for_a_link_that_has_had_no_packet(
    predictor: FakePredictor, normaliser_state: dict[str, NDArray[Any]]
) -> None:
    site = Site(links=tuple(Link(name=name, interface=name, capacity=1e8) for name in ("v1", "v2")))
    idle = [tick(INTERFACE, BASE + at * 1_000_000, 0, 0) for at in (60, 120)]
    links = ByLink(LinkChoice(site), site, "tap")
    for link in site.links:
        links.dissector(link.name)
    told, seen = list[int](), threading.Semaphore(0)

    def make(link: str) -> Pipeline:
        return Pipeline(site, link, predictor, normaliser_state)

    def clock(now_ns: int) -> None:
        told.append(now_ns - BASE)
        seen.release()

    tap = Tap([LiveBatches(Intake(Idle([*blocks(1), *idle], seen)), links)], make, clock)
    assert list(tap.run()) == []
    assert told == [60_000_000, 120_000_000]


def test_an_agents_clock_is_told_on_after_it_was_set_back() -> None:
    told: list[int] = []

    class Told:
        def publish(self, *_: object) -> None:
            pass

        def clock(self, _: str, now_ns: int) -> None:
            told.append(now_ns)

    agent, hour = LiveAgent([], Told()), 3_600_000_000_000  # type: ignore[arg-type]
    for begin in (BASE, BASE - hour):
        agent._publish("v1", make_batch(1, frame__time_epoch=[begin]))
        agent._publish("v1", begin + 500_000_000)
    assert told == [BASE + 500_000_000, BASE - hour + 500_000_000]
