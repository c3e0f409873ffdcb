"""`offramp arena`: its table, its JSON lines, and wrong use in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from offramp.decision.policies.table import POLICIES
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_backend
from offramp.stream.arena.episode import Model, play
from offramp.stream.arena.scenario import load_scenario
from tests.support.places import ROOT

JOBS = str(ROOT / "samples/arena/jobs.toml")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "offramp", "arena", *words], capture_output=True, text=True, check=False, cwd=ROOT
    )


def test_the_policies_are_named() -> None:
    found = run("--list")
    assert found.returncode == 0
    assert [line.split()[0] for line in found.stdout.splitlines()] == [*POLICIES, "clairvoyant"]


def test_a_table_and_the_same_as_json() -> None:
    words = (JOBS, "--policy", "none", "--policy", "threshold", "--seeds", "2")
    table, lines = run(*words), run(*words, "--json", "--latency", "40", "--tune", "3")
    assert table.returncode == lines.returncode == 0, table.stderr + lines.stderr
    assert [line.split()[0] for line in table.stdout.splitlines()[-3:]] == ["policy", "none", "threshold"]
    rows = [json.loads(line) for line in lines.stdout.splitlines()]
    assert [row["policy"] for row in rows] == ["none", "threshold"]
    assert [row["against"] for row in rows] == ["none", "none"]
    assert rows[0]["difference_ms"] == [0, 0, 0]
    assert all(row["command_ms"] == 40 and row["seeds"] == 2 for row in rows)
    assert all(row["low_ms"] <= row["mean_ms"] <= row["high_ms"] for row in rows)


def test_tuned_policies_stand_beside_what_they_are_as_set_and_the_tuned_threshold() -> None:
    words = (JOBS, "--policy", "none", "--policy", "threshold", "--seeds", "1", "--tune", "3")
    table, lines = run(*words), run(*words, "--json")
    rows = [json.loads(line) for line in lines.stdout.splitlines()]
    assert [len(row["trials"]) for row in rows] == [1, 3]
    assert rows[1]["ratio_to_threshold"] == [1, 1, 1]
    tuned = table.stdout.partition("as set : threshold")[2]
    for row in rows:
        assert f"{row['as_set']['mean_ms']:.2f} (" in tuned
        assert f"{row['ratio_to_threshold'][0]:.2f} (" in tuned
    assert [line.split()[0] for line in tuned.splitlines() if line.strip()][:2] == ["none", "threshold"]


def test_classes_have_rows_and_few_blocks_are_marked(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    text = Path(JOBS).read_text()
    path.write_text(text.replace('model = "jobs"', 'model = "jobs"\nclass = "batch"'))
    few = run(str(path), "--policy", "none", "--seeds", "2", "--classes")
    lines = few.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == ["sensors", "batch"]
    assert all("*" in line for line in lines if line.startswith(("none ", "  ")) and "(" in line)
    assert "12 blocks of 5 s, fewer than 30" in few.stderr
    many = run(str(path), "--policy", "none", "--seeds", "5")
    assert "*" not in many.stdout
    assert "fewer" not in many.stderr


def test_a_capture_is_one_episode() -> None:
    found = run(str(ROOT / "samples/arena/lab.toml"), "--policy", "none", "--json")
    assert json.loads(found.stdout)["seeds"] == 1, found.stderr


def test_one_s_own_capture_and_site(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('name = "mine"\n' + (ROOT / "samples/site.toml").read_text().partition("\n")[2].partition("\n")[2])
    words = ("--capture", str(ROOT / "samples/demo.pcap.zst"), "--site", str(site), "--policy", "none", "--json")
    rows = [json.loads(line) for line in run(*words, "--policy", "threshold").stdout.splitlines()]
    assert [row["scenario"] for row in rows] == ["demo.pcap.zst"] * 2
    assert rows[1]["mean_ms"] < rows[0]["mean_ms"]
    assert rows[1]["difference_ms"][2] < 0


def test_a_report_of_one_s_own_capture(tmp_path: Path) -> None:
    out = tmp_path / "new" / "report"
    words = ("--capture", str(ROOT / "samples/demo.pcap.zst"), "--site", str(ROOT / "samples/site.toml"))
    found = run(*words, "--policy", "none", "--policy", "threshold", "--report", str(out))
    assert found.returncode == 0, found.stderr
    html = (out / "report.html").read_text()
    assert "demo.pcap.zst" in html
    assert "offramp arena --capture" in html
    rows = json.loads((out / "results.json").read_text())
    assert [row["policy"] for row in rows] == ["none", "threshold"]
    assert f"{rows[1]['mean_ms']:.2f} (" in html
    assert str(out / "report.html") in found.stderr


def test_the_first_episode_of_a_policy_that_forecasts_is_a_timeline(tmp_path: Path) -> None:
    path = tmp_path / "short.toml"
    text = (ROOT / "samples/arena/onoff.toml").read_text()
    path.write_text(text.replace("seconds = 30", "seconds = 8").replace('name = "onoff"', 'name = "a/b"'))
    found = run(
        str(path), "--policy", "none", "--policy", "shipped", "--seeds", "2", "--timeline", str(tmp_path / "out")
    )
    assert found.returncode == 0, found.stderr
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["a-b-shipped.parquet"]
    rows = pq.read_table(tmp_path / "out" / "a-b-shipped.parquet").to_pylist()
    artifact = load_artifact(DEFAULT_ARTIFACT)
    played = play(load_scenario(path), 1, "shipped", model=Model(artifact, open_backend("compiled", artifact)))
    assert [json.loads(row["command"]) for row in rows if row["kind"] == "command"] == [
        json.loads(command.to_json()) for command in played.commands
    ]
    bins = [row for row in rows if row["kind"] == "bin"]
    assert 700 < len(bins) <= 801
    assert all(row["q50_ms"] is not None for row in bins)


def test_a_report_that_cannot_be_written_is_told_before_anything_is_played(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = run(JOBS, "--policy", "none", "--report", str(tmp_path / "file"))
    assert found.returncode == 1
    assert "cannot write" in found.stderr
    assert found.stdout == ""


def test_of_one_s_own_site_only_the_first_link_plays(tmp_path: Path) -> None:
    path = '[[links.paths]]\nname = "lte"\ncapacity = "6 Mbit/s"\ndelay_ms = {}\n'
    link = '[[links]]\nname = "{}"\ncapacity = "8 Mbit/s"\ndevices = ["10.0.0.0/24"]\n'
    site = tmp_path / "site.toml"
    site.write_text(link.format("one") + path.format(6) + link.format("two") + path.format(50))
    words = ("--capture", str(ROOT / "samples/demo.pcap.zst"), "--site", str(site), "--policy", "none", "--json")
    assert json.loads(run(*words).stdout)["seeds"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "expected a scenario"),
        (("--capture", str(ROOT / "samples/demo.pcap.zst")), "needs --site"),
        (("--capture", "none.pcap", "--site", str(ROOT / "samples/site.toml")), "none.pcap"),
        ((JOBS, "--policy", "best"), "--policy best: expected one of none, static"),
        ((JOBS, "--untuned", "best"), "--untuned best: expected one of none, static"),
        (("missing.toml",), "missing.toml"),
        ((str(ROOT / "samples/arena/xr.toml"), "--policy", "none"), "needs the option --root"),
        ((str(ROOT / "samples/arena/lab.toml"), "--policy", "none", "--tune", "3"), "the same for all seeds"),
        ((str(ROOT / "samples/site.toml"), "--policy", "none"), "samples/site.toml"),
    ],
)
def test_wrong_use_is_one_line(words: tuple[str, ...], said: str) -> None:
    found = run(*words)
    assert found.returncode == 2
    assert said in found.stderr
    assert len([line for line in found.stderr.splitlines() if line.startswith("offramp: ")]) == 1, found.stderr
    assert "Traceback" not in found.stderr


def test_an_empty_folder_has_no_scenario(tmp_path: Path) -> None:
    assert run(str(tmp_path)).returncode == 2
