"""The command line as its user meets it, on the repo's own sample."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import zstandard

from offramp.capture.block import Interface
from offramp.capture.intake.pcapng_writer import PcapngFiles, RingOfFiles
from offramp.capture.sources.file.files import open_captures
from offramp.decision.command import validate
from tests.support.command_line import offramp
from tests.support.places import DEMO, ROOT, SITE


@pytest.fixture(scope="module")
def jsonl() -> str:
    done = offramp("replay", DEMO, "--site", SITE, "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_replay_decides_onset_then_abated(jsonl: str) -> None:
    commands = [json.loads(line) for line in jsonl.splitlines()]
    for command in commands:
        validate(command)
    phases = [command["phase"] for command in commands]
    assert phases[0] == "onset"
    assert "abated" in phases[phases.index("onset") :]
    assert len({command["decision_id"] for command in commands}) == len(commands)


def congested_spans() -> list[tuple[float, float]]:
    """Return when the sample's link carries 90 % of its 8 Mbit/s or more, in epoch seconds, from the bytes alone."""
    times, sizes = [], []
    for block in open_captures([str(DEMO)]).read():
        times.append(block.time_ns / 1e9)
        sizes.append(block.length)
    begin = np.concatenate(times).min()
    load = np.bincount(((np.concatenate(times) - begin) * 2).astype(int), weights=np.concatenate(sizes)) * 8 * 2 / 8e6
    edges = np.flatnonzero(np.diff(np.concatenate([[0], load >= 0.9, [0]])))
    return [(begin + start / 2, begin + end / 2) for start, end in edges.reshape(-1, 2)]


def test_commands_come_while_the_link_is_congested_and_not_in_its_quiet_parts(jsonl: str) -> None:
    spans = congested_spans()
    assert len(spans) == 2
    decided = [(datetime.fromisoformat(c["not_before"]).timestamp(), c) for c in map(json.loads, jsonl.splitlines())]
    onsets = [when for when, command in decided if command["phase"] == "onset"]
    for start, end in spans:
        assert any(start - 0.5 <= when <= end for when in onsets)
    for when in onsets:
        assert any(start - 0.5 <= when <= end for start, end in spans)
    for when, command in decided:  # a move is renewed and undone soon after, never long into the quiet
        assert any(start - 0.5 <= when <= end + 3 for start, end in spans), command
    assert [command["phase"] for _, command in decided][-1] == "abated"


def test_two_runs_give_the_same_bytes(jsonl: str) -> None:
    assert offramp("replay", DEMO, "--site", SITE, "--format", "jsonl").stdout == jsonl


def test_standard_input_gzip_and_several_files_give_the_same_commands(jsonl: str, tmp_path: Path) -> None:
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(DEMO.read_bytes())
    piped = offramp("replay", "-", "--site", SITE, "--format", "jsonl", stdin=plain)
    assert piped.stdout == jsonl
    packed = tmp_path / "demo.pcap.gz"
    packed.write_bytes(gzip.compress(plain, 1))
    out = tmp_path / "commands.jsonl"
    assert offramp("replay", packed, "--site", SITE, "--format", "jsonl", "--out", out).stdout == ""
    assert out.read_text() == jsonl


def test_table_tells_state_commands_and_ledger() -> None:
    done = offramp("replay", DEMO, "--site", SITE)
    assert done.returncode == 0
    assert "load up" in done.stdout
    assert "▶ onset" in done.stdout
    lines = done.stdout.splitlines()
    last = max(number for number, line in enumerate(lines) if "▶ abated" in line)
    assert "50.0s" in lines[last - 3] + lines[last - 2] + lines[last - 1]  # where it was decided: just after the burst
    for word in ("ledger", "packets captured", "decoded", "dropped by kernel", "commands", "try next"):
        assert word in done.stderr
    assert "\x1b[" not in done.stdout + done.stderr


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_features_writes_a_row_a_packet(suffix: str, tmp_path: Path) -> None:
    import pandas as pd

    out = tmp_path / f"features.{suffix}"
    done = offramp("features", DEMO, "-o", out)
    assert done.returncode == 0, done.stderr
    frame = pd.read_csv(out, dtype=str) if suffix == "csv" else pd.read_parquet(out)
    captured = int(done.stderr.split("packets captured")[1].split()[0].replace(",", ""))
    assert len(frame) == captured > 10_000
    assert list(frame.columns[:2]) == ["frame.time", "ip.src_host"]


