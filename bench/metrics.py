"""What metrics cost a worker: the same messages with and without them; `python -m bench.metrics`.

The broker is left out, as its noise is larger than the cost: commands count as acknowledged at once. With metrics means
all that `--metrics` does, with a scrape over HTTP every second. CPU seconds of the whole process are measured.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offramp.capture.dissect.dissector import Dissector
from offramp.capture.message.encode import FeatureHeaders, encode_batch, times_of
from offramp.capture.sources.file.files import open_captures
from offramp.decision.site import load_site
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_predictor
from offramp.stream.links.bundle_consumer import BundleConsumer
from offramp.stream.links.link_consumer import LinkConsumer
from offramp.stream.metrics.registry import Metrics
from offramp.stream.metrics.server import serving
from offramp.stream.metrics.table import unobserved
from offramp.stream.metrics.timed_predictor import TimedPredictor
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.topics.records import OutgoingMessage
from offramp.stream.worker.checkpoint_reader import LoadedStates
from offramp.stream.worker.micro_batch import MicroBatches
from offramp.stream.worker.partition_meter import PartitionMeter
from offramp.stream.worker.partition_processor import PartitionProcessor, WorkerLedger

SAMPLES = Path(__file__).resolve().parents[1] / "samples"


@dataclass
class Message:
    """A message of the feature topic."""

    value: bytes | None
    headers: list[tuple[str, bytes]]
    offset: int
    key: bytes | None = b"uplink"
    partition: int = 0


class Nowhere:
    """Acknowledges everything at once."""

    async def post(self, *_: Any) -> asyncio.Future[Any]:
        """Return a future that is done."""
        future = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    async def commit(self, *_: Any) -> bool:
        """Return True."""
        return True

    async def rewind(self, *_: Any) -> None:
        """Do nothing."""

    def waiting(self, *_: Any) -> bool:
        """Return False."""
        return False


def messages_of(rows: int, repeats: int) -> list[Message]:
    """Return the demo as messages of so many rows each, so many times: a recording of its own each time."""
    dissector = Dissector("stream", site="lab", batch_rows=rows)
    parts = [
        batch for block in open_captures([str(SAMPLES / "demo.pcap.zst")]).read() for batch in dissector.dissect(block)
    ]
    values = [(encode_batch(part), part.num_rows, *times_of(part)) for part in parts]
    return [
        Message(
            value, FeatureHeaders("lab", "a", turn, number, count, first, last).pairs(), turn * len(values) + number
        )
        for turn in range(repeats)
        for number, (value, count, first, last) in enumerate(values)
    ]


async def turn(messages: list[Message], observe: Any, predictor: Any) -> None:
    """Take all messages through a partition processor of its own."""
    site, artifact = load_site(SAMPLES / "site.toml"), load_artifact(DEFAULT_ARTIFACT)

    def make_run(link: str, sink: Any) -> BundleConsumer:
        return BundleConsumer.of(
            site, link, lambda name, meeting: Pipeline(site, name, predictor, artifact.normaliser, meeting, sink=sink)
        )

    async def load(_: int) -> LoadedStates:
        return LoadedStates({}, 0)

    ledger = WorkerLedger()
    with ThreadPoolExecutor(2) as executor:
        processor = PartitionProcessor(
            0, site.name, {"uplink": "uplink"}, make_run, load, Nowhere(), MicroBatches(executor, 1), executor, ledger,
            horizon_ms=predictor.horizon_ms, meter=PartitionMeter(observe),
        )  # fmt: skip
        for message in messages:
            await processor.put(message)
        while processor.done <= messages[-1].offset:
            await asyncio.sleep(0.001)
        await processor.close()
    assert ledger.messages == len(messages)
    assert not ledger.refused


def scrape_each_second(url: str, over: threading.Event) -> None:
    """Ask for the metrics until it is over."""
    while not over.wait(1.0):
        urllib.request.urlopen(url, timeout=5).read()  # noqa: S310 - our own


def measured(messages: list[Message], watched: bool) -> float:
    """Return the CPU seconds of one turn."""
    predictor: Any = open_predictor(DEFAULT_ARTIFACT)
    with ExitStack() as stack:
        metrics = stack.enter_context(serving("127.0.0.1:0" if watched else "", "worker"))
        if metrics is not None:
            over = threading.Event()
            thread = threading.Thread(target=scrape_each_second, args=(metrics.url, over))
            thread.start()
            stack.callback(thread.join)
            stack.callback(over.set)
            predictor = TimedPredictor(predictor, metrics.observe)
        begun = time.process_time()
        asyncio.run(turn(messages, metrics.observe if metrics else unobserved, predictor))
        return time.process_time() - begun


def a_note_s(times: int = 20_000) -> float:
    """Return the CPU seconds of what is done for a message: its counts, its histograms, and those of a model call."""
    site, predictor, artifact = (
        load_site(SAMPLES / "site.toml"),
        open_predictor(DEFAULT_ARTIFACT),
        load_artifact(DEFAULT_ARTIFACT),
    )
    consumer = LinkConsumer("uplink", lambda name: Pipeline(site, name, predictor, artifact.normaliser))
    metrics = Metrics("worker")
    meter = PartitionMeter(metrics.observe)
    command, future = (
        OutgoingMessage("decisions", b"", b"", [], packet_ns=1),
        asyncio.Future[None](loop=asyncio.new_event_loop()),
    )
    future.set_result(None)
    begun = time.process_time()
    for _ in range(times):
        meter.worked(consumer, 1000, 0.0)
        meter.acknowledged(command, future)
        metrics.observe("offramp_model_seconds", 0.001)
        metrics.observe("offramp_model_rows", 100)
    return (time.process_time() - begun) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000, help="rows of a message")
    parser.add_argument("--repeats", type=int, default=20, help="how often the demo is taken in a turn")
    parser.add_argument("--turns", type=int, default=5, help="turns of each kind, one after the other")
    asked = parser.parse_args()
    messages = messages_of(asked.rows, asked.repeats)
    rows = sum(int(dict(message.headers)["rows"]) for message in messages)
    measured(messages[:20], True)
    times: dict[bool, list[float]] = {False: [], True: []}
    for number in range(2 * asked.turns):
        times[bool(number % 2)].append(measured(messages, bool(number % 2)))
    plain, watched = (statistics.median(times[kind]) for kind in (False, True))
    more = statistics.median(two - one for one, two in zip(times[False], times[True], strict=True))
    print(f"{rows:,} rows in {len(messages)} messages of {asked.rows}; medians of {asked.turns} turns")
    for name, seconds in (("without metrics", plain), ("with --metrics", watched)):
        print(f"  {name:<16} {seconds:7.3f} CPU seconds  {rows / seconds:>10,.0f} rows per CPU second")
    print(
        f"  a turn with them costs {more / plain:+.1%}, {1e6 * more / len(messages):+.0f} us a message, noise included"
    )
    note_us, message_us = 1e6 * a_note_s(), 1e6 * plain / len(messages)
    print(f"  a message's notes by themselves cost {note_us:.0f} us, where the message takes {message_us:,.0f} us")


if __name__ == "__main__":
    main()
