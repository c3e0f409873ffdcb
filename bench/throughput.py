"""`python -m bench.throughput`: packets per second through the service, and what each stage costs.

A broker of its own, topics of 8 partitions, a capture played on 64 links and published first, workers as processes:
the clock runs from the first forecasts to the last, the broker on the same cores. The stages' processor time comes from
/proc, the bytes from the topics' logs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.capture_file import bench_capture
from bench.measure import Result, cpu_seconds
from bench.report import exit_code_of, save
from bench.service import (
    AGENT,
    peak_megabytes,
    process_seconds,
    publish_links,
    site_file,
    topic_bytes,
    worker_processes,
)
from deploy.kafka.broker import Broker
from offramp.decision.client import DecisionClient
from offramp.errors import OfframpError
from offramp.kafka import KafkaSettings
from offramp.stream.topics.table import create_topics

LINKS, PARTITIONS = 64, 8
PACKETS = 2_000_000
MILLION = 1_000_000
WAIT_S = 120.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Load:
    """What the links carry: `factor` times the pace of the capture; rows: of a message at most."""

    name: str
    factor: int
    rows: int = 8_192


@dataclass(frozen=True, slots=True)
class Case:
    """One run: a load, so many workers, on the cores named (all without)."""

    load: Load
    workers: int
    cores: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """What the table calls it."""
        where = "" if self.cores is None else f" on core {','.join(map(str, self.cores))}"
        return f"{self.workers} worker{'s' if self.workers > 1 else ''}{where}, {self.load.name}"


NATURAL, BUSY, LIVE = Load("natural pace", 1), Load("20 x as busy", 20), Load("20 x as busy, live", 20, 300)
CASES = (
    Case(NATURAL, 1), Case(BUSY, 1), Case(LIVE, 1), Case(NATURAL, 2), Case(NATURAL, 1, (0,)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measured:
    """A case's result. Seconds of the processor and bytes by stage, for `packets` packets each."""

    case: Case
    packets: int
    seconds: float
    worker_packets: int
    cpu_s: dict[str, float]
    bytes: dict[str, int]
    commands: int
    peak_mb: float

    @property
    def results(self) -> list[Result]:
        """Rows for the JSON file."""
        both = self.cpu_s["worker"] + self.cpu_s["broker, out"]
        run = Result(self.case.name, self.worker_packets, self.seconds, both)
        stages = (
            Result(f"{self.case.name}: {stage}", self.packets, self.seconds, cpu) for stage, cpu in self.cpu_s.items()
        )
        return [run, *stages]


def measure(broker: Broker, case: Case, number: int, capture: Path, folder: Path) -> Measured:
    """Publish, then let the workers of a case run through what is there."""
    settings = KafkaSettings((broker.address,), prefix=f"b{number}")
    with contextlib.redirect_stderr(io.StringIO()):
        create_topics(settings, PARTITIONS, 1)
    site, path = site_file(LINKS, folder)
    began = process_seconds(broker.pid)
    sent = publish_links(settings, site, capture, case.load.factor, case.load.rows)
    cpu = {"agent": sent.cpu_s, "broker, in": process_seconds(broker.pid) - began}
    with worker_processes(settings, path, case.workers, folder, cores=case.cores) as pids:
        span = _watch(settings, [*pids, broker.pid])
        peak = max(map(peak_megabytes, pids))
    share = span.share
    cpu |= {"worker": sum(span.cpu_s[:-1]) / share, "broker, out": span.cpu_s[-1] / share}
    commands, cpu["client"] = _client(settings)
    sizes = {name: topic_bytes(broker, settings, name) for name in ("forecasts", "decisions", "state")}
    sizes["features"] = sent.bytes
    return Measured(case, sent.packets, span.seconds, int(sent.packets * share), cpu, sizes, commands, peak)


@dataclass(slots=True)
class Span:
    """From the first forecasts seen to the last: seconds, share of the messages in it, processor seconds by process."""

    seconds: float
    share: float
    cpu_s: list[float]


def _watch(settings: KafkaSettings, pids: Sequence[int]) -> Span:
    """Wait until the workers have committed all; return the span in which they worked."""
    from kafka import KafkaConsumer, TopicPartition

    group = KafkaConsumer(**settings.client_arguments(), group_id=f"{settings.prefix}-lab", enable_auto_commit=False)
    try:
        features = [TopicPartition(settings.topic("features"), number) for number in range(PARTITIONS)]
        partitions = [TopicPartition(settings.topic("forecasts"), number) for number in range(PARTITIONS)]
        whole = sum(group.end_offsets(features).values())
        (begin, first, cpu_begin), (end, last, cpu_end) = _marks(
            lambda: sum(group.end_offsets(partitions).values()), pids, lambda: _committed(group, features) >= whole
        )
    finally:
        group.close()
    used = [b - a for a, b in zip(cpu_begin, cpu_end, strict=True)]
    return Span(end - begin, (last - first) / last, used)