WRONG: dict[str, tuple[bytes | None, str]] = {
    "missing.pcap": (None, "missing.pcap"),
    "empty.pcap": (b"", "empty"),
    "text.pcap": (b"hello, this is no capture at all\n" * 9, "text.pcap"),
    "short.pcap": (bytes.fromhex("d4c3b2a1020004"), "short.pcap"),
    "link.pcap": (bytes.fromhex("d4c3b2a1020004000000000000000000ffff00000f270000") + bytes(16), "9999"),
}


@pytest.mark.usefixtures("jsonl")  # kernels are compiled by then: a cold start says so on standard error
@pytest.mark.parametrize("name", sorted(WRONG))
@pytest.mark.parametrize("verb", ["replay", "features"])
def test_wrong_input_is_one_line_and_exit_code_2(verb: str, name: str, tmp_path: Path) -> None:
    content, word = WRONG[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    extra = ["-o", str(tmp_path / "out.csv")] if verb == "features" else ["--site", str(SITE)]
    done = offramp(verb, tmp_path / name, *extra)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("offramp: ")
    assert done.stderr.count("\n") == 1
    assert word in done.stderr


def test_directory_and_wrong_options_are_refused(tmp_path: Path) -> None:
    for arguments in (
        ["replay", str(tmp_path)],
        ["replay", str(DEMO), "--pace", "fast"],
        ["replay", str(DEMO), "--model", str(tmp_path)],
        ["features", str(DEMO), "-o", str(tmp_path / "x.txt")],
        ["features", str(DEMO)],
        ["nonsense"],
    ):
        done = offramp(*arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert "Traceback" not in done.stderr


def test_cut_capture_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(DEMO.read_bytes())
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(plain[:200_001])
    done = offramp("replay", cut, "--site", SITE)
    assert done.returncode == 0
    assert "warning: " in done.stderr
    assert "packet" in done.stderr.split("warning: ")[1]
    assert offramp("replay", cut, "--site", SITE, "--strict").returncode == 1


def test_wrong_key_in_site_is_named(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(SITE.read_text() + '\n[surprise]\nkey = "value"\n')
    done = offramp("replay", DEMO, "--site", site)
    assert done.returncode == 2
    assert "surprise" in done.stderr
    assert done.stderr.count("\n") == 1


def test_unreadable_out_is_refused() -> None:
    done = offramp("replay", DEMO, "--out", "/proc/nothing/here")
    assert done.returncode == 2
    assert "--out" in done.stderr


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    command = f"{sys.executable} -m offramp replay {DEMO} --site {SITE} --every 0.1 | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False, cwd=ROOT, env={**os.environ})
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


def on_terminal(*arguments: str | Path, out: Path | None = None) -> str:
    """What a command shows on a terminal, its data too or in a file."""
    ours, its = pty.openpty()
    with ExitStack() as stack:
        data = stack.enter_context(out.open("wb")) if out else its
        words = [sys.executable, "-m", "offramp", *arguments]
        process = subprocess.Popen(words, stdout=data, stderr=its, stdin=its, cwd=ROOT)
        os.close(its)
        shown = b""
        with suppress(OSError):  # a terminal whose last user has gone
            while part := os.read(ours, 65_536):
                shown += part
        os.close(ours)
        assert process.wait(60) == 0
    return shown.decode()


def test_a_terminal_shows_the_table_and_no_bar_within_it(tmp_path: Path) -> None:
    """The bar is for who sends the data elsewhere."""
    shown = on_terminal("replay", DEMO, "--site", SITE)
    done = offramp("replay", DEMO, "--site", SITE)
    assert "\x1b" not in shown
    assert shown.replace("\r\n", "\n").startswith(done.stdout)
    out = tmp_path / "out"
    assert "replaying" in on_terminal("replay", DEMO, "--site", SITE, out=out)
    assert out.read_text() == done.stdout


def test_what_is_offered_next_can_be_typed(tmp_path: Path, jsonl: str) -> None:
    capture, site = tmp_path / "my capture.pcap.zst", tmp_path / "site's.toml"
    shutil.copy(DEMO, capture)
    shutil.copy(SITE, site)
    told = offramp("replay", capture, "--site", site, "--out", tmp_path / "table").stderr
    again, features, _ = re.findall(r"^  (.+?)   \S.*$", told.partition("try next\n")[2], re.MULTILINE)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for line, wanted in ((again, jsonl), (features, "")):
        done = subprocess.run(["bash", "-c", line], capture_output=True, check=True, cwd=tmp_path, env=environment)
        assert done.stdout.decode() == wanted
    assert "try next" not in offramp("replay", capture, "--site", site, "--format", "jsonl").stderr
    assert (tmp_path / "features.csv").exists()


def test_an_interrupted_replay_tells_what_it_has_read() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "offramp", "replay", DEMO, "--site", SITE, "--pace", "realtime"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert re.search(r"^interrupted behind packet [\d,]+$", told, re.MULTILINE)
    assert "ledger" in told
    assert "Traceback" not in told


def test_doctor_finds_this_machine_well() -> None:
    done = offramp("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "shipped model" in done.stdout


@pytest.fixture(scope="module")
def wlan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as a pcapng file of the interface wlan0."""
    path = tmp_path_factory.mktemp("wlan") / "wlan.pcapng"
    files = PcapngFiles(RingOfFiles(path), "wlan0")
    for block in open_captures([str(DEMO)]).read():
        files.write(replace(block, interfaces=(Interface("wlan0", 1),)))
    files.close()
    return path


def site_with(folder: Path, *interfaces: str) -> Path:
    """The sample's site with its link once for each interface; "": none is named."""
    text, path = SITE.read_text(), folder / "site.toml"
    head, _, link = text.partition("[[links]]")
    links = []
    for at, interface in enumerate(interfaces):
        own = link.replace('name = "uplink"', f'name = "link-{at}"', 1)
        links.append(own.replace("capacity =", f'interface = "{interface}"\ncapacity =', 1) if interface else own)
    path.write_text(head + "".join(f"[[links]]{each}\n" for each in links))
    return path


def test_packets_of_an_interface_that_no_link_names_are_of_no_link(wlan: Path, tmp_path: Path) -> None:
    site = site_with(tmp_path, "eth0", "eth1")
    done = offramp("replay", wlan, "--site", site, "--format", "jsonl")
    assert (done.returncode, done.stdout) == (0, "")
    count = 26_988
    named = "the links name eth0 (link-0) and eth1 (link-1)"
    assert f"warning: {count:,} packets of wlan0 belong to no link: {named}" in done.stderr
    assert "no packet belongs to link-0 (eth0) and link-1 (eth1); the interfaces are wlan0" in done.stderr
    assert re.search(rf"packets captured +{count:,}\n +decoded +0\n", done.stderr)
    assert re.search(rf"of no link +{count:,}\n +wlan0 +{count:,}\n", done.stderr)
    assert offramp("replay", wlan, "--site", site, "--strict").returncode == 1


def test_a_link_may_be_named_for_a_capture(wlan: Path, tmp_path: Path, jsonl: str) -> None:
    site = site_with(tmp_path, "eth0", "eth1")
    for more in (("--link", "link-1"), ("--link", "link-0")):
        done = offramp("replay", wlan, "--site", site, "--format", "jsonl", *more)
        assert len(done.stdout.splitlines()) == len(jsonl.splitlines())
        assert f'"scope":"link:{more[1]}"' in done.stdout
    assert offramp("replay", wlan, "--site", site, "--link", "link-2").returncode == 2


def test_classic_pcap_names_no_interface(tmp_path: Path, jsonl: str) -> None:
    one = offramp("replay", DEMO, "--site", site_with(tmp_path, "eth0"), "--format", "jsonl")
    assert len(one.stdout.splitlines()) == len(jsonl.splitlines())
    none = offramp("replay", DEMO, "--site", site_with(tmp_path, "eth0", "eth1"), "--format", "jsonl")
    assert none.stdout == ""
    assert "26,988 packets of (no name) belong to no link" in none.stderr
    free = offramp("replay", DEMO, "--site", site_with(tmp_path, "eth0", ""), "--format", "jsonl")
    assert '"scope":"link:link-1"' in free.stdout
    two = offramp("replay", DEMO, "--site", site_with(tmp_path, "", ""), "--format", "jsonl")
    assert two.returncode == 2
    assert "links link-0 and link-1 have no interface" in two.stderr


def test_devices_of_another_network_are_said_with_the_busiest(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(SITE.read_text().replace("10.13.0.0/24", "192.168.7.0/24"))
    done = offramp("replay", DEMO, "--site", site)
    assert "no packet of 'uplink' has an address in 192.168.7.0/24 (devices)" in done.stderr
    assert "busiest: 10.13.1.2" in done.stderr
