"""`offramp explain` as its user meets it: commands of the sample, in sentences and as JSON, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

from offramp.capture.sources.file.files import open_captures
from tests.support.command_line import offramp
from tests.support.commands import example
from tests.support.explained import DEMO, commands_file, demo_commands


def first(policy: str) -> str:
    """The id of the first command of the sample."""
    return str(json.loads(demo_commands(policy)[0])["decision_id"])


def test_a_command_of_the_shipped_policy_is_told(tmp_path: Path) -> None:
    path = commands_file(tmp_path, "shipped")
    done = offramp("explain", first("shipped")[:6], path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for words in (
        f"{first('shipped')}: onset on link uplink at 2026-11-24 02:55:04.780 UTC\n",
        "1 flow is to go over path wireless:\n    TCP 10.13.0.12:36473 > 10.13.1.2:5201\n",
        "Rule: delay q50 232.6 ms > budget 25 ms, P(High) 1.00.\n",
        "decided by that.\n",
        "2 updates that renew it, the last until 02:55:24.780\n",
        "(+11.7 s): abated, all goes back;",
        "\n  frame.time_epoch >= 1795488904.140000000 && frame.time_epoch < 1795488904.780000000 && (ip.src == ",
    ):
        assert words in done.stdout
    assert "Not moved" not in done.stdout
    assert all(len(line) <= 112 for line in done.stdout.splitlines() if "frame.time" not in line)


def test_a_command_of_the_optimiser_tells_loads_and_candidates(tmp_path: Path) -> None:
    """Whatever it is tuned to: the first onset and the first clear of the sample."""
    bodies = [json.loads(line) for line in demo_commands("optimiser-reactive")]
    path = commands_file(tmp_path, "optimiser-reactive")
    for phase in ("onset", "abated"):
        body = next(each for each in bodies if each["phase"] == phase)
        done = offramp("explain", body["decision_id"], path)
        assert done.returncode == 0, done.stderr
        for words in ("  Up: before this command's changes, a load of", "  Down: a load of", "supposed network",
                      "did not look at that: it decides by the queues of now", "\nMoved\n", "\nNot moved\n",
                      "no better there", "is to be undone:" if phase == "abated" else "that saves",
                      ):  # fmt: skip
            assert words in done.stdout


def test_frames_are_named_and_written(tmp_path: Path) -> None:
    path, out = commands_file(tmp_path, "optimiser-reactive"), tmp_path / "behind.pcapng"
    words = ("explain", first("optimiser-reactive"), path, "--capture", DEMO)
    done = offramp(*words, "--pcap", out)
    assert done.returncode == 0, done.stderr
    written = sum(len(block) for block in open_captures([str(out)]).read())
    assert f"written to {out}" in done.stdout
    as_json = offramp(*words, "--json")
    told = json.loads(as_json.stdout)
    assert told["command"]["decision_id"] == first("optimiser-reactive")
    bodies = [json.loads(line) for line in demo_commands("optimiser-reactive")]
    assert told["loop"] == [each for each in bodies if each["loop_id"] == told["command"]["loop_id"]]
    (frames,) = told["frames"]
    assert (frames["file"], frames["packets"]) == (str(DEMO), written)
    assert written > 10
    assert f"frames {frames['first']} to {frames['last']}, {written} packets" in done.stdout
    assert told["filter"] in done.stdout
    assert {each["title"] for each in told["told"]} >= {"What", "Why", "Moved", "Not moved", "Forecast", "Data", "Loop"}


def test_what_goes_wrong_is_one_line(tmp_path: Path) -> None:
    path = commands_file(tmp_path, "shipped")
    bad, empty = tmp_path / "bad.jsonl", tmp_path / "empty.jsonl"
    bad.write_text(f"{demo_commands('shipped')[0]}\n\nno command\n")
    empty.write_text("\n")
    body = example()
    for number, members in enumerate(({"not_before": "2023-13-01T00:00:00Z"}, {"expires_at": "0000-01-01T00:00:00Z"})):
        (tmp_path / f"time{number}.jsonl").write_text(json.dumps(body | members))
    huge = {"match": body["action"]["flows"][0], "rate_bps": 10**400, "from": "a", "to": "b", "why": "on trial"}
    (tmp_path / "huge.jsonl").write_text(json.dumps(body | {"reason": body["reason"] | {"moved": [huge]}}))
    hostile = body | {"scope": "link:\x1b[2J"}
    (tmp_path / "hostile.jsonl").write_text(json.dumps(hostile))
    name = first("shipped")
    for arguments, words in (
        (("zz", path), "'zz': expected the id of a command or loop"),
        (("00000000", path), f"none of the 11 commands in {path} has an id"),
        (("9", path), "give more of the id"),
        ((name, empty), f"there is no command in {empty}"),
        ((name, bad), f"{bad}: line 3: is no JSON"),
        ((name, tmp_path / "gone.jsonl"), "gone.jsonl: No such file"),
        ((name, tmp_path), "Is a directory"),
        ((body["decision_id"], tmp_path / "time0.jsonl"), "cannot be told"),
        ((body["decision_id"], tmp_path / "time1.jsonl"), "cannot be told"),
        ((body["decision_id"], tmp_path / "huge.jsonl"), "cannot be told"),
        ((name, path, "--topic"), "leave one out"),
        ((name, "--topic", "--from", "soon"), "--from 'soon'"),
        ((name, "--topic"), "OFFRAMP_KAFKA"),
        ((name, path, "--pcap", tmp_path / "x.pcapng"), "--capture FILE"),
        ((name, path, "--capture", tmp_path / "gone.pcap"), "gone.pcap"),
        ((name, "--capture", "-"), "standard input has the commands"),
    ):
        done = offramp("explain", *arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert done.stderr.startswith("offramp: "), done.stderr
        assert done.stderr.count("\n") == 1
        assert words in done.stderr
        assert done.stdout == ""
    shown = offramp("explain", hostile["decision_id"], tmp_path / "hostile.jsonl")
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout
