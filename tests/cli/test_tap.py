"""`offramp tap` as its operator meets it, on a veth pair in a network namespace."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.namespace import Namespace
from offramp.decision.command import validate
from tests.fuzz.growth import fragmented, over_tcp, overlapping, unsubscribe
from tests.fuzz.mutations import datagram
from tests.support.live import frame, send, until
from tests.support.places import ROOT, SITE
from tests.support.scrape import scrape, url_in
from tests.support.tap_process import TAP, Running, no_rights, number_of

NO_RIGHTS = ["setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_ledger(namespace: Namespace, number: int) -> None:
    tap = Running(namespace, "--metrics", "0")
    tap.told("watching v1 as link uplink")
    no_rights(tap.process)
    send(namespace, [frame(each) for each in range(321)])
    until(lambda: any("uplink" in line for line in tap.out))  # the clock closes the bins and prints the line
    found = namespace.call(scrape, url_in(lambda: "".join(tap.err)))
    for name in ("capture_packets", "capture_decoded_packets", "stream_rows"):
        assert found[f"offramp_{name}_total", "uplink"] == 321, name
    assert found["offramp_capture_kernel_dropped_packets_total", "uplink"] == 0
    assert found["offramp_stream_forecasts_total", "uplink"] == found["offramp_model_rows_sum",] > 0
    assert found["offramp_capture_queue_fill_ratio", "uplink"] < 1 == found["offramp_capture_sampling_factor", "uplink"]
    text = tap.end(number)
    assert tap.process.returncode == 0
    assert number_of(text, "packets captured") == number_of(text, "decoded") == 321
    assert number_of(text, "rows binned") == 321
    assert number_of(text, "dropped by kernel") == 0
    assert "ledger" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("backend", ["pcapy", "scapy"])
def test_the_other_backends_do_the_same(namespace: Namespace, backend: str) -> None:
    tap = Running(namespace, "--capture-backend", backend, "--count", "20", "--filter", "udp")
    tap.told("watching v1")
    no_rights(tap.process)
    send(namespace, [frame(each) for each in range(30)])
    text = tap.end(None)
    assert (tap.process.returncode, number_of(text, "rows binned")) == (0, 20)


def test_what_is_written_replays_to_the_same_commands(namespace: Namespace, tmp_path: Path, own: Path) -> None:
    """A flood on the lab's link: the tap decides as the replay of what it wrote."""
    file, out = own / "flood.pcapng", tmp_path / "commands.jsonl"
    tap = Running(namespace, "--format", "jsonl", "--write", file, "--out", out, "--filter", "udp")
    tap.told("watching")
    blast = "from bench.blast import Sender; "
    blast += "Sender('v0', 1000, flows=4, segments=1, network=bytes([10, 13])).send(1500, 2.5)"
    sender = namespace.start([sys.executable, "-c", blast], cwd=ROOT)
    assert sender.communicate(timeout=60)[1] == ""
    text = tap.end()
    assert tap.process.returncode == 0, text
    assert number_of(text, "written") == number_of(text, "packets captured") == 3750
    live = out.read_text()
    for line in live.splitlines():
        validate(json.loads(line))
    assert json.loads(live.splitlines()[0])["phase"] == "onset"
    command: list[str | Path] = [sys.executable, "-m", "offramp", "replay", file, "--site", SITE, "--format", "jsonl"]
    replayed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert replayed.stdout == live


def hostile_names(number: int) -> bytes:
    """Return 1,472 bytes of DNS: a chain of labels that ends at its beginning, and questions that all name it."""
    chain = b"\1a" * 365 + b"\xc0\x0c\0\1\0\1"
    questions = chain + b"\xc0\x0c\0\1\0\1" * 120
    message = struct.pack("!HHHHHH", number & 0xFFFF, 0x100, 121, 0, 0, 0) + questions
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(message), number & 0xFFFF, 0, 64, 17, 0)
    udp = struct.pack("!HHHH", 1024 + number % 60_000, 53, 8 + len(message), 0)
    ends = socket.inet_aton("10.0.0.1") + socket.inet_aton("192.0.2.53")
    return bytes.fromhex("0200000000020200000000010800") + head + ends + udp + message


