"""`offramp tap` of several interfaces, and of `any`, in one process, on veth pairs in a network namespace."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from bench.namespace import Namespace
from tests.support.live import frame, new_namespace, send, until
from tests.support.places import ROOT
from tests.support.scrape import scrape, url_in
from tests.support.tap_process import TAP, Running, no_rights, number_of

TWO = """
[[links]]
name = "uplink"
interface = "v1"
capacity = "8 Mbit/s"
buffer_bytes = 150000
devices = ["10.13.0.0/24"]
[[links.paths]]
name = "wireless"
capacity = "20 Mbit/s"

[[links]]
name = "wireless"
interface = "w1"
capacity = "8 Mbit/s"
"""


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = new_namespace()
    made.run("ip link add w0 type veth peer name w1 && ip link set w0 up && ip link set w1 up")
    yield made
    while Several.begun:
        process = Several.begun.pop().process
        if process.poll() is None:
            process.kill()
    made.close()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "two.toml"
    path.write_text(TWO)
    return path


class Several(Running):
    """A tap of several interfaces."""

    begun: ClassVar[list[Several]] = []

    def __init__(self, namespace: Namespace, interfaces: tuple[str, ...], *arguments: object) -> None:
        self.command = (*TAP, *interfaces)
        super().__init__(namespace, *arguments)
        self.begun.append(self)


def parts(text: str) -> dict[str, str]:
    """The ledgers on standard error by the line above each."""
    found = text.split("\nledger of ")[1:]
    return {part.partition("\n")[0]: part for part in found}


@pytest.mark.parametrize("backend", ["ring", "pcapy", "scapy"])
def test_each_interface_is_its_own_link_and_one_signal_ends_them(
    namespace: Namespace, site: Path, backend: str
) -> None:
    tap = Several(
        namespace, ("v1", "w1"), "--site", site, "--capture-backend", backend, "--metrics", "0", "--filter", "udp"
    )
    tap.told("watching v1 as link uplink")
    tap.told("watching w1 as link wireless")
    no_rights(tap.process)
    send(namespace, [frame(each) for each in range(300)])
    send(namespace, [frame(each) for each in range(200)], "w0")
    until(lambda: all(any(name in line for line in tap.out) for name in ("uplink", "wireless")))
    found = namespace.call(scrape, url_in(lambda: "".join(tap.err)))
    for link, count in (("uplink", 300), ("wireless", 200)):
        assert found["offramp_capture_packets_total", link] == found["offramp_stream_rows_total", link] == count
    text = tap.end(signal.SIGTERM)
    assert tap.process.returncode == 0, text
    ledgers = parts(text)
    assert list(ledgers) == ["v1, link uplink", "w1, link wireless"]
    for ledger, count in zip(ledgers.values(), (300, 200), strict=True):
        assert number_of(ledger, "packets captured") == number_of(ledger, "rows binned") == count


def test_an_interface_that_vanishes_leaves_the_other_watched(namespace: Namespace, site: Path) -> None:
    tap = Several(namespace, ("v1", "w1"), "--site", site)
    tap.told("watching v1")
    tap.told("watching w1")
    send(namespace, [frame(each) for each in range(9)])
    namespace.run("ip link del v1")
    tap.told("v1: the interface vanished; the others go on")
    send(namespace, [frame(each) for each in range(20)], "w0")
    until(lambda: any("wireless" in line for line in tap.out))
    text = tap.end()
    assert tap.process.returncode == 1
    assert [number_of(each, "packets captured") for each in parts(text).values()] == [9, 20]
    assert text.splitlines()[-1] == "offramp: v1: the interface vanished"


def test_what_both_wrote_replays_to_the_same_commands(
    namespace: Namespace, site: Path, tmp_path: Path, own: Path
) -> None:
    """Two floods at once, on a link and on its path: the lines are those of both files replayed, which tell apart."""
    out = tmp_path / "commands.jsonl"
    tap = Several(
        namespace, ("v1", "w1"), "--site", site, "--format", "jsonl", "--write", own, "--out", out, "--filter", "udp"
    )
    tap.told("watching v1")
    tap.told("watching w1")
    blast = "from bench.blast import Sender; "
    blast += "Sender('{}', 1000, flows=4, segments=1, network=bytes([10, 13])).send(1500, 2.5)"
    senders = [namespace.start([sys.executable, "-c", blast.format(name)], cwd=ROOT) for name in ("v0", "w0")]
    for sender in senders:
        assert sender.communicate(timeout=60)[1] == ""
    text = tap.end()
    assert tap.process.returncode == 0, text
    live = by_scope(out.read_text())
    assert "link:uplink" in live
    files = [sorted(own.glob(f"{name}-*.pcapng")) for name in ("v1", "w1")]
    assert all(files), list(own.iterdir())
    assert replayed(site, *files[0], *files[1]) == replayed(site, *files[1], *files[0]) == out.read_text()


def replayed(site: Path, *files: Path) -> str:
    command: list[str | Path] = [sys.executable, "-m", "offramp", "replay", *files, "--site", site, "--format", "jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout


def by_scope(lines: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines.splitlines():
        found.setdefault(json.loads(line)["scope"], []).append(line)
    return found


def test_any_gives_each_interface_its_own_link(namespace: Namespace, site: Path, own: Path) -> None:
    file = own / "any.pcapng"
    tap = Several(namespace, ("any",), "--site", site, "--filter", "udp port 9", "--metrics", "0", "--write", file)
    tap.told("watching any as a link each")
    send(namespace, [frame(each) for each in range(30)])
    send(namespace, [frame(each) for each in range(20)], "w0")
    until(lambda: all(any(name in line for line in tap.out) for name in ("uplink", "wireless")))
    found = namespace.call(scrape, url_in(lambda: "".join(tap.err)))
    assert found["offramp_capture_unlinked_packets_total", "v0"] == 30
    text = tap.end()
    assert tap.process.returncode == 0, text
    ledgers = parts(text)
    assert number_of(ledgers["link uplink"], "packets captured") == 30
    assert number_of(ledgers["link wireless"], "packets captured") == 20
    rest = ledgers["any, of which no link is known"]
    assert number_of(rest, "packets captured") == number_of(rest, "of no link") == 50
    assert "warning: 30 packets of v0 belong to no link: the links name v1 (uplink) and w1 (wireless)" in text
    command: list[str | Path] = [sys.executable, "-m", "offramp", "replay", file, "--site", site]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert number_of(done.stderr, "packets captured") == 100
    assert number_of(done.stderr, "of no link") == 50
    assert number_of(done.stderr, "rows binned") == 50


def test_any_without_a_site_assumes_a_link_for_each_interface(namespace: Namespace) -> None:
    process = namespace.start([*TAP, "any", "--filter", "udp port 9", "--count", "40"], cwd=ROOT)
    assert process.stderr is not None
    while "watching any" not in process.stderr.readline():
        assert process.poll() is None
    send(namespace, [frame(each) for each in range(20)])
    _, text = process.communicate(timeout=60)
    assert process.returncode == 0, text
    ledgers = parts(text)
    for name in ("v0", "v1"):
        assert number_of(ledgers[f"link {name}"], "rows binned") == 20


def test_one_link_for_all_of_any_is_told_of_doubles(namespace: Namespace) -> None:
    """The sample's only link takes every interface: a forwarded packet would count twice."""
    tap = Several(namespace, ("any",), "--filter", "udp port 9")
    tap.told("watching any")
    send(namespace, [frame(each) for each in range(20)])
    tap.told("counts twice")
    text = tap.end()
    assert "link uplink takes" in text
    assert number_of(text, "packets captured") == 40


