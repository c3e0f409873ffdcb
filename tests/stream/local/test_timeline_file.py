"""The file of a timeline: the same bytes for the same rows, whole at any end, and a full disk ends nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.stream.local import timeline_file
from offramp.stream.local.timeline_file import FOOTER_BYTES, TimelineFile
from offramp.stream.pipeline.timeline import LinkTimeline
from offramp.stream.pipeline.timeline_table import timeline_table
from tests.support.disks import SmallFiles
from tests.support.fake_predictor import FakePredictor
from tests.support.timelines import HORIZON_MS, SCHEMA, lines_of, made_line


def write(path: Path, lines: Sequence[LinkTimeline]) -> tuple[TimelineFile, list[str]]:
    """Write timelines; return the file and what was told."""
    told: list[str] = []
    file = TimelineFile(path, SCHEMA, HORIZON_MS, told.append)
    for line in lines:
        file.update(line)
    file.close()
    file.close()
    return file, told


def random_lines(count: int, parts: int, links: Sequence[str] = ("uplink",), seed: int = 1) -> list[LinkTimeline]:
    """The same bins of each link whatever `parts`; as many parts of each, and the links' in an order of their own."""
    lines: list[LinkTimeline] = []
    for number, link in enumerate(links):
        queue = np.random.default_rng(number).gamma(1, 10, count)
        cuts = np.linspace(0, count, parts + 1).astype(int).tolist()
        lines += [made_line(range(a, b), queue[a:b], link=link) for a, b in pairwise(cuts)]
    order = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(links)), parts))
    waiting: list[Iterator[LinkTimeline]] = [iter(lines[at * parts : (at + 1) * parts]) for at in range(len(links))]
    return [next(waiting[at]) for at in order.tolist()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline_file, "GROUP_ROWS", 500)


def test_the_cut_into_batches_changes_no_byte(
    tmp_path: Path, busy_batch: pa.RecordBatch, normaliser_state: dict[str, NDArray[Any]], predictor: FakePredictor
) -> None:
    rng = np.random.default_rng(6)
    whole, _ = lines_of(predictor, normaliser_state, busy_batch)
    many = np.unique(rng.integers(1, busy_batch.num_rows, 1_500)).tolist()
    cut, _ = lines_of(predictor, normaliser_state, busy_batch, many)
    assert len(cut) > 10 * len(whole)
    write(tmp_path / "whole.parquet", whole)
    write(tmp_path / "cut.parquet", cut)
    assert (tmp_path / "whole.parquet").read_bytes() == (tmp_path / "cut.parquet").read_bytes()
    assert pq.read_table(tmp_path / "cut.parquet").equals(timeline_table(whole, SCHEMA, HORIZON_MS))


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("links", [("uplink",), ("b", "a", "c")])
def test_the_order_in_which_links_come_changes_no_byte(tmp_path: Path, links: Sequence[str]) -> None:
    found = []
    for number, parts in enumerate((1, 7, 400, 400)):
        lines = random_lines(4_000, parts, links, seed=number)
        file, told = write(tmp_path / "x.parquet", lines)
        assert (file.written, file.unwritten, file.failure, told) == (len(links) * 4_000, 0, "", [])
        found.append((tmp_path / "x.parquet").read_bytes())
        assert names(tmp_path) == ["x.parquet"]
    assert len(set(found)) == 1
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.equals(timeline_table(lines, SCHEMA, HORIZON_MS))
    assert table.schema.equals(SCHEMA, check_metadata=True)
    sizes = [pq.ParquetFile(tmp_path / "x.parquet").metadata.row_group(at).num_rows for at in range(8 * len(links))]
    assert set(sizes) == {500}


@pytest.mark.usefixtures("small_groups")
def test_what_waits_does_not_grow_with_the_run(tmp_path: Path) -> None:
    file = TimelineFile(tmp_path / "x.parquet", SCHEMA, HORIZON_MS, print)
    for line in random_lines(40_000, 4_000):
        file.update(line)
        part = file._parts["uplink"]
        assert sum(batch.num_rows for batch in part._known) < 500
        assert part._rows.waiting < 1_024 + 200
    assert file.written > 38_000
    file.close()


def test_a_run_without_packets_leaves_a_file_without_rows(tmp_path: Path) -> None:
    file, told = write(tmp_path / "none.parquet", [])
    assert pq.read_table(tmp_path / "none.parquet").num_rows == 0
    assert (file.lines(), told) == (["  timeline rows                  0"], [])


