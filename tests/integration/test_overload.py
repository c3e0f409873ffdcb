"""Twice as much as a worker can take: memory bounded, what is shed counted and told, up to date again soon after."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from kafka import KafkaConsumer, TopicPartition

from bench.service import site_file
from offramp.capture.ledger import CaptureLedger
from offramp.capture.publish.publisher import Publisher
from offramp.kafka import KafkaSettings
from offramp.stream.worker.checkpoint_reader import load_states
from offramp.stream.worker.load_shedding import MAX_AGE_S, PATIENCE_S
from tests.integration.throttle import Watch, memory_of, throttled
from tests.support.workers import SOAK, WAIT_S, Decisions, WorkerProcess, demo_batches, workers

SHARE = 0.15
"""Of the machine, for the worker: what feeds it, and the broker, run beside it."""

ROWS = 300
OVERLOAD_S = 60.0 if SOAK else 9.0
RECOVERY_S = 5.0
LINK = "uplink0"


@dataclass
class Feeder:
    """Publishes a link's rows, live, as if captured just now, at a rate that may change."""

    out: Publisher
    parts: list[pa.RecordBatch]
    rows: int = 0
    messages: int = 0
    _last_ns: int = field(default_factory=time.time_ns)

    def send(self) -> None:
        part = self.parts[self.messages % len(self.parts)]
        now_ns = max(time.time_ns(), self._last_ns + part.num_rows)
        times = np.linspace(self._last_ns + 1, now_ns, part.num_rows).astype(np.int64)
        at = part.schema.get_field_index("frame.time_epoch")
        part = part.set_column(at, part.schema.field(at), pa.array(times).cast(part.schema.field(at).type))
        ledger = json.dumps(CaptureLedger(part.num_rows, part.num_rows).as_dict())
        self.out.publish(LINK, part.replace_schema_metadata({"ledger": ledger}))
        self._last_ns = now_ns
        self.rows += part.num_rows
        self.messages += 1

    def run(self, seconds: float, rate: float, forecasts: Forecasts) -> None:
        """Send `rate` messages a second, reading the forecasts meanwhile."""
        begin = time.monotonic()
        sent = 0
        while (now := time.monotonic() - begin) < seconds:
            while sent < rate * now:
                self.send()
                sent += 1
            forecasts.read()


class Forecasts(Decisions):
    """The forecasts as they come: when each message was written, and how old its newest bin was then."""

    def __init__(self, settings: KafkaSettings) -> None:
        super().__init__(settings, "forecasts")
        self.ages: list[tuple[float, float]] = []

    def read(self) -> None:
        for records in self.consumer.poll(20).values():
            for record in records:
                end_s = json.loads(record.value)["bins"][-1]["window_end"] / 1e9
                self.ages.append((record.timestamp / 1e3, record.timestamp / 1e3 - end_s))

    def between(self, start: float, end: float) -> list[float]:
        return [age for at, age in self.ages if start <= at < end]


def sustainable(feeder: Feeder, forecasts: Forecasts, done: Callable[[], int]) -> float:
    """Messages a second that the worker takes, measured while some wait all the time, and then let it catch up.

    done: gives the offset that it has committed.
    """
    window = 100
    marks: list[tuple[float, int]] = []
    while not marks or marks[-1][0] - marks[0][0] < 2.0:
        while feeder.messages - done() < window:
            feeder.send()
        if not marks or done() > marks[-1][1]:
            marks.append((time.monotonic(), done()))
            window = max(window, 2 * (marks[-1][1] - marks[0][1]) // len(marks))
        forecasts.read()
    rate = (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0])
    while forecasts.ages[-1][1] > 0.5:
        feeder.run(0.5, rate / 4, forecasts)
    return rate


def test_twice_what_a_worker_can_take(topics: KafkaSettings, tmp_path: Path) -> None:
    """The rate it can take is measured here, as it is another on every machine."""
    site, path = site_file(1, tmp_path)
    forecasts = Forecasts(topics)
    consumer = KafkaConsumer(**topics.client_arguments(), group_id=f"{topics.prefix}-{site.name}")
    place = TopicPartition(topics.topic("features"), 0)

    def done() -> int:
        return consumer.committed(place) or 0

    out = Publisher(topics, site=site.name, agent="tap", epoch=time.time_ns(), live=True)
    out.start()
    batch = next(batch for batch in demo_batches() if batch.num_rows > 10 * ROWS)
    feeder = Feeder(out, [batch.slice(at * ROWS, ROWS) for at in range(10)])
    with workers(WorkerProcess(topics, path, tmp_path / "w.log")) as running:
        worker = running[0]
        while not forecasts.ages:
            feeder.run(0.2, 20, forecasts)
        with throttled(worker.process.pid, SHARE):
            rate = sustainable(feeder, forecasts, done)
            before = memory_of(worker.process.pid)
            begin = time.time()
            with Watch(worker.process.pid) as watch:
                feeder.run(OVERLOAD_S, 2 * rate, forecasts)
                end = time.time()
                feeder.run(RECOVERY_S + 2, rate / 4, forecasts)
        assert out.close()
        until = time.monotonic() + WAIT_S
        while done() < feeder.messages and time.monotonic() < until:
            time.sleep(0.1)
        told = worker.stop()
    print(f"sustainable {rate:.0f} messages/s, resident {before >> 20} MB before, {watch.most >> 20} MB at most")
    print([(round(at - begin, 1), round(age, 2)) for at, age in forecasts.ages[:: max(1, len(forecasts.ages) // 60)]])
    print(told)
    assert max(forecasts.between(begin, end)) < MAX_AGE_S + PATIENCE_S + 2.0
    after = forecasts.between(end + RECOVERY_S, time.time())
    assert after
    assert max(after) < MAX_AGE_S
    assert watch.most < 1.15 * before
    ledger = load_states(
        topics, 0, site.name, frozenset(link.name for link in site.links), f"{topics.prefix}-{site.name}"
    )[0][LINK]
    link = ledger["links"][LINK]
    intake, quality = link["intake"], link["pipeline"]["quality"]
    assert intake["shed_rows"] > 0
    assert intake["rows"] + intake["shed_rows"] == feeder.rows == out.ledger.rows_acknowledged
    assert intake["messages"] + intake["shed"] == feeder.messages
    assert (intake["gaps"], intake["duplicates"], out.ledger.shed) == (0, 0, 0)
    assert {name: quality[name] for name in ("captured", "decoded", "shed", "dropped")} == {
        "captured": feeder.rows, "decoded": intake["rows"], "shed": intake["shed_rows"], "dropped": 0
    }  # fmt: skip
    assert "the oldest are shed" in told
    assert f"shed, too old     {intake['shed']:>12,}   with {intake['shed_rows']:,} rows" in told
    for each in (forecasts, consumer):
        each.close()
