"""Two links that share a path, from two captures: one to three workers give replay's bytes, one of them killed."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import DEVNULL, Popen

import pytest

from offramp.capture.block import joined
from offramp.capture.sources.file.files import open_captures
from offramp.kafka import KafkaSettings
from tests.integration.agents import command_of, run
from tests.support.places import DEMO, ROOT
from tests.support.workers import Decisions, WorkerProcess, workers

PACKETS = 12_000
LATER_NS = 700_000_000
"""How much later the second link's packets are: its congestion overlaps with the first's."""
LINK = """
[[links]]
name = "{name}"
capacity = "8 Mbit/s"
buffer_bytes = 150_000
devices = ["10.13.0.0/24"]
[[links.paths]]
name = "wireless"
capacity = "6 Mbit/s"
"""


@pytest.fixture
def decisions(topics: KafkaSettings) -> Iterator[Decisions]:
    made = Decisions(topics)
    yield made
    made.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The site file, and the captures of both links, named with them."""
    folder = tmp_path_factory.mktemp("bundle")
    site = folder / "site.toml"
    site.write_text('name = "lab"\n' + LINK.format(name="uplink") + LINK.format(name="second"))
    demo, out = joined(list(open_captures([str(DEMO)]).read())), [str(site)]
    for name, later_ns in (("uplink", 0), ("second", LATER_NS)):
        text = bytearray(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, demo.interfaces[0].linktype))
        for at in range(PACKETS):
            seconds, rest = divmod(int(demo.time_ns[at]) + later_ns, 10**9)
            start, count = int(demo.offset[at]), int(demo.caplen[at])
            text += struct.pack("<4I", seconds, rest, count, int(demo.length[at]))
            text += demo.data[start : start + count].tobytes()
        (folder / f"{name}.pcap").write_bytes(text)
        out.append(f"{name}={folder / name}.pcap")
    return out


@pytest.fixture(scope="module")
def wanted(files: list[str]) -> dict[str, list[bytes]]:
    """What replay gives, by link."""
    site, *captures = files
    command = [sys.executable, "-m", "offramp", "replay", *captures, "--site", site, "--format", "jsonl"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    found: dict[str, list[bytes]] = {"uplink": [], "second": []}
    for line in done.stdout.splitlines():
        found["second" if b"link:second" in line or b"device:second" in line else "uplink"].append(line)
    assert min(map(len, found.values())) > 2
    return found


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.long), pytest.param(2, marks=pytest.mark.long), 3])
def test_workers_give_the_bytes_of_replay_whoever_is_killed(
    count: int, files: list[str], wanted: dict[str, list[bytes]], topics: KafkaSettings, decisions: Decisions,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Published six times as fast as recorded, over five seconds, in which each worker but the last is killed."""
    site, *captures = files
    publish = command_of(topics, tmp_path, "publish", *captures, "--site", site, "--pace", "6x")
    started = [WorkerProcess(topics, Path(site), tmp_path / f"w{n}.log") for n in range(count)]
    with workers(*started) as running, ExitStack() as stack:
        agent = stack.enter_context(Popen(publish, cwd=ROOT, stdout=DEVNULL, stderr=DEVNULL))
        stack.callback(agent.kill)
        decisions.wait_until(1)
        for number in range(count):
            if number == count - 1:
                running.append(WorkerProcess(topics, Path(site), tmp_path / "last.log"))
            running[number].kill()
            decisions.read()
        decisions.wait_for(wanted)
        assert agent.wait(60) == 0
        assert "links taken over               0" not in running[-1].stop()


def test_a_mark_is_written_where_its_bundle_s_packets_are(
    files: list[str], topics: KafkaSettings, decisions: Decisions, tmp_path: Path
) -> None:
    """With its path down nothing is moved; a mark of what the site has not is an error in a line."""
    site, *captures = files
    for more in (["--path", "wireless", "--down"], ["--link", "second", "--capacity", "8 Mbit/s"]):
        done = run(command_of(topics, tmp_path, "mark", "--site", site, *more))
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    for more in (["--path", "nowhere", "--down"], ["--link", "uplink"], ["--path", "wireless"], []):
        done = run(command_of(topics, tmp_path, "mark", "--site", site, *more))
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.splitlines()) == 1
    with workers(WorkerProcess(topics, Path(site), tmp_path / "w.log")) as running:
        assert run(command_of(topics, tmp_path, "publish", *captures, "--site", site)).returncode == 0
        decisions.wait_until(1)
        told = running[0].stop()
    assert "marks" in told
    assert not any(b"reroute" in record.value for record in decisions.records)
