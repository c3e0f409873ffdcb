"""What a full disk, a closed stream and a reader that leaves do to a command: one line or none, and the right code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from offramp.errors import OfframpError
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact, save_artifact
from offramp.inference.dataset.dataset import LabelledSeries, save_dataset
from offramp.stream.refine.events import RefineEvents
from tests.support.disks import SmallFiles
from tests.support.places import ROOT

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is not here")
REPLAY = "replay samples/demo.pcap.zst --site samples/site.toml"
SPACE = "No space left on device"


def shell(words: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which `offramp` is the command; pipes tell of the first failure."""
    line = f'set -o pipefail; offramp() {{ "{sys.executable}" -m offramp "$@"; }}; {words}'
    environment = {**os.environ, "TZ": "UTC"}
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=300
    )


@FULL
@pytest.mark.parametrize(
    "words",
    [
        f"offramp {REPLAY} --format jsonl --out /dev/full",
        f"offramp {REPLAY} --out /dev/full",
        f"offramp {REPLAY} --format jsonl > /dev/full",
        f"offramp {REPLAY} > /dev/full",
        "offramp --help > /dev/full",
        "offramp replay --help > /dev/full",
        "offramp doctor > /dev/full",
        "ln -s /dev/full {folder}/x.csv && offramp features samples/demo.pcap.zst -o {folder}/x.csv",
        "ln -s /dev/full {folder}/x.parquet && offramp features samples/demo.pcap.zst -o {folder}/x.parquet",
        "ln -s /dev/full {folder}/x.csv && "
        "offramp features samples/demo.pcap.zst --layout edge-iiotset -o {folder}/x.csv",
    ],
)
def test_a_full_disk_is_one_line(words: str, tmp_path: Path) -> None:
    done = shell(words.replace("{folder}", str(tmp_path)))
    assert done.returncode == 1
    assert SPACE in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("offramp: ")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@FULL
@pytest.mark.parametrize("log", ["2>/dev/full", "2>&-", "2>&- 0<&-"])
def test_a_log_that_takes_nothing_costs_no_data(log: str, tmp_path: Path) -> None:
    """With standard error closed the next file that is opened must not be taken for it."""
    plain = shell(f"offramp {REPLAY} --format jsonl")
    assert len(plain.stdout.splitlines()) > 5
    for where in ("", f"--out {tmp_path / 'out.jsonl'}"):
        done = shell(f"offramp {REPLAY} --format jsonl {where} {log}")
        assert done.returncode == 0
        assert (done.stdout if not where else (tmp_path / "out.jsonl").read_text()) == plain.stdout


def test_a_closed_output_is_one_line() -> None:
    done = shell(f"offramp {REPLAY} >&-")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("offramp: standard output is closed")


def test_with_a_closed_output_no_file_gets_what_is_printed(tmp_path: Path) -> None:
    code = (
        "import os, sys; from offramp.streams import standard_streams\n"
        "with standard_streams(), open(sys.argv[1], 'w') as file: os.write(1, b'of a library'); file.write('data')"
    )
    done = shell(f"'{sys.executable}' -c \"{code}\" {tmp_path / 'file'} >&-")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "file").read_text() == "data"


@pytest.mark.parametrize("words", [f"{REPLAY} --format jsonl", REPLAY, "doctor", "--help"])
def test_a_reader_that_has_seen_enough_is_no_error(words: str) -> None:
    done = shell(f"offramp {words} | head -1")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_model_and_a_data_set_that_do_not_fit_are_one_line(tmp_path: Path, small_files: SmallFiles) -> None:
    artifact = load_artifact(DEFAULT_ARTIFACT)
    meta = {key: value for key, value in artifact.manifest.items() if key not in ("format", "sha256")}
    small_files.allow(2_000)
    with pytest.raises(OfframpError, match=str(tmp_path / "model")):
        save_artifact(tmp_path / "model", artifact.weights, artifact.normaliser, meta)
    with pytest.raises(OfframpError, match="/proc/nowhere"):
        save_artifact(Path("/proc/nowhere"), artifact.weights, artifact.normaliser, meta)
    zeros = np.zeros((5_000, 1), np.float32)
    series = [LabelledSeries(zeros, zeros, zeros[:, 0], "made@link", "made", "train", 0)]
    with pytest.raises(OfframpError, match=str(tmp_path / "data")):
        save_dataset(tmp_path / "data", series, channels=("a",), horizons_ms=(500,), bin_ms=10)


def test_events_that_do_not_fit_are_counted_and_leave_no_torn_line(
    tmp_path: Path, small_files: SmallFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    events = RefineEvents(tmp_path, "here", "uplink", quiet=True)
    events.record("refused", 1, {"reason": "first"})
    size = (tmp_path / "events.jsonl").stat().st_size
    small_files.allow(size + 20)
    for number in range(3):
        events.record("refused", number, {"reason": "does not fit"})
    small_files.allow(None)
    events.record("refused", 9, {"reason": "last"})
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [line.count('"first"') + 2 * line.count('"last"') for line in lines] == [1, 2]
    assert events.unwritten == 3
    assert any("not written" in line for line in events.lines())
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("megabytes", [400, 620, 700, 950])
@pytest.mark.parametrize("words", [REPLAY, "doctor"])
def test_too_little_address_space_is_one_line(words: str, megabytes: int) -> None:
    """The libraries of arrays crash there, or wait for a thread that cannot begin."""
    done = shell(f"ulimit -v {megabytes * 1024}; offramp {words}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("offramp: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("megabytes", [1_000, 1_200])
def test_with_some_more_it_runs_or_says_what_it_lacks(megabytes: int) -> None:
    done = shell(f"ulimit -v {megabytes * 1024}; offramp {REPLAY} --format jsonl")
    assert done.returncode == 0 or done.stderr.splitlines()[-1].startswith("offramp: not enough memory")
    assert "Traceback" not in done.stderr
