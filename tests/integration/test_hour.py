"""An hour of a link, as fast as it goes, through agent, broker and worker: neither of the two grows.

Conversations of many protocols, whole and broken, come again and again with other addresses, so that devices, flows,
streams and heavy hitters are new all the time; a second link has an agent that is started over all the time. A scan
comes first, that fills the tables of flows and of messages begun to their bounds.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from kafka import KafkaConsumer, TopicPartition
from scapy.layers.inet import IP, TCP, UDP

from bench.capture_file import FILE_HEADER, HEADER, SAMPLES, Stock, load_stock, shifted
from bench.service import site_file
from offramp.capture.dissect.dissector import MAX_FLOWS
from offramp.capture.publish.publisher import Publisher
from offramp.kafka import KafkaSettings
from offramp.stream.worker.checkpoint_reader import load_states
from tests.integration.throttle import Watch
from tests.support.conversations import write_capture
from tests.support.places import ROOT
from tests.support.random_traffic import random_conversation
from tests.support.workers import (
    SOAK,
    WAIT_S,
    WorkerProcess,
    demo_batches,
    workers,
)

SPAN_S = 60
"""Event time of one repetition of the stock."""

HOUR_S = 3_600 if SOAK else 360
WARM_S = 900 if SOAK else 120
"""Event time after which memory must not grow: until then queues, caches and tables fill."""

FLAT = 1.05 if SOAK else 1.10
NEAR = 100
"""Messages that the worker may be behind when more is fed."""

SCANNED = MAX_FLOWS + 20_000
BASE_NS = 1_700_000_000_000_000_000


def stock_of(folder: Path) -> Stock:
    """The demo's packets, and random conversations, whole and broken, of several protocols, within SPAN_S."""
    random = Random(11)
    made = (random_conversation(random, 20_000 + each, 1.0 + random.random() * 8) for each in range(300))
    mixed = write_capture(folder / "mixed.pcap", made)
    stock = load_stock([SAMPLES / "demo.pcap.zst", mixed])
    squeezed = (stock.time_ns / stock.time_ns[-1] * (SPAN_S - 1) * 1e9).astype(np.int64)
    return Stock(stock.body, stock.start, squeezed, stock.header, stock.ipv4)


def scan(base_ns: int) -> bytes:
    """Records of SCANNED packets within a second, each a flow of its own: probes, and requests that are never ended."""
    request = b"GET / HTTP/1.1\r\nHost: "
    probe = IP(dst="10.0.0.1") / UDP(dport=53) / bytes(len(request) + 12)
    frames = [np.frombuffer(bytes(each), np.uint8) for each in (probe, IP(dst="10.0.0.1") / TCP(flags="PA") / request)]
    records = np.zeros((SCANNED, HEADER.itemsize + 14 + len(frames[0])), np.uint8)
    header = np.zeros(SCANNED, HEADER)
    numbers = np.arange(SCANNED)
    header["s"], header["fraction"] = np.divmod(base_ns + numbers * (10**9 // SCANNED), 10**9)
    header["caplen"] = header["length"] = 14 + len(frames[0])
    records[:, : HEADER.itemsize] = header.view(np.uint8).reshape(SCANNED, -1)
    packet = records[:, HEADER.itemsize :]
    packet[:, 12:14] = (8, 0)
    for kind, frame in enumerate(frames):
        packet[kind::2, 14:] = frame
    packet[:, 26:30] = (10 << 24 | 200 << 16 | numbers >> 8).astype(">u4").view(np.uint8).reshape(-1, 4)
    packet[:, 34:36] = (1_024 + numbers % 50_000).astype(">u2").view(np.uint8).reshape(-1, 2)
    return records.tobytes()


def captured(stock: Stock) -> Iterator[bytes]:
    """The bytes of a capture of HOUR_S, in parts of SPAN_S."""
    yield FILE_HEADER + scan(BASE_NS - 2_000_000_000)
    for repetition in range(HOUR_S // SPAN_S):
        yield shifted(stock, repetition, BASE_NS + repetition * SPAN_S * 1_000_000_000).tobytes()


def restarts(settings: KafkaSettings, site: str, over: threading.Event) -> int:
    """Publish to the second link with one epoch after the other, some ended and some not, until told to stop."""
    part = demo_batches(500)[0].slice(0, 200)
    epoch = 0
    while not over.wait(0.05):
        epoch += 1
        out = Publisher(settings, site=site, agent=f"walker-{epoch % 7}", epoch=epoch)
        out.start()
        out.publish("uplink1", part)
        if epoch % 2:
            out.end("uplink1")
        out.close()
    return epoch


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def growth(watch: Watch, warm: float) -> float:
    """The largest sample after the warm-up, to what was usual just then."""
    sizes = [size for at, size in watch.samples if at > warm]
    return max(sizes) / statistics.median(sizes[: max(5, len(sizes) // 10)])


@pytest.mark.long  # its whole length is in `make soak`
def test_an_hour_leaves_memory_as_it_was(topics: KafkaSettings, tmp_path: Path) -> None:
    site, path = site_file(2, tmp_path)
    path.write_text(path.read_text().replace("10.13.0.0/24", "10.0.0.0/8"))
    stock = stock_of(tmp_path)
    config = tmp_path / "agent.toml"
    config.write_text(f'prefix = "{topics.prefix}"\n')
    command = [sys.executable, "-m", "offramp", "publish", "-", "--site", str(path), "--agent", "tap",
               "--link", "uplink0", "--kafka", topics.shown, "--kafka-config", str(config)]  # fmt: skip
    consumer = KafkaConsumer(**topics.client_arguments(), group_id=f"{topics.prefix}-{site.name}")
    place = TopicPartition(topics.topic("features"), 0)

    def lag() -> int:
        return int(consumer.end_offsets([place])[place] - (consumer.committed(place) or 0))

    over, warm = threading.Event(), 0.0
    walker = threading.Thread(target=restarts, args=(topics, site.name, over))
    with workers(WorkerProcess(topics, path, tmp_path / "w.log")) as running, (tmp_path / "a.log").open("wb") as log:
        agent = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, cwd=ROOT)
        walker.start()
        assert agent.stdin is not None
        with Watch(running[0].process.pid) as worker_memory:
            with Watch(agent.pid) as agent_memory:
                for number, part in enumerate(captured(stock)):
                    agent.stdin.write(part)
                    wait_for(lambda: lag() < NEAR)
                    if number * SPAN_S <= WARM_S:
                        warm = time.monotonic()
            agent.stdin.close()
            code = agent.wait(WAIT_S)
            over.set()
            walker.join()
            wait_for(lambda: lag() == 0)
        told = running[0].stop()
    consumer.close()
    print((tmp_path / "a.log").read_text(), told)
    for name, watch in (("worker", worker_memory), ("agent", agent_memory)):
        sizes = [size >> 20 for _, size in watch.samples]
        print(name, f"{growth(watch, warm):.3f}", sizes[:: max(1, len(sizes) // 40)])
    assert code == 0
    states, _, _ = load_states(
        topics, 0, site.name, frozenset(link.name for link in site.links), f"{topics.prefix}-{site.name}"
    )
    rows = SCANNED + len(stock.start) * (HOUR_S // SPAN_S)
    assert states["uplink0"]["links"]["uplink0"]["intake"]["rows"] == rows
    assert states["uplink1"]["links"]["uplink1"]["intake"]["restarts"] > 5
    assert growth(worker_memory, warm) < FLAT
    assert growth(agent_memory, warm) < FLAT