def test_messages_made_to_be_dear_shed_nothing(namespace: Namespace) -> None:
    """100 hostile DNS messages a second beside 5,000 ordinary packets: all are dissected, none is shed or dropped."""
    tap = Running(namespace)
    tap.told("watching")
    blast = "from bench.blast import Sender; Sender('v0', 100, segments=1).send(5000, 8)"
    sender = namespace.start([sys.executable, "-c", blast], cwd=ROOT)
    sent = 0
    while sender.poll() is None and sent < 800:
        send(namespace, [hostile_names(sent)])
        sent += 1
        time.sleep(0.01)  # the rate
    assert sender.communicate(timeout=60)[1] == ""
    text = tap.end()
    assert tap.process.returncode == 0, text
    assert sent > 100
    assert (
        number_of(text, "packets captured")
        == number_of(text, "decoded")
        == number_of(text, "rows binned")
        == 40_000 + sent
    )
    assert number_of(text, "shed") == number_of(text, "dropped by kernel") == 0
    assert "is shed" not in text


def test_duration_and_count_end_it(namespace: Namespace) -> None:
    tap = Running(namespace, "--duration", "0.5")
    assert "ledger" in tap.end(None)
    assert tap.process.returncode == 0
    tap = Running(namespace, "--count", "7")
    tap.told("watching")
    send(namespace, [frame(each) for each in range(20)])
    text = tap.end(None)
    assert (tap.process.returncode, number_of(text, "packets captured")) == (0, 7)


def test_packets_that_hold_more_than_a_row_do_no_harm(namespace: Namespace) -> None:
    """Fragments of a datagram whose samples all claim its last 60 kB, and messages without end, among other packets."""
    payload = overlapping(b"\xc0\0" * 30_000, 41, 1883)
    hostile = fragmented(datagram(payload, 6343, 4000)) + over_tcp(unsubscribe(200_000), 1883, 1400).packets
    tap = Running(namespace)
    tap.told("watching v1 as link uplink")
    for frames in (hostile, [frame(each) for each in range(100)], hostile[:43], [frame(each) for each in range(100)]):
        send(namespace, frames)
    text = tap.end()
    assert tap.process.returncode == 0, text
    assert number_of(text, "packets captured") == number_of(text, "decoded") == len(hostile) + 243
    assert number_of(text, "note: ip_reassembled") == 2
    assert number_of(text, "note: occurrences_cut") >= 1


def test_an_interface_that_vanishes_ends_it_with_the_ledger(namespace: Namespace) -> None:
    tap = Running(namespace)
    tap.told("watching")
    send(namespace, [frame(each) for each in range(9)])
    namespace.run("ip link del v1")
    text = tap.end(None)
    assert tap.process.returncode == 1
    assert number_of(text, "packets captured") == 9
    assert text.splitlines()[-1] == "offramp: v1: the interface vanished"


