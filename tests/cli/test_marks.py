"""`--marks` as its user meets it: of the sample, of a live link, and where its lines are wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import offramp as front
from bench.namespace import Namespace
from tests.support.command_line import offramp
from tests.support.live import until
from tests.support.places import DEMO, ROOT, SITE
from tests.support.tap_process import Running, no_rights, number_of

LINES = (
    '{"kind":"probe","path":"wireless","up":false,"time":"2026-11-24T02:55:05.775Z"}',
    "",
    '{"kind":"capacity","link":"uplink","up_bps":40000000,"down_bps":40000000,"time":"2026-11-24T02:55:20Z"}',
    '{"kind":"node","node":"edge-1","full":true,"time":"2026-11-24T02:58:00Z"}',
)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    path = tmp_path / "marks.jsonl"
    path.write_text("\n".join(LINES))
    return path


def test_a_replay_acts_on_marks_tells_them_and_python_does_the_same(marks: Path, tmp_path: Path) -> None:
    """The second move goes elsewhere, as the path is down by then; the second congestion is none at this capacity."""
    words = ("replay", DEMO, "--site", SITE, "--format", "jsonl")
    timeline = tmp_path / "timeline.parquet"
    without = offramp(*words)
    done = offramp(*words, "--marks", marks, "--timeline", timeline)
    assert done.returncode == 0, done.stderr
    assert (number_of(done.stderr, "marks acted on"), number_of(done.stderr, "not acted on")) == (2, 1)
    assert "marks" not in without.stderr
    commands, before = done.stdout.splitlines(), without.stdout.splitlines()
    assert commands[0] == before[0]
    onsets = [each for each in map(json.loads, commands) if each["phase"] == "onset"]
    assert [each["action"]["type"] for each in onsets] == ["reroute", "offload"]
    assert max(each["not_before"] for each in map(json.loads, commands)) < "2026-11-24T02:55:20Z"
    table = pq.read_table(timeline)
    rows = table.filter(pc.equal(table["kind"], "mark"))
    assert [json.loads(each) for each in rows["mark"].to_pylist()] == [json.loads(LINES[0]), json.loads(LINES[2])]
    assert [f"{each:%M:%S.%f}" for each in rows["time"].to_pylist()] == ["55:05.780000", "55:20.010000"]
    found = front.replay(DEMO, site=SITE, marks=marks)
    assert [each.to_json() for each in found.commands] == commands
    assert found.timeline_table().equals(table)
    assert found.warnings == [f"{marks}: 1 marks were not acted on: nothing was decided behind them"]


def test_the_table_shows_marks_where_they_count(marks: Path) -> None:
    done = offramp("replay", DEMO, "--site", SITE, "--marks", marks)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    shown = [at for at, line in enumerate(lines) if "● mark" in line]
    assert len(shown) == 2
    assert '"path":"wireless"' in lines[shown[0]]
    assert "▶ onset" in lines[shown[0] + 1], "decided at the same bin, behind it"


WRONG = {
    "link": '{"kind":"capacity","link":"uplonk","up_bps":1e6,"down_bps":1e6,"time":"2026-11-24T02:55:20Z"}',
    "time": '{"kind":"probe","path":"wireless","up":true}',
    "kind": '{"kind":"away","link":"uplink","time":"2026-11-24T02:55:20Z"}',
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_wrong_line_is_one_line_with_its_number(name: str, tmp_path: Path) -> None:
    path = tmp_path / "marks.jsonl"
    path.write_text(f"{LINES[0]}\n{WRONG[name]}\n")
    done = offramp("replay", DEMO, "--site", SITE, "--marks", path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith(f"offramp: {path}: line 2: {name}: expected ")
    assert "found" in done.stderr


@pytest.mark.parametrize("command", [("replay", DEMO), ("tap", "lo")], ids=["replay", "tap"])
def test_a_file_that_can_never_be_read_is_a_line(command: tuple[str, str], tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere" / "marks.jsonl"):
        done = offramp(*command, "--site", SITE, "--marks", path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert done.stderr.startswith(f"offramp: {path}: ")


def test_a_replay_without_its_file_is_a_line(tmp_path: Path) -> None:
    done = offramp("replay", DEMO, "--site", SITE, "--marks", tmp_path / "marks.jsonl")
    assert (done.returncode, done.stderr) == (2, f"offramp: {tmp_path / 'marks.jsonl'}: there is no such file\n")


def test_a_tap_follows_the_file_and_a_replay_with_what_it_did_decides_the_same(
    namespace: Namespace, own: Path, tmp_path: Path
) -> None:
    """The file comes when it runs; a flood is at first within a wide capacity, and then no longer."""
    live, packets, marks = own / "live.parquet", own / "packets.pcapng", own / "marks.jsonl"
    again, replayed = tmp_path / "again.jsonl", tmp_path / "replayed.parquet"
    words = ("--marks", marks, "--timeline", live, "--write", packets, "--filter", "udp", "--format", "jsonl")
    tap = Running(namespace, *words)
    tap.told("watching")
    no_rights(tap.process)
    wide, narrow = (f'{{"kind":"capacity","link":"uplink","up_bps":{bps},"down_bps":{bps}}}' for bps in (9e8, 4e6))
    marks.write_text(f'{wide}\n{{"kind":"probe","path":"wireless","up":false}}\nno mark\n{narrow[:20]}')
    tap.told("line 3: expected a JSON object of at most 10,000 bytes, found 'no mark'; it is passed over")
    blast = "from bench.blast import Sender; "
    blast += "Sender('v0', 1000, flows=4, segments=1, network=bytes([10, 13])).send(1500, 4)"
    sender = namespace.start([sys.executable, "-c", blast], cwd=ROOT)
    until(lambda: packets.exists() and packets.stat().st_size > 1_000_000)
    assert tap.out == []
    with marks.open("a") as file:
        file.write(f"{narrow[20:]}\n")
    assert sender.communicate(timeout=60)[1] == ""
    until(lambda: tap.out or tap.process.poll() is not None)
    text = tap.end()
    assert tap.process.returncode == 0, text
    assert text.count("passed over") == 1
    assert (number_of(text, "marks acted on"), number_of(text, "refused")) == (3, 1)
    commands = "".join(tap.out)
    assert commands
    assert "wireless" not in {json.loads(each)["action"].get("path") for each in tap.out}
    table = pq.read_table(live)
    rows = table.filter(pc.equal(table["kind"], "mark"))["mark"].to_pylist()
    assert [json.loads(each)["kind"] for each in rows] == ["probe", "capacity", "capacity"]
    again.write_text("\n".join(rows))
    told = ("--marks", again, "--timeline", replayed)
    done = offramp("replay", packets, "--site", SITE, "--format", "jsonl", *told)
    assert done.returncode == 0, done.stderr
    assert done.stdout == commands
    assert pq.read_table(replayed).equals(table)
