"""Building a data set: repeatable, in parts that share nothing, from arrivals whose copies are found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from offramp.cli.learning.dataset import BuildOptions, build
from offramp.errors import ConfigError, InputError
from offramp.inference.dataset.dataset import Dataset, LabelledSeries, open_dataset
from offramp.stream.channels import BIN_NS, CHANNELS, WINDOW_BINS
from offramp.stream.datasets.arrivals import source_files
from offramp.stream.datasets.build import build_series
from offramp.stream.datasets.spec import DatasetSpec, load_spec
from tests.support.captures import ETHERNET, RAW, SLL, conversation, random_times, write

HORIZONS = (50, 200, 500)
SPEC = """
horizons_ms = [50, 200, 500]

[[sources]]
name = "made"
type = "synthetic"
count = 5
seconds = 8
devices = 1
split = { by = "origin" }

[[sources]]
name = "long"
type = "captures"
files = ["long.pcap"]
networks = ["10.0.0.0/24"]
devices = 1
split = { by = "time", train = 0.5, validation = 0.2, test = 0.3 }

[[sources.capacity]]
loads = [0.6, 1.2]

[[sources.capacity]]
trace = "$ROOT/cell.up"
loads = [0.8]
parts = ["test"]

[[sources]]
name = "times"
type = "packet_times"
files = ["*.txt"]
part = "test"

