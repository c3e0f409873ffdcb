"""Fuzz messages for a time: `python -m tests.fuzz.messages --seconds 60 [--seed N]`.

Mutated feature messages go through a real partition processor, with good ones of another link between them, and to
the refiner; mutated records of all topics to the follower and the controller's client. Nothing may end any of them,
every message is counted once, whatever leaves is of a size that brokers take, and the other link's commands are
those of a replay.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.service import site_file
from offramp.capture.message.encode import FeatureHeaders, encode_batch, times_of
from offramp.cli.follow import FollowOptions, _show
from offramp.decision.client import DecisionClient
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_predictor
from offramp.kafka import MAX_BODY, MAX_MESSAGE, KafkaSettings
from offramp.stream.links.bundle_consumer import BundleConsumer
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.refine.refiners import Refiners
from offramp.stream.refine.service import RefineService
from offramp.stream.topics.acl import READABLE
from offramp.stream.topics.records import OutgoingMessage
from offramp.stream.worker.checkpoint_reader import LoadedStates
from offramp.stream.worker.load_shedding import PATIENCE_S, Backlogs
from offramp.stream.worker.micro_batch import MicroBatches
from offramp.stream.worker.partition_processor import PartitionProcessor, WorkerLedger
from tests.fuzz.odd_values import ANY, JSONS, NUMBERS, TEXTS
from tests.support.workers import demo_batches, expected_of

Pairs = list[tuple[Any, Any]]
ATTACKED, CLEAN = "uplink0", "uplink1"


@dataclass
class Message:
    """A record as consumers give it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Any
    partition: int = 0
    topic: str = "features"
    timestamp: int = 1_700_000_000_000


