"""Micro-batches: rows of many links in one call of the model, and not a bit of what comes out is another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.service import site_file
from offramp.capture.message.encode import FeatureHeaders, encode_batch, times_of
from offramp.decision.site import Site
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.forecast import Prediction
from offramp.inference.serving.compiled import CompiledPredictor
from offramp.inference.serving.predictor import Predictor
from offramp.inference.serving.table import open_predictor
from offramp.stream.bins.state import SERIES
from offramp.stream.links.bundle_consumer import BundleConsumer
from offramp.stream.links.link_consumers import LinkConsumers
from offramp.stream.pipeline import carried_state
from offramp.stream.pipeline.carried_state import CALL_ROWS, Ask, CarriedState, StatePool, predict_together
from offramp.stream.pipeline.meeting import Sink
from offramp.stream.pipeline.pipeline import Pipeline, Step
from offramp.stream.worker.message_batch import MessageBatch
from offramp.stream.worker.micro_batch import BYTES, MicroBatches
from tests.support.workers import demo_batches, expected

LINKS = 6
PARTITIONS = 3


class Watched(CompiledPredictor):
    """The shipped model, and how many rows each call of it held."""

    def __init__(self) -> None:
        super().__init__(load_artifact(DEFAULT_ARTIFACT))
        self.calls: list[int] = []

    def predict(
        self,
        x: NDArray[np.float32],
        spectrum: NDArray[np.float32],
        series: NDArray[np.int32],
        state: NDArray[np.float32],
    ) -> Prediction:
        self.calls.append(len(x))
        return super().predict(x, spectrum, series, state)


Parts = list[tuple[list[tuple[str, bytes]], bytes]]
"""Headers and bodies of messages."""


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture(scope="module")
def parts() -> Parts:
    """The demo in messages of 600 rows: headers and bytes, and an end."""
    whole = demo_batches(600)
    out = [
        (FeatureHeaders("lab", "tap", 1, at, batch.num_rows, *times_of(batch)).pairs(), encode_batch(batch))
        for at, batch in enumerate(whole)
    ]
    return [*out, (FeatureHeaders("lab", "tap", 1, len(whole), 0, end=True).pairs(), b"")]


def runs_of(site: Site, predictor: Predictor, pool: StatePool) -> LinkConsumers:
    scale = load_artifact(DEFAULT_ARTIFACT).normaliser

    def make_run(link: str, sink: Sink | None) -> BundleConsumer:
        carried = pool.take()
        return BundleConsumer.of(
            site,
            link,
            lambda name, meeting: Pipeline(site, name, predictor, scale, meeting, sink=sink, carried=carried),
        )

    return LinkConsumers(site.bundle_names, make_run)


def portions(parts: Parts, consumers: LinkConsumers, links: list[str]) -> Iterator[MessageBatch]:
    """Batches of one partition: a message of each of its links, in turn."""
    offset = 0
    for headers, value in parts:
        records = []
        for link in links:
            records.append(SimpleNamespace(partition=0, offset=offset, key=link.encode(), value=value, headers=headers))
            offset += 1
        yield MessageBatch(records, consumers, "lab", horizon_ms=500)


def sent(batch: MessageBatch) -> list[tuple[str, bytes, bytes]]:
    return [(each.topic, each.key, each.value) for outcome in batch.outcomes for each in outcome.outgoing]


async def worked(partitions: Any, threads: int) -> tuple[list[tuple[str, bytes, bytes]], MicroBatches]:
    """Work on the batches of some partitions side by side; a first batch keeps all threads until the partitions
    wait."""
    gate = threading.Event()

    class Held:
        size, done = BYTES, True

        def to_steps(self) -> list[Step]:
            gate.wait(60)
            return []

        def apply(self, found: list[Prediction]) -> None: ...

    with ThreadPoolExecutor(threads) as executor:
        batches = MicroBatches(executor, threads)
        out: list[tuple[str, bytes, bytes]] = []

        async def partition(waiting: Iterable[MessageBatch]) -> None:
            for batch in waiting:
                await batches.work(batch)
                out.extend(sent(batch))

        held: Any = Held()
        first = [asyncio.create_task(batches.work(held)) for _ in range(threads)]
        tasks = [asyncio.create_task(partition(each)) for each in partitions]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*first, *tasks)
    return out, batches


@pytest.fixture
def links_of_calls(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """The links, as places in the pool, of which each call of the model had rows."""
    found: list[set[int]] = []
    real = carried_state._call

    def watch(predictor: Predictor, asks: Sequence[Ask]) -> list[Prediction]:
        found.append({ask.carried.first for ask in asks})
        return real(predictor, asks)

    monkeypatch.setattr(carried_state, "_call", watch)
    return found


@pytest.mark.parametrize("threads", [1, 2])
def test_calls_hold_rows_of_several_links_and_partitions_and_change_no_byte(
    threads: int, watched: Watched, links_of_calls: list[set[int]], parts: Parts, tmp_path: Path
) -> None:
    site, _ = site_file(LINKS, tmp_path)
    names = [link.name for link in site.links]
    pool = StatePool(LINKS, SERIES, watched.state_size)
    partitions = [portions(parts, runs_of(site, watched, pool), names[at::PARTITIONS]) for at in range(PARTITIONS)]
    out, batches = asyncio.run(worked(partitions, threads))
    assert max(map(len, links_of_calls)) > LINKS // PARTITIONS  # more links than one partition has
    assert batches.ledger.batches < batches.ledger.portions
    assert sum(watched.calls) == batches.ledger.rows > 0
    commands = {name: [v for t, k, v in out if t == "decisions" and of(k) == name] for name in names}
    assert commands == expected(site)
    forecasts = [value for topic, key, value in out if topic == "forecasts" and key == names[0].encode()]
    assert forecasts == alone_forecasts(site, parts, names[0], open_predictor(DEFAULT_ARTIFACT))


def of(scope: bytes) -> str:
    return scope.decode().split(":")[1].split("/")[0]


def alone_forecasts(site: Site, parts: Parts, link: str, predictor: Predictor) -> list[bytes]:
    """The forecast messages of a link that a worker has for itself, one message at a time."""
    consumers = runs_of(site, predictor, StatePool(1, SERIES, predictor.state_size))
    out = []
    for batch in portions(parts, consumers, [link]):
        batch.apply([pipeline_predictions(step) for step in batch.to_steps()])
        out += [value for topic, _, value in sent(batch) if topic == "forecasts"]
    return out


def pipeline_predictions(step: Step) -> list[Prediction]:
    asks = [
        Ask(step.pipeline.carried, rows.x, rows.spectrum, rows.closed.series, rows.closed.fresh)
        for rows in step.windowed.rows
    ]
    return [predict_together(step.pipeline.predictor, [ask])[0] for ask in asks]


def test_a_portion_that_is_alone_waits_for_nobody(parts: Parts, watched: Watched, tmp_path: Path) -> None:
    site, _ = site_file(1, tmp_path)
    consumers = runs_of(site, watched, StatePool(1, SERIES, watched.state_size))

    async def run() -> MicroBatches:
        with ThreadPoolExecutor(1) as executor:
            batches = MicroBatches(executor, 1)
            for batch in portions(parts[:5], consumers, ["uplink0"]):
                await batches.work(batch)
        return batches

    assert asyncio.run(run()).ledger.batches == 5


def test_what_the_model_raises_buries_the_messages_and_the_next_are_taken(
    parts: Parts, watched: Watched, tmp_path: Path
) -> None:
    site, _ = site_file(2, tmp_path)
    consumers = runs_of(site, watched, StatePool(2, SERIES, watched.state_size))
    first, second = list(portions(parts[:2], consumers, ["uplink0", "uplink1"]))
    first.to_steps()
    first.apply(RuntimeError("no model"))
    assert [outcome.refused for outcome in first.outcomes] == ["failed", "failed"]
    assert [each.topic for outcome in first.outcomes for each in outcome.outgoing] == ["dead-letters"] * 2
    second.apply([pipeline_predictions(step) for step in second.to_steps()])
    assert [outcome.link for outcome in second.outcomes] == ["uplink0", "uplink1"]


def test_series_that_begin_anew_within_a_call_begin_at_zero_and_the_newest_stays(watched: Watched) -> None:
    rng = np.random.default_rng(3)
    n, pool = 60, StatePool(2, 5, watched.state_size)
    together, alone = [pool.take(), pool.take()], [CarriedState(5, watched.state_size) for _ in range(2)]
    asks = [
        (
            rng.random((n, len(watched.channels)), np.float32),
            rng.random((n, watched.spectrum_size), np.float32),
            rng.integers(0, 5, n).astype(np.int32),
            (rng.random(n) < 0.2).astype(np.uint8),
        )
        for _ in range(2)
    ]
    unwatched = open_predictor(DEFAULT_ARTIFACT)
    found = predict_together(watched, [Ask(carried, *cells) for carried, cells in zip(together, asks, strict=True)])
    assert len(watched.calls) == 1
    for carried, cells, prediction in zip(alone, asks, found, strict=True):
        for row in range(n):  # row by row, in place, as the words of Predictor.predict say
            own: list[Any] = [array[row : row + 1] for array in cells]
            x, spectrum, series, fresh = own
            if fresh[0]:
                carried.state[series[0]] = 0
            one = unwatched.predict(x, spectrum, series, carried.state)
            np.testing.assert_array_equal(one.probabilities[0], prediction.probabilities[row])
            np.testing.assert_array_equal(one.quantiles_ms[0], prediction.quantiles_ms[row])
    for mine, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(mine.state, other.state)


def test_calls_are_bounded_and_states_of_several_pools_are_told_apart(watched: Watched) -> None:
    size = CALL_ROWS // 2 + 1

    def ask(carried: CarriedState) -> Ask:
        return Ask(
            carried,
            np.zeros((size, len(watched.channels)), np.float32),
            np.zeros((size, watched.spectrum_size), np.float32),
            np.zeros(size, np.int32),
            np.zeros(size, np.uint8),
        )

    pool = StatePool(1, 1, watched.state_size)
    held = pool.take()
    predict_together(watched, [ask(held), ask(held), ask(pool.take())])
    assert watched.calls == [size] * 3
    assert pool.take().pool is not pool.pool
    del held
    assert pool.take().pool is pool.pool
