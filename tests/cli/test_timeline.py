"""`--timeline` as its user meets it: of the sample, of a live link, at every end, and where it cannot be written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import offramp as front
from bench.namespace import Namespace
from bench.timeline_picture import draw
from tests.support.command_line import offramp
from tests.support.live import frame, send, until
from tests.support.places import DEMO, ROOT, SITE
from tests.support.tap_process import TAP, Running, number_of

MAX_PICTURE = 100_000


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The sample's timeline, with what the replay wrote and told."""
    path = tmp_path_factory.mktemp("timeline") / "timeline.parquet"
    done = offramp("replay", DEMO, "--site", SITE, "--format", "jsonl", "--timeline", path)
    assert done.returncode == 0, done.stderr
    return path, done.stdout, done.stderr


def test_the_sample_has_its_bins_and_commands_and_decides_as_without(sample: tuple[Path, str, str]) -> None:
    path, out, err = sample
    assert out == offramp("replay", DEMO, "--site", SITE, "--format", "jsonl").stdout
    table = pq.read_table(path)
    commands = table.filter(pc.equal(table["kind"], "command"))
    assert commands["command"].to_pylist() == out.splitlines()
    assert len(out.splitlines()) == 11
    assert number_of(err, "timeline rows") == table.num_rows == number_of(err, "bins of the link") + 11
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_the_table_and_python_give_the_same_rows(sample: tuple[Path, str, str], tmp_path: Path) -> None:
    table = pq.read_table(sample[0])
    assert offramp("replay", DEMO, "--site", SITE, "--timeline", tmp_path / "again.parquet").returncode == 0
    assert (tmp_path / "again.parquet").read_bytes() == sample[0].read_bytes()
    paced = offramp("replay", DEMO, "--site", SITE, "--pace", "40x", "--timeline", tmp_path / "paced.parquet")
    assert paced.returncode == 0, paced.stderr
    assert (tmp_path / "paced.parquet").read_bytes() == sample[0].read_bytes(), "in batches of 20 ms each"
    found = front.replay(DEMO, site=SITE)
    assert found.timeline_table().equals(table)
    bins = table.filter(pc.equal(table["kind"], "bin"))
    assert found.forecast_table().equals(bins.select(found.forecast_table().column_names))


def test_the_forecast_held_what_it_says(sample: tuple[Path, str, str]) -> None:
    frame = pq.read_table(sample[0]).to_pandas().dropna(subset="came_true_ms")
    assert (frame["came_true_ms"] <= frame["q99_ms"]).mean() > 0.95
    assert (frame["came_true_ms"] >= frame["queue_ms"].shift(-1)).iloc[:-1].mean() > 0.99


