"""`python -m bench.capacity`: what a link costs a worker, measured in process, and what a site of such links needs.

Four prices make a worker's load: of a message, a packet, a forecast and a checkpoint. Kafka's part of a message is not
in them; docs/capacity.md takes it from `python -m bench.throughput`.
"""

from __future__ import annotations

import argparse
import gc
import math
import sys
import tempfile
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.busier import Busier
from bench.capture_file import bench_capture
from bench.service import AGENT, site_file
from offramp.capture.dissect.dissector import Dissector
from offramp.capture.message.encode import FeatureHeaders, encode_batch, times_of
from offramp.capture.sources.file.files import open_captures
from offramp.decision.site import Site
from offramp.errors import OfframpError
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_predictor
from offramp.stream.bins.state import SERIES
from offramp.stream.links.bundle_consumer import BundleConsumer
from offramp.stream.links.link_consumers import LinkConsumers
from offramp.stream.pipeline.carried_state import StatePool
from offramp.stream.pipeline.meeting import Meeting, Sink
from offramp.stream.pipeline.pipeline import Pipeline, predictions_of
from offramp.stream.worker.checkpoint import encode_checkpoint
from offramp.stream.worker.message_batch import MessageBatch

LINKS = 200
PACKETS = 60_000


@dataclass(slots=True)
class Message:
    """A message of the feature topic, as Faust hands it over."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Any


@dataclass(frozen=True, slots=True)
class Prices:
    """us of one core for a message, a packet, a forecast, a checkpoint; its bytes; kB of memory of a link."""

    message_us: float
    packet_us: float
    forecast_us: float
    checkpoint_us: float
    checkpoint_bytes: float
    link_kb: float


def batches_of(capture: Path, factor: int, rows: int) -> list[pa.RecordBatch]:
    """Return the capture's feature batches, `factor` times as fast."""
    dissector = Dissector("stream", site="lab", agent=AGENT, batch_rows=rows)
    return [
        batch for block in Busier(open_captures([str(capture)]), factor).read() for batch in dissector.dissect(block)
    ]


def messages_of(batches: list[pa.RecordBatch], link: str, rows: int) -> list[Message]:
    """Return batches as messages of a link of at most so many rows."""
    parts = [batch.slice(at, rows) for batch in batches for at in range(0, batch.num_rows, rows)]
    out = []
    for number, part in enumerate(parts):
        headers = FeatureHeaders("lab", AGENT, 1, number, part.num_rows, *times_of(part))
        out.append(Message(0, number, link.encode(), encode_batch(part), headers.pairs()))
    return out


class Links:
    """The links of one partition of a worker, without Kafka."""

    def __init__(self, site: Site) -> None:
        artifact, predictor = load_artifact(DEFAULT_ARTIFACT), open_predictor(DEFAULT_ARTIFACT)
        pool = StatePool(len(site.links), SERIES, predictor.state_size)

        def make_run(link: str, sink: Sink) -> BundleConsumer:
            carried = pool.take()

            def make(name: str, meeting: Meeting) -> Pipeline:
                return Pipeline(site, name, predictor, artifact.normaliser, meeting, sink=sink, carried=carried)

            return BundleConsumer.of(site, link, make)

        self.names = [link.name for link in site.links]
        self.runs = LinkConsumers({name: name for name in self.names}, make_run)

    def work(self, messages: list[Message]) -> float:
        """Work on messages, one batch each; return the processor seconds."""
        before = time.thread_time()
        for message in messages:
            batch = MessageBatch([message], self.runs, "lab", horizon_ms=500)
            while not batch.done:
                steps = batch.to_steps()
                batch.apply(predictions_of(steps) if steps else [])
        return time.thread_time() - before


def prices(folder: Path) -> Prices:
    """Measure: three loads give three prices; many links of light traffic give memory and checkpoints."""
    capture = bench_capture(PACKETS)
    site, _ = site_file(1, folder)
    name, amounts, seconds = site.links[0].name, [], []
    for factor, rows in ((1, 8_192), (20, 8_192), (20, 100)):
        batches = batches_of(capture, factor, 8_192)
        messages = messages_of(batches, name, rows)
        best = math.inf
        for _ in range(3):
            links = Links(site)
            best = min(best, links.work(messages))
        forecasts = links.runs.consumers[name].pipeline.ledger.forecasts
        amounts.append([len(messages), PACKETS, forecasts])
        seconds.append(best)
    message, packet, forecast = (np.linalg.solve(np.array(amounts, float), np.array(seconds)) * 1e6).tolist()
    return Prices(message, packet, forecast, *_per_link(capture, folder))