[[sources.capacity]]
rate = "5 Mbit/s"
buffer_bytes = 60000
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A specification with what it names: a capture of a minute, packet times, and a cellular trace."""
    out = tmp_path_factory.mktemp("dataset")
    rng = np.random.default_rng(2)
    few = conversation(rng, 300)
    write(out / "long.pcap", [few[i] for i in rng.integers(0, 300, 8_000)], random_times(rng, 8_000))
    times = np.sort(rng.uniform(0, 5, 4_000))
    np.savetxt(out / "xr.txt", np.column_stack([times, rng.integers(200, 1_500, 4_000)]), fmt=["%.6f", "%d"])
    (out / "cell.up").write_text("\n".join(str(ms) for ms in np.sort(rng.integers(1, 3_000, 900))) + "\n")
    (out / "spec.toml").write_text(SPEC)
    return out


@pytest.fixture(scope="module")
def built(folder: Path) -> Dataset:
    build(BuildOptions(spec=folder / "spec.toml", out=folder / "built", root=folder))
    return open_dataset(folder / "built")


def test_the_same_specification_gives_the_same_bytes_anywhere(
    folder: Path, built: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("spec.toml", "long.pcap", "xr.txt", "cell.up"):
        shutil.copy(folder / name, tmp_path / name)
    build(BuildOptions(spec=tmp_path / "spec.toml", out=tmp_path / "again", root=tmp_path))
    again = open_dataset(tmp_path / "again")
    assert again.fingerprint == built.fingerprint
    assert again.manifest == built.manifest
    assert again.fingerprint[:16] in capsys.readouterr().err
    spec = tmp_path / "spec.toml"
    spec.write_text("seed = 2\n" + spec.read_text())
    build(BuildOptions(spec=spec, out=tmp_path / "other", root=tmp_path))
    assert open_dataset(tmp_path / "other").fingerprint != built.fingerprint


def test_no_origin_is_in_two_parts_and_all_parts_are_there(built: Dataset) -> None:
    parts: dict[str, set[str]] = {}
    for series in built.series:
        parts.setdefault(series.origin, set()).add(series.part)
        assert series.source.startswith(series.origin + "@")
    assert all(len(found) == 1 for found in parts.values())
    assert {part for found in parts.values() for part in found} == {"train", "validation", "test"}
    assert set(built.manifest["origins"]) == set(parts)
    assert sum(origin.startswith("made/") for origin in parts) == 5
    assert {s.part for s in built.series if "cell.up" in s.source} == {"test"}


def test_no_window_and_horizon_of_a_part_overlaps_another_of_the_same_recording(built: Dataset) -> None:
    reach: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for series in built.series:
        recording = series.origin.split(":")[0]
        begin = series.time_ns - WINDOW_BINS * BIN_NS
        end = series.time_ns + (len(series.x) - 1) * BIN_NS + max(HORIZONS) * 1_000_000
        reach.setdefault((recording, series.part), []).append((begin, end))
    split = [key for key in reach if key[0] == "long/long.pcap"]
    assert len(split) == 3
    for first in split:
        for second in split:
            if first != second:
                assert not any(a < d and c < b for a, b in reach[first] for c, d in reach[second])


def test_delays_within_the_horizon_are_those_that_come(built: Dataset) -> None:
    for series in built.series:
        for column, horizon in enumerate(HORIZONS):
            count = horizon // 10
            for at in range(0, len(series.x) - count, 97):
                assert series.delay_ms[at, column] == series.now_ms[at + 1 : at + 1 + count].max()
        assert not np.isnan(series.x[:, [CHANNELS.index("load_up"), CHANNELS.index("size_up")]]).any()


def test_terciles_cut_the_training_part_in_thirds(built: Dataset) -> None:
    delay = np.concatenate([series.delay_ms[:, 2] for series in built.part("train")])
    low, high = built.manifest["terciles_ms"]["500"]
    known = delay[~np.isnan(delay)]
    assert np.mean(known < low) == pytest.approx(1 / 3, abs=0.02)
    assert np.mean(known >= high) == pytest.approx(1 / 3, abs=0.02)


def captures(folder: Path, parts: tuple[str, str], same_source: bool = False) -> DatasetSpec:
    """A specification of a capture and its copy, in the parts given or in one source split by origin."""
    rng = np.random.default_rng(9)
    packets, times = conversation(rng, 900), random_times(rng, 900)
    write(folder / "a.pcap", packets, times)
    write(folder / "b.pcap", packets[:600], times[:600] + 1e6, RAW)
    write(folder / "c.pcap", conversation(rng, 900), times)
    if same_source:
        found = [("s", '["*.pcap"]', 'split = { by = "origin", train = 0.5, validation = 0.0, test = 0.5 }')]
    else:
        found = [(n, f'["{n}.pcap"]', f'part = "{part}"') for n, part in zip("ab", parts, strict=True)]
    text = "horizons_ms = [50]\n" + "".join(
        f'[[sources]]\nname = "{name}"\ntype = "captures"\nfiles = {files}\n{part}\n'
        "[[sources.capacity]]\nloads = [1.0]\n"
        for name, files, part in found
    )
    (folder / "copies.toml").write_text(text)
    return load_spec(folder / "copies.toml")


def test_a_copy_in_another_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"b/b\.pcap and a/a\.pcap have 100% .* exclude one"):
        build_series(captures(tmp_path, ("train", "test")), tmp_path)


def test_a_copy_in_the_same_part_or_source_is_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    together = build_series(captures(tmp_path, ("train", "train")), tmp_path)
    assert {series.origin for series in together.series} == {"a/a.pcap"}
    assert together.manifest["copies"] == [{"copy": "b/b.pcap", "of": "a/a.pcap", "share": 1.0}]
    assert "b/b.pcap is left out: 100%" in capsys.readouterr().err
    dealt = build_series(captures(tmp_path, ("", ""), same_source=True), tmp_path)
    assert {series.origin for series in dealt.series} == {"s/a.pcap", "s/c.pcap"}
    assert {series.part for series in dealt.series} == {"train", "test"}


@pytest.mark.parametrize("change", ["addresses", "link type", "raw", "date"])
def test_what_must_not_tell_a_label_is_not_in_the_channels(tmp_path: Path, change: str) -> None:
    """Addresses, link type, the date and how missing values are written: known shortcuts in public data sets."""
    times = random_times(np.random.default_rng(6), 900)
    plain = conversation(np.random.default_rng(5), 900)
    moved = conversation(np.random.default_rng(5), 900, near="172.20.1.9", far="198.51.100.4")
    write(tmp_path / "c.pcap", plain, times)
    first = _channels(tmp_path, "10.0.0.0/8")
    write(tmp_path / "c.pcap", moved if change == "addresses" else plain,
          times + (86_400 * 33 if change == "date" else 0),
          {"link type": SLL, "raw": RAW}.get(change, ETHERNET))  # fmt: skip
    second = _channels(tmp_path, "172.20.0.0/16" if change == "addresses" else "10.0.0.0/8")
    assert len(first) == len(second) == 2
    for a, b in zip(first, second, strict=True):
        for name in ("x", "delay_ms", "now_ms", "rtt_ms"):
            assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name
        missing = {CHANNELS[i] for i in np.flatnonzero(np.isnan(a.x).any(axis=0))}
        assert missing <= {"rtt"}, "nothing else may be missing, so that no way of missing tells a source"


def _channels(folder: Path, network: str) -> list[LabelledSeries]:
    text = f"""horizons_ms = [50]
    [[sources]]
    name = "c"
    type = "captures"
    files = ["c.pcap"]
    networks = ["{network}"]
    devices = 1
    part = "train"
    [[sources.capacity]]
    loads = [1.1]
    """
    (folder / "c.toml").write_text(text)
    return build_series(load_spec(folder / "c.toml"), folder).series


def test_missing_files_and_short_captures_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "s.toml"
    head = '[[sources]]\nname = "s"\ntype = "captures"\npart = "train"\nfiles = ["{}"]\n{}\n'
    head += "[[sources.capacity]]\nloads = [1]"
    spec.write_text(head.format("none.pcap", ""))
    with pytest.raises(InputError, match=r"source s: .*none\.pcap: no such file"):
        build_series(load_spec(spec), tmp_path)
    spec.write_text(head.format("none.pcap", "optional = true"))
    with pytest.raises(InputError, match="no series of 64 bins"):
        build_series(load_spec(spec), tmp_path)
    assert "source s is left out" in capsys.readouterr().err
    spec.write_text(head.format("$ROOT/none.pcap", ""))
    with pytest.raises(ConfigError, match="needs the option --root"):
        build_series(load_spec(spec), tmp_path)
    (tmp_path / "t.txt").write_text("0.1 nine\n")
    spec.write_text(head.format("t.txt", "").replace("captures", "packet_times"))
    with pytest.raises(InputError, match="packet trace"):
        build_series(load_spec(spec), tmp_path)


def test_a_damaged_capture_is_read_as_far_as_it_goes_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "c.pcap", conversation(np.random.default_rng(5), 900), random_times(np.random.default_rng(6), 900))
    whole = (tmp_path / "c.pcap").read_bytes()
    (tmp_path / "c.pcap").write_bytes(whole[: len(whole) * 2 // 3])
    assert _channels(tmp_path, "10.0.0.0/8")
    assert "c/c.pcap: the capture ends in the middle of a packet at packet" in capsys.readouterr().err
    (tmp_path / "c.pcap").write_bytes(b"no capture at all, but text")
    with pytest.raises(InputError, match=r"c/c\.pcap .*leave it out with exclude"):
        _channels(tmp_path, "10.0.0.0/8")


def test_files_of_one_name_stay_apart_and_names_are_free_of_marks(tmp_path: Path) -> None:
    for number, folder in enumerate(("one", "two")):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "a@b#c.pcap", conversation(np.random.default_rng(number), 400),
              random_times(np.random.default_rng(number), 400))  # fmt: skip
    files = json.dumps([str(tmp_path / folder / "*.pcap") for folder in ("one", "two")])
    (tmp_path / "s.toml").write_text(
        f'[[sources]]\nname = "s"\ntype = "captures"\nfiles = {files}\npart = "train"\n'
        "[[sources.capacity]]\nloads = [1]\n"
    )
    names = [name for name, _ in source_files(load_spec(tmp_path / "s.toml").sources[0], Path("nowhere"), None)]
    assert len(set(names)) == 2
    assert all(name.endswith("/a_b_c.pcap") or name == "s/a_b_c.pcap" for name in names)