def test_the_example_of_the_page_runs(
    sample: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(sample[0].parent)
    example = re.search(r"```python\n(.*?)```", (ROOT / "docs/timeline.md").read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    names: dict[str, Any] = {}
    exec(example[1], names)  # noqa: S102 - our own page
    out = capsys.readouterr().out
    assert re.search(r"^9\d\.\d% of what came true", out, re.MULTILINE)
    assert (out.count("reroute"), len(names["bins"])) == (8, number_of(sample[2], "bins of the link"))


def test_the_picture_of_the_page_can_be_made_and_is_small(sample: tuple[Path, str, str], tmp_path: Path) -> None:
    draw(sample[0], tmp_path / "timeline.png", "uplink", 18, 33)
    assert 10_000 < (tmp_path / "timeline.png").stat().st_size < MAX_PICTURE
    assert (ROOT / "docs/timeline.png").stat().st_size < MAX_PICTURE


WRONG = {
    "timeline.csv": "the name must end in .parquet",
    "nowhere/timeline.parquet": "there is no folder",
    "folder.parquet": "is a folder",
}


@pytest.mark.parametrize("name", sorted(WRONG))
@pytest.mark.parametrize("command", [("replay", DEMO), ("tap", "lo")], ids=["replay", "tap"])
def test_a_wrong_place_is_a_line_before_anything_runs(command: tuple[str, str], name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.parquet").mkdir()
    done = offramp(*command, "--timeline", tmp_path / name)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert f"--timeline {tmp_path / name}" in done.stderr
    assert WRONG[name] in done.stderr


def test_a_folder_that_takes_no_file_is_a_line(tmp_path: Path) -> None:
    done = offramp("replay", DEMO, "--site", SITE, "--timeline", "/proc/timeline.parquet")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("offramp: --timeline /proc/timeline.parquet: ")
    assert done.stdout == ""


def test_an_interrupted_replay_leaves_what_it_has_read(tmp_path: Path) -> None:
    path = tmp_path / "timeline.parquet"
    process = subprocess.Popen(
        [sys.executable, "-m", "offramp", "replay", DEMO, "--site", SITE, "--pace", "2x", "--timeline", path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in told
    assert number_of(told, "timeline rows") == pq.read_table(path).num_rows > 100


def test_a_full_disk_does_not_end_a_replay(tmp_path: Path) -> None:
    path = tmp_path / "timeline.parquet"
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, -1)); "
    limited += "from offramp.cli.commands import main; main()"
    words = ["replay", str(DEMO), "--site", str(SITE), "--format", "jsonl", "--timeline", str(path)]
    done = subprocess.run(
        [sys.executable, "-c", limited, *words], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 11), done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == f"offramp: --timeline {path}: File too large; 0 rows are in it, 6,096 are not"
    assert number_of(done.stderr, "not written: write_failed") == 6_096
    assert pq.read_table(path).num_rows == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_tap_that_is_ended_leaves_the_file_that_a_replay_of_its_packets_writes(
    namespace: Namespace, own: Path, tmp_path: Path, number: int
) -> None:
    live, packets, replayed = own / "live.parquet", own / "packets.pcapng", tmp_path / "replayed.parquet"
    tap = Running(namespace, "--timeline", live, "--write", packets, "--filter", "udp", "--format", "jsonl")
    tap.told("watching")
    blast = "from bench.blast import Sender; "
    blast += "Sender('v0', 1000, flows=4, segments=1, network=bytes([10, 13])).send(1500, 1.5)"
    sender = namespace.start([sys.executable, "-c", blast], cwd=ROOT)
    assert sender.communicate(timeout=60)[1] == ""
    until(lambda: tap.out or tap.process.poll() is not None)  # a command: bins are closed and decided
    text = tap.end(number)
    assert tap.process.returncode == 0, text
    assert number_of(text, "shed") == number_of(text, "dropped by kernel") == 0
    done = offramp("replay", packets, "--site", SITE, "--format", "jsonl", "--timeline", replayed)
    assert done.returncode == 0, done.stderr
    assert number_of(text, "timeline rows") == pq.read_table(live).num_rows > 100
    assert tap.out == done.stdout.splitlines(keepends=True)
    assert live.read_bytes() == replayed.read_bytes()
    assert (live.stat().st_mode & 0o777, live.owner()) == (0o600, own.owner())
    assert sorted(each.name for each in own.iterdir()) == ["live.parquet", "packets.pcapng"]


def test_a_full_disk_does_not_end_a_tap(namespace: Namespace, own: Path) -> None:
    script = f'mount -t tmpfs -o size=64k,mode=777 tmpfs {own} && exec "$@"; '
    probe = ["unshare", "-m", "sh", "-c", script, "-"]
    if subprocess.run([*probe, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    tap = Running(namespace, "--timeline", own / "live.parquet", before=probe)
    tap.told("watching")
    send(namespace, [frame(each) for each in range(321)])
    until(lambda: any("uplink" in line for line in tap.out))
    text = tap.end()
    assert tap.process.returncode == 1
    assert number_of(text, "rows binned") == 321
    assert number_of(text, "not written: write_failed") > 0
    assert "No space left on device" in text.splitlines()[-1]
    assert "Traceback" not in text


def test_a_folder_that_is_not_the_users_is_told_before_a_packet(namespace: Namespace, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root becomes another user")
    tmp_path.chmod(0o755)
    words = [*TAP, "v1", "--user", "nobody", "--timeline", str(tmp_path / "x.parquet")]
    process = namespace.start(words, cwd=ROOT)
    err = process.communicate(timeout=120)[1]
    assert (process.returncode, err.count("\n")) == (2, 1), err
    assert "user nobody, which this becomes once the socket is open, may not write there" in err


def test_rows_are_numbers_that_a_reader_of_another_kind_can_take(sample: tuple[Path, str, str]) -> None:
    """Read without the Arrow schema that pyarrow keeps beside Parquet's own."""
    file = pq.ParquetFile(sample[0])
    kinds = {file.schema.column(at).name: file.schema.column(at) for at in range(len(file.schema))}
    assert kinds["time"].logical_type.to_json().count("nanoseconds")
    assert kinds["kind"].logical_type.type == kinds["command"].logical_type.type == "STRING"
    assert np.isfinite(pq.read_table(sample[0])["queue_ms"].drop_null().to_numpy()).all()
