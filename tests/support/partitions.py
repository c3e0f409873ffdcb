"""A worker's partition without a broker: messages in, and an outlet that keeps what comes out."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from offramp.capture.message.encode import FeatureHeaders, encode_batch, times_of
from offramp.decision.site import load_site
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_predictor
from offramp.stream.links.bundle_consumer import BundleConsumer
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.topics.records import OutgoingMessage
from offramp.stream.worker.checkpoint_reader import LoadedStates
from offramp.stream.worker.micro_batch import MicroBatches
from offramp.stream.worker.partition_processor import PartitionProcessor, WorkerLedger
from tests.support.places import SITE
from tests.support.workers import demo_batches

LINK = "uplink"


@dataclass
class Message:
    """A record as Faust hands it over."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Any
    partition: int = 0


class Outlet:
    """Keeps the messages; acknowledges them at once, or only when told."""

    def __init__(self, at_once: bool = True) -> None:
        self.at_once = at_once
        self.sent: list[OutgoingMessage] = []
        self.futures: list[asyncio.Future[None]] = []
        self.committed: list[int] = []

    async def post(self, message: OutgoingMessage) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self.sent.append(message)
        self.futures.append(future)
        if self.at_once:
            future.set_result(None)
        return future

    async def commit(self, partition: int, offset: int) -> bool:
        self.committed += [offset] if self.owner else []
        return self.owner

    owner = True

    async def rewind(self, partition: int, offset: int) -> None:
        raise AssertionError("nothing was missing")

    def waiting(self, partition: int, offset: int) -> bool:
        return False

    @property
    def topics(self) -> list[str]:
        return [message.topic for message in self.sent]


def demo_messages() -> list[Message]:
    """The demo's messages of 300 rows, as an agent of a live link sends them."""
    out: list[Message] = []
    for batch in (whole.slice(at, 300) for whole in demo_batches(300) for at in range(0, whole.num_rows, 300)):
        first, last = times_of(batch)
        hops = {"read": last + 1, "dissected": last + 2, "published": last + 3}
        headers = FeatureHeaders("lab", "tap", 1, len(out), batch.num_rows, first, last, hops=hops)
        out.append(Message(len(out), LINK.encode(), encode_batch(batch), headers.pairs()))
    return out


async def processor_of(
    outlet: Outlet, executor: ThreadPoolExecutor, states: dict[str, Any] | None = None
) -> PartitionProcessor:
    site, artifact, predictor = load_site(SITE), load_artifact(DEFAULT_ARTIFACT), open_predictor(DEFAULT_ARTIFACT)

    def make_run(link: str, sink: Any) -> BundleConsumer:
        return BundleConsumer.of(
            site, link, lambda name, meeting: Pipeline(site, name, predictor, artifact.normaliser, meeting, sink=sink)
        )

    async def load(_: int) -> LoadedStates:
        return LoadedStates(dict(states or {}), 0)

    return PartitionProcessor(
        0, "lab", {LINK: LINK}, make_run, load, outlet, MicroBatches(executor, 1), executor, WorkerLedger(),
        horizon_ms=500, checkpoint_s=3600,
    )  # fmt: skip


async def until(condition: Any) -> None:
    for _ in range(60_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come to pass")


async def reached(processor: PartitionProcessor, offset: int) -> None:
    """Wait until the partition processor has worked on all before an offset."""
    await until(lambda: processor._next == offset)