class Mutator:
    """Makes records of others: the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def one(self, choices: Any) -> Any:
        """Return one of several."""
        return choices[int(self.rng.integers(len(choices)))]

    def header(self, value: Any) -> Any:
        """Return another value of a header, any kind or of the same."""
        if isinstance(value, bytes) and value and self.rng.random() < 0.25:
            flipped = bytearray(value)
            flipped[int(self.rng.integers(len(flipped)))] = int(self.rng.integers(256))
            return bytes(flipped)
        if isinstance(value, bytes) and value.isdigit() and self.rng.random() < 0.6:
            return self.one(NUMBERS)
        return self.one(ANY)

    def headers(self, pairs: Pairs) -> Any:
        """Return headers with some changed, left out, doubled, made up; sometimes none, or as a mapping."""
        out = list(pairs)
        for _ in range(int(self.rng.integers(1, 4))):
            at, kind = int(self.rng.integers(len(out))) if out else 0, self.rng.random()
            if not out or kind < 0.03:
                out.append(
                    (self.one(["", "x" * 1_000, "live", "end", "dead_reason", "hops", "\x1b[2J"]), self.one(ANY))
                )
            elif kind < 0.9:
                out[at] = (out[at][0], self.header(out[at][1]))
            elif kind < 0.95:
                del out[at]
            else:
                out.insert(0, (out[at][0], self.header(out[at][1])))
        return self.one([out, out, out, tuple(out), dict(out), None if self.rng.random() < 0.02 else out])

    def value(self, value: bytes | None) -> bytes | None:
        """Return another value: cut, flipped, none, of another kind."""
        if not value or self.rng.random() < 0.2:
            other: bytes | None = self.one([None, b"", b"{}", b"[]", b"null", b"\xff\xff\xff\xff" * 20, *JSONS])
            return other
        flipped = bytearray(value)
        for _ in range(int(self.rng.integers(1, 6))):
            flipped[int(self.rng.integers(len(flipped)))] = int(self.rng.integers(256))
        return bytes(flipped[: int(self.rng.integers(len(flipped)))] if self.rng.random() < 0.3 else flipped)

    def record(self, record: Message) -> Message:
        """Return a record with key, value or headers changed, mostly the headers."""
        life = str(int(self.rng.integers(1 << 40))).encode()  # else most were repeats
        pairs = [(name, life if name == "agent_epoch" else text) for name, text in record.headers]
        out = replace(record, headers=pairs)
        if self.rng.random() < 0.9:
            out = replace(out, headers=self.headers(pairs))
        if self.rng.random() < 0.1:
            out = replace(out, value=self.value(record.value))
        if self.rng.random() < 0.1:
            out = replace(out, key=self.one([None, *TEXTS, b"uplink2"]))
        return out

    def json(self, value: Any) -> Any:
        """Return a JSON value with some part of it of another kind."""
        if isinstance(value, dict) and value and self.rng.random() < 0.9:
            name = self.one(list(value))
            if self.rng.random() < 0.1:
                return {each: part for each, part in value.items() if each != name}
            return {**value, name: self.json(value[name])}
        if isinstance(value, list) and value and self.rng.random() < 0.7:
            at = int(self.rng.integers(len(value)))
            return [*value[:at], self.json(value[at]), *value[at + 1 :]]
        return self.one(
            [
                None,
                True,
                0,
                -1,
                1,
                10**300,
                1e308,
                float("inf"),
                float("nan"),
                "",
                "x" * 900,
                "\ud800",
                [],
                {},
                [[]],
                {"type": 1},
                "2023-11-14T22:13:20.99999999999999999999Z",
                "9999-12-31T23:59:59Z",
                "0000-00-00T00:00:00Z",
            ]
        )


def stock(size: int = 1_000) -> dict[str, list[Message]]:
    """The demo's messages of each link, of `size` rows, as an agent sends them, in order, the end behind them.

    Those of the attacked link once as of a recording and once as of a live link, and a clock's behind.
    """
    batches = [part.slice(at, size) for part in demo_batches() for at in range(0, part.num_rows, size)]
    values = [(batch.num_rows, times_of(batch), encode_batch(batch)) for batch in batches]

    def of(link: str, epoch: int, live: bool) -> list[Message]:
        own = [
            Message(0, link.encode(), value, FeatureHeaders("lab", "tap", epoch, at, rows, *times, live=live).pairs())
            for at, (rows, times, value) in enumerate(values)
        ]
        end = FeatureHeaders("lab", "tap", epoch, len(own), 0, end=True, live=live)
        return [*own, Message(0, link.encode(), b"", end.pairs())]

    clock = FeatureHeaders("lab", "tap", 3, 0, 0, clock_ns=values[-1][1][1] + 10**9, live=True)
    attacked = [*of(ATTACKED, 1, False), *of(ATTACKED, 2, True), Message(0, ATTACKED.encode(), b"", clock.pairs())]
    return {ATTACKED: attacked, CLEAN: of(CLEAN, 1, False)}


class Outlet:
    """Takes what a partition processor sends, and holds its size against what a broker takes."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.commands: dict[str, bytes] = {}

    async def post(self, message: OutgoingMessage) -> asyncio.Future[Any]:
        size = len(message.value) + len(message.key) + sum(len(name) + len(text) for name, text in message.headers)
        assert len(message.value) <= MAX_BODY and size < MAX_MESSAGE, (message.topic, size)  # noqa: PT018
        self.sent[message.topic] += 1
        if message.topic == "decisions" and CLEAN in message.key.decode():
            self.commands.setdefault(json.loads(message.value)["decision_id"], message.value)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    async def commit(self, partition: int, offset: int) -> bool:
        return True

    async def rewind(self, partition: int, offset: int) -> None:
        raise AssertionError("nothing was missing")

    def waiting(self, partition: int, offset: int) -> bool:
        return offset % 2 == 0


def interleaved(mutator: Mutator, kept: dict[str, list[Message]], more: Callable[[], bool]) -> Iterator[Message]:
    """Yield mutated messages of one link, for as long as `more` says, and the good ones of the other between them."""
    clean, number = iter(kept[CLEAN]), 0
    while more():
        yield replace(mutator.record(mutator.one(kept[ATTACKED])), offset=number)
        number += 1
        if number % 20 == 0 and (each := next(clean, None)) is not None:
            yield replace(each, offset=number)
            number += 1
    for each in clean:
        yield replace(each, offset=number)
        number += 1


async def through_processor(
    mutator: Mutator, kept: dict[str, list[Message]], more: Callable[[], bool], folder: Path
) -> str:
    """Let a partition processor take messages; return what it did. Raises what ended it."""
    site, _ = site_file(2, folder)
    artifact, predictor, outlet = load_artifact(DEFAULT_ARTIFACT), open_predictor(DEFAULT_ARTIFACT), Outlet()

    def make_run(link: str, sink: Any) -> BundleConsumer:
        return BundleConsumer.of(
            site, link, lambda name, meeting: Pipeline(site, name, predictor, artifact.normaliser, meeting, sink=sink)
        )

    async def load(_: int) -> LoadedStates:
        return LoadedStates({}, 0)

    ledger, links, count = WorkerLedger(), {ATTACKED: ATTACKED, CLEAN: CLEAN}, 0
    with ThreadPoolExecutor(1) as executor:
        processor = PartitionProcessor(
            0, site.name, links, make_run, load, outlet, MicroBatches(executor, 1), executor, ledger,
            horizon_ms=500, checkpoint_s=0.5,
        )  # fmt: skip
        processor._backlogs = Backlogs(
            site.name, frozenset(links), 0.001, grace_s=-PATIENCE_S
        )  # what is live is shed at once
        for message in interleaved(mutator, kept, more):
            await processor.put(message)
            count += 1
        while not (processor.idle and processor.done == count):
            await asyncio.sleep(0.01)
            assert not processor._task.done(), processor._task
        await processor.close()
        processor._task.result()
    assert ledger.messages == count, (ledger.messages, count)
    assert list(outlet.commands.values()) == list(expected_of(site)[CLEAN])
    return f"{count:,} messages, refused {dict(ledger.refused)}, shed {ledger.shed}, sent {dict(outlet.sent)}"