Mark = tuple[float, int, list[float]]


def _marks(count: Callable[[], int], pids: Sequence[int], done: Callable[[], bool]) -> tuple[Mark, Mark]:
    """Return time, count and processor seconds when the count was first seen above 0, and when it last changed."""
    marks: list[Mark] = []
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = count()
        if found and (not marks or found != marks[-1][1]):
            marks.append((time.monotonic(), found, [process_seconds(pid) for pid in pids]))
        elif found and done():
            return marks[0], marks[-1]
        time.sleep(POLL_S)
    raise OfframpError(f"bench: the workers were not through after {WAIT_S:.0f} s")


def _committed(group: Any, places: Sequence[object]) -> int:
    """Return how many messages the group has committed."""
    return sum(group.committed(place) or 0 for place in places)


def _client(settings: KafkaSettings) -> tuple[int, float]:
    """Take all commands as a controller would, those of past times too; return how many and the processor time."""
    before = cpu_seconds()
    with DecisionClient(settings, controller=AGENT, start="beginning", clock=lambda: 0, idle_s=0.5) as client:
        count = sum(1 for _ in client)
    return count, cpu_seconds() - before


HEAD = (
    f"{'run':<32} {'packets/s':>10} {'worker CPU s':>13} {'broker CPU s':>13} {'packets/CPU s':>14} {'peak MB':>8}\n"
    f"{'':<32} {'wall':>10} {'per M packets':>13} {'per M packets':>13} {'worker+broker':>14}"
)


def line(found: Measured) -> str:
    """Return a run as a line of the first table."""
    million = found.packets / MILLION
    worker, broker = found.cpu_s["worker"] / million, found.cpu_s["broker, out"] / million
    return (
        f"{found.case.name:<32} {found.worker_packets / found.seconds:>10,.0f} {worker:>13.2f} {broker:>13.2f} "
        f"{MILLION / (worker + broker):>14,.0f} {found.peak_mb:>8.0f}"
    )


def costs(found: Measured) -> list[str]:
    """Return what each stage costs, as lines of the second table."""
    million = found.packets / MILLION
    sent = {"agent": ("features",), "worker": ("forecasts", "decisions", "state")}
    names = {"agent": "agent: dissect, encode, send", "broker, in": "broker, taking features", "worker": "worker",
             "broker, out": "broker, while the worker reads", "client": "client: all commands"}  # fmt: skip
    lines = [f"per million packets, {found.case.name}", f"{'stage':<32} {'CPU s':>8}  bytes sent"]
    for stage, name in names.items():
        rates = ", ".join(f"{found.bytes[topic] / million:,.0f} {topic}" for topic in sent.get(stage, ()))
        lines.append(f"{name:<32} {found.cpu_s[stage] / million:>8.3f}  {rates}".rstrip())
    return lines


def run(asked: argparse.Namespace) -> None:
    """Print the tables as they come."""
    capture = bench_capture(asked.packets // LINKS)
    cases = [case for case in CASES if not asked.only or asked.only in case.name]
    print(f"{LINKS} links, {PARTITIONS} partitions, {asked.packets:,} packets a run\n{HEAD}", flush=True)
    found = []
    with tempfile.TemporaryDirectory(prefix="offramp-bench-") as folder, Broker() as broker:
        for number, case in enumerate(cases):
            found.append(measure(broker, case, number, capture, Path(folder)))
            print(line(found[-1]), flush=True)
    for each in found:
        if each.case.workers == 1 and each.case.cores is None:
            print("\n" + "\n".join(costs(each)))
    if asked.json:
        save(asked.json, capture, list(_results(found)))


def _results(found: Sequence[Measured]) -> Iterator[Result]:
    for each in found:
        yield from each.results


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m bench.throughput", description="Packets per second on Kafka.")
    parser.add_argument("--packets", type=int, default=PACKETS, help="packets of a run (default %(default)s)")
    parser.add_argument("--only", default="", help="run only the cases whose name has this text")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    return exit_code_of(lambda: run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