def _per_link(capture: Path, folder: Path) -> tuple[float, float, float]:
    """Return us and bytes of a checkpoint, and kB of a link, of LINKS links that each had messages of 20 rows."""
    site, _ = site_file(LINKS, folder)
    batch = batches_of(capture, 20, 8_192)[0].slice(0, 2_000)
    loaded = Links(site_file(1, folder)[0])  # model and kernels are there once, however many links
    loaded.work(messages_of([batch], loaded.names[0], 20))
    gc.collect()
    tracemalloc.start()
    links = Links(site)
    for name in links.names:
        links.work(messages_of([batch], name, 20))
    gc.collect()
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    began = time.thread_time()
    sizes = [len(encode_checkpoint(consumer.state())) for consumer in links.runs.consumers.values()]
    return (time.thread_time() - began) / LINKS * 1e6, sum(sizes) / LINKS, memory / LINKS / 1e3


def forecast_us(batch: int) -> float:
    """Return us of a forecast where each call of the model has so many rows, each of a series of its own."""
    predictor = open_predictor(DEFAULT_ARTIFACT)
    x, spectrum = (np.zeros((batch, size), np.float32) for size in (len(predictor.channels), predictor.spectrum_size))
    series, state = np.arange(batch, dtype=np.int32), np.zeros((batch, predictor.state_size), np.float32)
    calls, best = 4_096 // batch, math.inf
    for _ in range(5):
        began = time.thread_time()
        for _ in range(calls):
            predictor.predict(x, spectrum, series, state)
        best = min(best, time.thread_time() - began)
    return best / calls / batch * 1e6


@dataclass(frozen=True, slots=True)
class SiteLoad:
    """What a site has: links; packets, messages and forecasts of each a second; seconds between checkpoints."""

    links: int
    packets: float
    messages: float
    forecasts: float
    checkpoint_s: float


def need(site: SiteLoad, price: Prices, kafka_us: float) -> list[str]:
    """Return, line by line, what the site needs of workers, with the arithmetic."""
    lines = [
        f"{site.links:,} links, {site.packets:,.0f} packets, {site.messages:g} messages, "
        f"{site.forecasts:g} forecasts of each a second, a checkpoint every {site.checkpoint_s:g} s"
    ]
    parts = (
        ("messages", site.messages, price.message_us + kafka_us),
        ("packets", site.packets, price.packet_us),
        ("forecasts", site.forecasts, price.forecast_us),
        ("checkpoints", 1 / site.checkpoint_s, price.checkpoint_us + kafka_us),
    )
    total = 0.0
    for name, rate, cost in parts:
        cores = site.links * rate * cost / 1e6
        total += cores
        lines.append(f"  {name:<12} {site.links * rate:>14,.0f} /s x {cost:>8.2f} us = {cores:>9.2f} cores")
    lines.append(f"  {'together':<12} {'':>14}    {'':>11}   {total:>9.2f} cores; at 60 % full {total / 0.6:,.1f}")
    lines.append(f"  state in memory {site.links * price.link_kb / 1e6:,.2f} GB, checkpoints kept "
                f"{site.links * price.checkpoint_bytes / 1e9:,.2f} GB, written "
                f"{site.links / site.checkpoint_s * price.checkpoint_bytes / 1e6:,.1f} MB/s")  # fmt: skip
    return lines


def main() -> int:
    """Measure, and print prices and needs; errors are one line."""
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description="What a site needs of workers.")
    parser.add_argument("--links", type=int, default=1_000, help="links of the site (default %(default)s)")
    parser.add_argument("--packets", type=float, default=1_000, help="packets a second of a link (%(default)s)")
    parser.add_argument("--messages", type=float, default=10, help="messages a second of a link (%(default)s)")
    parser.add_argument("--forecasts", type=float, default=100, help="forecasts a second of a link (%(default)s)")
    parser.add_argument("--checkpoint", type=float, default=5, help="seconds between checkpoints (%(default)s)")
    parser.add_argument("--kafka-us", type=float, default=0, help="us of Kafka's clients for a message (%(default)s)")
    asked = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="offramp-bench-") as folder:
            found = prices(Path(folder))
    except OfframpError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    print(
        f"a message {found.message_us:.0f} us, a packet {found.packet_us:.3f} us, "
        f"a forecast {found.forecast_us:.2f} us, a checkpoint {found.checkpoint_us:.0f} us and "
        f"{found.checkpoint_bytes:,.0f} bytes, a link {found.link_kb:,.0f} kB of memory"
    )
    sizes = ", ".join(f"{forecast_us(batch):.1f} us among {batch}" for batch in (1, 8, 64, 512))
    print(f"the model alone, a forecast: {sizes}")
    load = SiteLoad(asked.links, asked.packets, asked.messages, asked.forecasts, asked.checkpoint)
    print("\n".join(need(load, found, asked.kafka_us)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