def through_refiner(mutator: Mutator, kept: dict[str, list[Message]], more: Callable[[], bool], folder: Path) -> str:
    """Let a refiner take messages, and models; return what it did."""
    site, _ = site_file(2, folder)
    artifact = load_artifact(DEFAULT_ARTIFACT)
    refiners = Refiners(artifact, folder / "refine", site.name, wait=True, trainer=NoTrainer())
    service = RefineService(site, artifact, DEFAULT_ARTIFACT, refiners, NoPublisher(), {})  # type: ignore[arg-type]
    count = 0
    while more():
        service.take(replace(mutator.record(mutator.one(kept[ATTACKED])), offset=count))
        service.note(replace(mutator.record(mutator.one(kept[ATTACKED])), offset=count, topic="models"))
        count += 1
    assert service.counts["taken"] + service.counts["refused"] + service.counts["of other sites or links"] >= count
    return f"{count:,} messages, {dict(service.counts)}"


class NoTrainer:
    """Trains nothing."""

    def close(self) -> None:
        """End."""


class NoPublisher:
    """Publishes nothing."""


def through_readers(
    mutator: Mutator, commands: list[bytes], kept: dict[str, list[Message]], more: Callable[[], bool]
) -> str:
    """Let the follower show records of all topics, and the client take commands; return how many."""
    client = DecisionClient(KafkaSettings(("127.0.0.1:9",)), controller="fuzz", clock=lambda: 0)
    count = 0
    while more():
        record = mutator.record(mutator.one(kept[ATTACKED]))
        if mutator.rng.random() < 0.7:
            body = mutator.json(json.loads(mutator.one(commands)))
            record = replace(record, value=json.dumps(body).encode(errors="surrogatepass"))
        for topic in READABLE:
            for form in ("jsonl", "pretty"):
                _show(replace(record, topic=topic), FollowOptions(topic=topic, form=form))
        client._accepted(record)
        count += 1
    assert client.counts["given"] < count
    return f"{count:,} records, client {dict(client.counts)}"


def run(seed: int, more: Callable[[], Callable[[], bool]]) -> Iterator[str]:
    """Run all three; `more` is asked for a condition for each."""
    kept, mutator = stock(), Mutator(seed)
    logged = io.StringIO()
    handler = logging.StreamHandler(logged)
    logging.getLogger("offramp.worker").addHandler(handler)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        site, _ = site_file(2, folder)
        commands = list(expected_of(site)[CLEAN])
        with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()) as shown:
            told = [
                "partition: " + asyncio.run(through_processor(mutator, kept, more(), folder)),
                "refiner: " + through_refiner(mutator, kept, more(), folder),
                "readers: " + through_readers(mutator, commands, kept, more()),
            ]
    logging.getLogger("offramp.worker").removeHandler(handler)
    assert "Traceback" not in logged.getvalue() + errors.getvalue(), logged.getvalue()[-2_000:]
    assert shown.getvalue()
    yield from told


def times(count: int) -> Callable[[], bool]:
    """Return a condition that holds so many times."""
    left = iter(range(count))
    return lambda: next(left, None) is not None


def main() -> int:
    """Fuzz until the time is over; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="number of the first round")
    options = parser.parse_args()
    end, seed = time.monotonic() + options.seconds, options.seed
    while time.monotonic() < end:
        try:
            told = list(run(seed, lambda: times(5_000)))
        except BaseException:
            print(
                f"round {seed} failed; again: python -m tests.fuzz.messages --seed {seed} --seconds 1", file=sys.stderr
            )
            raise
        print(f"round {seed}", *told, sep="\n  ", flush=True)
        seed += 1
    print("nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
