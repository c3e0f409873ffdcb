"""`python -m bench.latency`: from a packet's capture time to the command in a controller's hands, through Kafka.

In a network namespace: a broker, `offramp worker`, `offramp publish --interface` on a veth, a controller's client, each
a process, and a bounded sender on the same processors. The load swings around the link's capacity and moves expire
soon, so that commands keep coming. Latency counts from the last packet of the bin that a command rests on.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.latency_table import Features, features_of, hops_in_ms, records_of, table
from bench.namespace import Namespace, NotAllowedError
from bench.service import TICKS, process_seconds
from deploy.kafka.broker import Broker
from offramp.decision.site import load_site
from offramp.errors import OfframpError
from offramp.kafka import KafkaSettings
from offramp.stream.topics.table import TOPICS

ROOT = Path(__file__).resolve().parents[1]
SITE = Path(__file__).with_name("latency.toml")
FLOWS = 16
SIZES = (100, 260)
"""Bytes of the frames that are sent in turn: 0.5 and 1.3 of the capacity of bench/latency.toml at 50,000 a second."""

WARM_S = 4.0
IDLE_S = 6.0
READY_S = 200.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run: commands as the client got them, what the topics hold, and the use of the processors."""

    commands: list[tuple[str, int, str, Mapping[str, int]]]
    counts: Mapping[str, int]
    features: Features
    told_ns: Mapping[str, int]
    sent: int
    seconds: float
    shares: Mapping[str, float]


def create_topics(settings: KafkaSettings) -> None:
    """Make the topics with the broker's own time in each message, to see when it was logged."""
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(**settings.client_arguments())
    try:
        own = {"message.timestamp.type": "LogAppendTime"}
        made = {"num_partitions": 1, "replication_factor": 1}
        wanted = {settings.topic(each.name): {**made, "configs": {**each.settings, **own}} for each in TOPICS}
        admin.create_topics(wanted, wait_for_metadata=True)
    finally:
        admin.close()


def wait_for_group(settings: KafkaSettings, group: str) -> None:
    """Wait until a group of consumers has a member and is in rest."""
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(**settings.client_arguments())
    deadline = time.monotonic() + READY_S
    try:
        while admin.describe_groups([group])[group]["group_state"] != "Stable":
            if time.monotonic() > deadline:
                raise OfframpError(f"the group {group} has no member after {READY_S:g} s")
            time.sleep(0.2)
    finally:
        admin.close()


class Program:
    """A program of ours that runs; what it says goes to a file."""

    def __init__(self, folder: Path, name: str, *arguments: object) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, arguments)], stdout=log, stderr=log, cwd=ROOT, start_new_session=True
            )

    def wait_for(self, word: str) -> None:
        """Wait until it says a word. Raises OfframpError, with the last it said, where it ends before."""
        deadline = time.monotonic() + READY_S
        while word not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise OfframpError(f"{self.name} did not come up: {self.log.read_text()[-500:]}")
            time.sleep(0.1)

    def end(self) -> str:
        """Ask it to end; return what it said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.log.read_text()


class Processors:
    """What some processes, the finished children of this one, and all others use of one processor, from now on."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids, self._begun = pids, time.monotonic()
        self._before, self._machine = self._own(), self._machine_s()

    def shares(self) -> dict[str, float]:
        """Return the share of one processor that each has used; `others`, and `idle` of all processors."""
        took = time.monotonic() - self._begun
        used = {name: (now - self._before[name]) / took for name, now in self._own().items()}
        whole, idle = (now - before for now, before in zip(self._machine_s(), self._machine, strict=True))
        others = (whole - idle) / took - sum(used.values())
        return {**used, "others": max(others, 0.0), "idle": idle / whole}

    def _own(self) -> dict[str, float]:
        times = os.times()
        return {name: process_seconds(pid) for name, pid in self._pids.items()} | {
            "sender": times.children_user + times.children_system
        }

    @staticmethod
    def _machine_s() -> tuple[float, float]:
        """Return all seconds, and the idle ones, of all processors together."""
        fields = [int(each) / TICKS for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]


