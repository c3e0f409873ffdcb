"""The service for measurements: a broker with topics, agents' messages, workers as processes, and what each costs."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa

from bench.busier import Busier
from bench.measure import cpu_seconds
from deploy.kafka.broker import Broker
from offramp.capture.dissect.dissector import Dissector
from offramp.capture.publish.publisher import Publisher
from offramp.capture.sources.file.files import open_captures
from offramp.decision.site import Site, load_site
from offramp.errors import OfframpError
from offramp.kafka import KafkaSettings

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "samples/site.toml"
TICKS = os.sysconf("SC_CLK_TCK")
AGENT = "bench"


def site_file(links: int, folder: Path) -> tuple[Site, Path]:
    """Return a site of so many links, each like the sample's with paths and nodes of its own, and its file."""
    head, _, body = SITE.read_text(encoding="utf-8").partition("[[links]]")
    path = folder / f"site-{links}.toml"
    named = re.compile(r'(\[\[links\.(?:paths|nodes)\]\]\nname = ")(\w[^"]*)')
    text = "".join(
        "[[links]]" + named.sub(rf"\g<1>\g<2>-{number}", body).replace('"uplink"', f'"uplink{number}"')
        for number in range(links)
    )
    path.write_text(head + text, encoding="utf-8")
    return load_site(path), path


@dataclass(frozen=True, slots=True)
class Published:
    """Packets and bytes of the messages of all links, and what that takes of the processor: dissected once a link."""

    packets: int
    bytes: int
    cpu_s: float


def publish_links(settings: KafkaSettings, site: Site, capture: Path, factor: int, rows: int) -> Published:
    """Play a capture on every link of a site at once, `factor` times as fast, in messages of at most `rows` rows.

    The packets are dissected once; `cpu_s` counts that for each link, as each would have an agent.
    """
    dissect_s, batches = math.inf, list[pa.RecordBatch]()
    for _ in range(3):  # the first loads kernels, which an agent does once and not for these few packets
        before = cpu_seconds()
        dissector = Dissector("stream", site=site.name, agent=AGENT, batch_rows=rows)
        blocks = Busier(open_captures([str(capture)]), factor).read()
        batches = [batch for block in blocks for batch in dissector.dissect(block)]
        dissect_s = min(dissect_s, cpu_seconds() - before)
    before = cpu_seconds()
    out = Publisher(settings, site=site.name, agent=AGENT, epoch=1)
    out.start()
    for batch in batches:
        for link in site.links:
            out.publish(link.name, batch)
    for link in site.links:
        out.end(link.name)
    if not out.close():
        raise OfframpError("bench: not all messages were acknowledged")
    count = len(site.links)
    packets = count * sum(batch.num_rows for batch in batches)
    return Published(packets, out.ledger.bytes, dissect_s * count + cpu_seconds() - before)


@contextmanager
def worker_processes(
    settings: KafkaSettings, site: Path, count: int, folder: Path, *, cores: Sequence[int] | None = None
) -> Iterator[list[int]]:
    """Run `offramp worker` so many times, on the cores named; yield their process ids; end them in order."""
    config = folder / f"{settings.prefix}.toml"
    config.write_text(f'prefix = "{settings.prefix}"\n', encoding="utf-8")
    command = [sys.executable, "-m", "offramp", "worker", "--site", str(site), "--kafka", settings.shown,
               "--kafka-config", str(config)]  # fmt: skip
    running: list[subprocess.Popen[bytes]] = []
    with (folder / f"{settings.prefix}.log").open("wb") as log:
        try:
            running.extend(_started(command, log, cores) for _ in range(count))
            yield [process.pid for process in running]
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(60)


def _started(command: list[str], log: IO[bytes], cores: Sequence[int] | None) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
    if cores is not None:
        os.sched_setaffinity(process.pid, cores)  # before it counts its cores, long before it has threads
    return process


def process_seconds(pid: int) -> float:
    """Return the processor seconds a process has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_megabytes(pid: int) -> float:
    """Return the peak resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def topic_bytes(broker: Broker, settings: KafkaSettings, name: str) -> int:
    """Return the bytes of a topic's messages on the broker's disk, which are those that its producers sent."""
    logs = (broker.folder / "data").glob(f"{settings.topic(name)}-*/*.log")
    return sum(path.stat().st_size for path in logs)