def test_a_full_disk_ends_the_writing_only(namespace: Namespace, own: Path) -> None:
    script = f'mount -t tmpfs -o size=256k,mode=777 tmpfs {own} && exec "$@"'
    probe = ["unshare", "-m", "sh", "-c", script, "-"]
    if subprocess.run([*probe, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    tap = Running(namespace, "--write", own / "full.pcapng", before=probe)
    tap.told("watching")
    send(namespace, [frame(each, 1400) for each in range(500)])
    tap.told("No space left")
    send(namespace, [frame(each, 1400) for each in range(100)])
    text = tap.end()
    assert tap.process.returncode == 1
    assert number_of(text, "packets captured") == number_of(text, "rows binned") == 600
    assert number_of(text, "written") + number_of(text, "not written: write_failed") == 600
    assert number_of(text, "not written: write_failed") > 400
    assert "--write" in text.splitlines()[-1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is not here")
def test_data_that_cannot_be_written_ends_it_with_the_ledger(namespace: Namespace) -> None:
    tap = Running(namespace, "--out", "/dev/full", "--every", "0.1")
    tap.told("watching")
    send(namespace, [frame(each) for each in range(20)])
    text = tap.end(None)
    assert tap.process.returncode == 1
    assert number_of(text, "packets captured") == 20
    assert text.splitlines()[-1] == (
        "offramp: --out /dev/full: cannot write: No space left on device; what is there is not whole"
    )


def test_a_folder_gets_a_ring_of_files_that_are_its_users_alone(namespace: Namespace, own: Path) -> None:
    tap = Running(namespace, "--write", own, "--ring-files", "2", "--ring-size", "1")
    tap.told("watching")
    send(namespace, [frame(each, 1400) for each in range(4000)])
    text = tap.end()
    assert tap.process.returncode == 0, text
    assert number_of(text, "packets captured") + number_of(text, "dropped by kernel") == 4000
    files = sorted(own.glob("v1-*.pcapng"))
    assert len(files) == 2
    assert {(path.stat().st_mode & 0o777, path.owner()) for path in files} == {(0o600, own.owner())}
    assert all(path.stat().st_size <= 1_000_000 for path in files)


WRONG = {
    ("nosuch0",): "lo, v0, v1",
    ("v1", "--filter", "udp prot 5"): "--filter 'udp prot 5'",
    ("v1", "--write", "/proc/nothing/here.pcapng"): "--write",
    ("v1", "--out", "/proc/nothing/here"): "--out",
    ("v1", "--ring-size", "5"): "--write",
    ("v1", "--capture-backend", "nonsense"): "nonsense",
    ("v1", "--site", "/nonexistent.toml"): "nonexistent",
}


@pytest.mark.parametrize("arguments", sorted(WRONG), ids=" ".join)
def test_wrong_usage_is_exit_code_2(namespace: Namespace, arguments: tuple[str, ...]) -> None:
    done = namespace.start([*TAP, *arguments], cwd=ROOT)
    _, err = done.communicate(timeout=120)
    assert done.returncode == 2, err
    assert WRONG[arguments] in err
    assert "Traceback" not in err


@pytest.mark.parametrize("backend", ["ring", "pcapy", "scapy"])
def test_without_the_right_it_says_how_to_mend(namespace: Namespace, backend: str) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv, which takes the rights away, is not installed")
    before = NO_RIGHTS if os.geteuid() == 0 else []
    done = namespace.start([*before, *TAP, "v1", "--capture-backend", backend], cwd=ROOT)
    _, err = done.communicate(timeout=120)
    assert done.returncode == 2, err
    assert err.count("\n") == 1
    assert "sudo" in err
    assert "setcap" in err


def test_the_one_right_it_needs_is_enough(namespace: Namespace) -> None:
    """With CAP_NET_RAW and nothing else it captures."""
    if shutil.which("setpriv") is None or os.geteuid() != 0:
        pytest.skip("setpriv as root, which leaves one right, is not at hand")
    only = ["setpriv", "--bounding-set=-all,+net_raw"]
    tap = Running(namespace, "--count", "3", "--filter", "udp and not vlan", before=only)
    tap.told("watching")
    send(namespace, [frame(each) for each in range(3)])
    assert number_of(tap.end(None), "packets captured") == 3


def test_a_reader_that_goes_away_ends_it_quietly(namespace: Namespace) -> None:
    script = f"{' '.join(TAP)} v1 --site {SITE} --every 0.1 | head -1"
    both = namespace.start(["bash", "-o", "pipefail", "-c", script], cwd=ROOT)
    assert both.stderr is not None
    while "watching" not in both.stderr.readline():
        assert both.poll() is None
    for each in range(200):
        if both.poll() is not None:
            break
        send(namespace, [frame(each)] * 5)
        time.sleep(0.1)
    out, err = both.communicate(timeout=60)
    assert len(out.splitlines()) == 1
    assert "Traceback" not in err


LOADED_LATE = """
import atexit, sys
from offramp.cli import listen
before, become = set(), listen.become
listen.become = lambda user: (become(user), before.update(sys.modules))
atexit.register(lambda: print("late:", *sorted(set(sys.modules) - before), file=sys.__stderr__))
from offramp.cli.commands import main
sys.argv = ["offramp", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(
    "words",
    [
        ("tap", "v1", "--site", str(SITE)),
        ("tap", "v1", "--site", str(SITE), "--timeline"),
        ("tap", "v1", "--site", str(SITE), "--marks"),
        ("publish", "-i", "v1", "--kafka", "127.0.0.1:9", "--spool"),
    ],
)
def test_all_is_loaded_before_root_becomes_another_user(
    namespace: Namespace, own: Path, words: tuple[str, ...]
) -> None:
    """Who need not be let into the folder of the program's files."""
    (own / "marks").write_text('{"kind":"capacity","link":"uplink","up_bps":1e6,"down_bps":1e6}\n{}\n')
    places = {"--spool": "spool", "--timeline": "timeline.parquet", "--marks": "marks"}
    more = [str(own / places[words[-1]])] if words[-1] in places else []
    command = [sys.executable, "-c", LOADED_LATE, *words, *more, "--duration", "0.2"]
    process = namespace.start(command, cwd=ROOT)
    told = process.communicate(timeout=200)[1].splitlines()
    assert [line for line in told if line.startswith("late:")] == ["late:"], told