WRONG = {
    ("v1", "v1"): "v1: is named twice",
    ("any", "v1"): "any: is every interface",
    ("v1", "w1", "--link", "uplink"): "--link names one link",
    ("v1", "w1", "--site", "samples/site.toml"): "v1 and w1 are both of link uplink",
    ("v0", "--site", "SITE"): "v0 belongs to no link: the links name v1 (uplink) and w1 (wireless)",
    ("v1", "w0", "--site", "SITE"): "w0 belongs to no link",
    ("v1", "--site", "SITE", "--link", "lte"): "--link 'lte': the site has uplink and wireless",
    ("v1", "w1", "--write", "/proc/x.pcapng"): "is no folder",
    ("any", "--capture-backend", "pcapy"): "--capture-backend ring",
}


@pytest.mark.parametrize("arguments", sorted(WRONG), ids=" ".join)
def test_wrong_usage_is_exit_code_2(namespace: Namespace, site: Path, arguments: tuple[str, ...]) -> None:
    command = [str(site) if each == "SITE" else each for each in arguments]
    done = namespace.start([*TAP, *command], cwd=ROOT)
    _, err = done.communicate(timeout=120)
    assert done.returncode == 2, err
    assert WRONG[arguments] in err
    assert "Traceback" not in err


def test_a_link_may_be_named_for_an_interface_that_no_pattern_fits(namespace: Namespace, site: Path) -> None:
    tap = Several(namespace, ("v0",), "--site", site, "--link", "wireless", "--count", "5")
    tap.told("watching v0 as link wireless")
    send(namespace, [frame(each) for each in range(9)])
    assert number_of(tap.end(None), "packets captured") == 5