def run(rate: float, seconds: float, sizes: tuple[int, ...], folder: Path) -> Outcome:
    """Start everything, send, and return the outcome. Call it in a network namespace with v0 and v1."""
    with ExitStack() as stack:
        broker = stack.enter_context(Broker())
        settings = KafkaSettings((broker.address,), prefix="bench")
        create_topics(settings)
        config = folder / "kafka.toml"
        config.write_text('prefix = "bench"\n')
        kafka = ("--kafka", broker.address, "--kafka-config", config, "--site", SITE)

        def start(name: str, word: str, *arguments: object) -> Program:
            program = Program(folder, name, *arguments)
            stack.callback(program.end)
            program.wait_for(word)
            return program

        worker = start("worker", "worker of site", "-m", "offramp", "worker", *kafka)
        agent = start("agent", "watching", "-m", "offramp", "publish", "--interface", "v1", *kafka)
        client = start("client", "ready", "-m", "bench.latency_client", broker.address, "bench", IDLE_S)
        pids = {"broker": broker.pid, "worker": worker.process.pid, "agent": agent.process.pid,
                "client": client.process.pid}  # fmt: skip
        wait_for_group(settings, f"{settings.prefix}-{load_site(SITE).name}")
        processors = Processors(pids)
        sent = _send(rate, seconds, sizes)
        shares = processors.shares()
        client.process.wait(IDLE_S + 60)
        result = json.loads(client.log.read_text().splitlines()[-1])
        print(agent.end(), worker.end(), file=sys.stderr)
        features = features_of(records_of(settings, "features"))
        logged = {_id(each): each.timestamp * 1_000_000 + 500_000 for each in records_of(settings, "decisions")}
    return Outcome(result["commands"], result["counts"], features, logged, sent["sent"], sent["seconds"], shares)


def _id(record: Any) -> str:
    return str(json.loads(record.value)["decision_id"])


def _send(rate: float, seconds: float, sizes: tuple[int, ...]) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.blast", "v0", f"--rate={rate}", f"--seconds={seconds}", f"--flows={FLOWS}",
               "--size", *map(str, sizes)]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, start_new_session=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def report(outcome: Outcome, lateness_ns: int) -> tuple[list[str], dict[str, Any]]:
    """Return the run's lines and its figures, without the first seconds, in which caches warm, and the link's end."""
    begin_ns, end_ns = outcome.features.time_ns[0] + int(WARM_S * 1e9), outcome.features.newest_ns[-1] - lateness_ns
    commands = [each for each in outcome.commands if begin_ns <= each[1] < end_ns]
    if not commands:
        raise OfframpError(f"no command came after the first {WARM_S:g} s; give --seconds 20 or more")
    hops = hops_in_ms(commands, outcome.features, outcome.told_ns, lateness_ns)
    bins = len({end for _, end, _, _ in commands})
    late = outcome.features.late_ns
    share = ", ".join(f"{name} {each:.0%}" for name, each in outcome.shares.items())
    worst = f"at most {late.max() / 1e6:.3f} ms" if len(late) else "0 ms"
    lines = [
        f"{outcome.sent:,} packets in {outcome.seconds:.1f} s ({outcome.sent / outcome.seconds:,.0f}/s), "
        f"{len(outcome.features.logged_ns):,} messages; {len(commands):,} commands of {bins:,} bins",
        f"shares of one processor, and what of all was idle: {share}",
        f"rows out of order: {len(late):,}, by {worst}; the client: {dict(outcome.counts)}",
        table(hops),
    ]
    cuts = {key: dict(zip(("p50", "p90", "p99"), np.percentile(each, (50, 90, 99)).round(3).tolist(), strict=True))
            for key, each in hops.items()}  # fmt: skip
    result = {"commands": len(commands), "bins": bins, "hops_ms": cuts, "shares": dict(outcome.shares)}
    more = {"rate": outcome.sent / outcome.seconds, "counts": dict(outcome.counts), "rows_out_of_order": len(late)}
    return lines, result | more


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description="Packet to decision, through Kafka.")
    parser.add_argument("--seconds", type=float, default=25.0, help="how long packets are sent")
    parser.add_argument("--rate", type=float, default=50_000, help="packets a second")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="bytes of a frame, in turn")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    return parser.parse_args()


def measure(asked: argparse.Namespace, inside: Callable[..., Outcome]) -> None:
    """Run, print, and keep the figures."""
    with tempfile.TemporaryDirectory(prefix="offramp-latency-") as folder:
        outcome = inside(run, asked.rate, asked.seconds, tuple(asked.sizes), Path(folder))
    lateness_ns = int(load_site(SITE).links[0].lateness_ms * 1e6)
    lines, result = report(outcome, lateness_ns)
    print("\n".join(lines))
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Run the bench; errors are one line."""
    asked = arguments()
    print(f"load average before: {' '.join(f'{load:.2f}' for load in os.getloadavg())}", flush=True)
    try:
        namespace = Namespace()
    except NotAllowedError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    try:
        measure(asked, namespace.call)
    except OfframpError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        namespace.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
