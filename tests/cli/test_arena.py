"""`offramp arena`: its table, its JSON lines, and wrong use in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from offramp.decision.policies.table import POLICIES
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


def test_of_one_s_own_site_only_the_first_link_plays(tmp_path: Path) -> None:
    path = '[[links.paths]]\nname = "lte"\ncapacity = "{} Mbit/s"\n'
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