def test_a_file_that_was_there_is_replaced_when_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"old")
    (tmp_path / "x.parquet.part-1").write_bytes(b"of a run that was killed")
    file = TimelineFile(path, SCHEMA, HORIZON_MS, print)
    file.update(made_line(range(100), [1.0] * 100))
    assert path.read_bytes() == b"old"
    file.close()
    assert pq.read_table(path).num_rows == 100


def test_a_link_that_somebody_put_there_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"kept")
    (tmp_path / "x.parquet.part-1").symlink_to(tmp_path / "precious")
    write(tmp_path / "x.parquet", [made_line(range(100), [1.0] * 100)])
    assert (tmp_path / "precious").read_bytes() == b"kept"
    assert not (tmp_path / "x.parquet").is_symlink()


def test_a_place_where_no_file_can_be_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--timeline .*: name a file in a folder|File name too long"):
        TimelineFile(tmp_path / ("x" * 250 + ".parquet"), SCHEMA, HORIZON_MS, print)


@pytest.mark.usefixtures("small_groups")
def test_a_full_disk_leaves_what_it_took_whole_and_counts_the_rest(tmp_path: Path, small_files: SmallFiles) -> None:
    lines = random_lines(20_000, 200)
    allowed = FOOTER_BYTES + 500_000
    small_files.allow(allowed)
    file, told = write(tmp_path / "x.parquet", lines)
    small_files.allow(None)
    found = pq.read_table(tmp_path / "x.parquet")
    assert 0 < found.num_rows < 20_000
    assert (tmp_path / "x.parquet").stat().st_size < allowed
    assert (file.written, file.written + file.unwritten) == (found.num_rows, 20_000)
    assert found.equals(timeline_table(lines, SCHEMA, HORIZON_MS).slice(0, found.num_rows))
    place = f"--timeline {tmp_path / 'x.parquet'}: File too large"
    assert told == [f"{place}; no more is written to it, the run goes on"]
    assert file.failure == f"{place}; {file.written:,} rows are in it, {file.unwritten:,} are not"
    assert file.lines()[1] == f"    not written: write_failed {file.unwritten:>8,}"


@pytest.mark.usefixtures("small_groups")
def test_a_disk_that_keeps_no_room_and_is_full_leaves_no_file_that_cannot_be_read(
    tmp_path: Path, small_files: SmallFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", cannot)
    file, told = write(tmp_path / "fits.parquet", random_lines(2_000, 20))
    assert pq.read_table(tmp_path / "fits.parquet").num_rows == file.written == 2_000
    small_files.allow(100_000)
    file, told = write(tmp_path / "x.parquet", random_lines(20_000, 200))
    small_files.allow(None)
    assert names(tmp_path) == ["fits.parquet"]
    assert len(told) == 1
    assert (file.written, file.unwritten) == (0, 20_000)
    assert file.failure == f"--timeline {tmp_path}/x.parquet: File too large; there is no file"


def test_a_link_for_which_no_file_can_be_made_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "x.parquet.part-2").mkdir()
    file, told = write(tmp_path / "x.parquet", random_lines(3_000, 30, ("a", "b")))
    assert len(told) == 1
    assert (file.written, file.unwritten) == (3_000, 3_000)
    assert file.failure.endswith(f"; what could be written is in {tmp_path}/x.parquet.part-1")
    assert pq.read_table(tmp_path / "x.parquet.part-1").num_rows == 3_000


@pytest.mark.usefixtures("small_groups")
def test_links_that_cannot_be_put_together_stay_as_they_are(
    tmp_path: Path, small_files: SmallFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each link's file fits, that of both does not."""
    monkeypatch.setattr(timeline_file, "FOOTER_BYTES", 10_000)
    monkeypatch.setattr(timeline_file, "GROUP_FOOTER_BYTES", 2_500)
    lines = random_lines(20_000, 40, ("a", "b"))
    write(tmp_path / "x.parquet", [line for line in lines if line.link == "a"])
    small_files.allow(int(1.6 * (tmp_path / "x.parquet").stat().st_size))
    (tmp_path / "x.parquet").unlink()
    file, told = write(tmp_path / "x.parquet", lines)
    small_files.allow(None)
    assert told == []
    assert file.failure == (
        f"--timeline {tmp_path}/x.parquet: File too large; what could be written is in "
        f"{tmp_path}/x.parquet.part-1, {tmp_path}/x.parquet.part-2"
    )
    assert names(tmp_path) == ["x.parquet.part-1", "x.parquet.part-2"]
    both = [pq.read_table(tmp_path / f"x.parquet.part-{number}").num_rows for number in (1, 2)]
    assert both == [20_000, 20_000]
