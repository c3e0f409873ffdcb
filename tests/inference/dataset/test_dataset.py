"""The data set on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offramp.errors import ContractError
from offramp.inference.dataset.dataset import Dataset, LabelledSeries, open_dataset, save_dataset


def some_series(part: str = "train", rows: int = 5, source: str = "a@1#link") -> LabelledSeries:
    x = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    return LabelledSeries(x, x + 1, x[:, 0].copy(), source, source.split("@")[0], part, 7)


def saved(folder: Path, series: list[LabelledSeries]) -> Dataset:
    return save_dataset(folder, series, channels=("one", "two"), horizons_ms=(50, 500), bin_ms=10, extra={"spec": "s"})


def test_what_is_saved_is_opened(tmp_path: Path) -> None:
    written = [some_series(), some_series("test", 3, "b@2#link")]
    found = saved(tmp_path / "d", written)
    assert found.channels == ("one", "two")
    assert found.horizons_ms == (50, 500)
    assert found.manifest["spec"] == "s"
    for before, after in zip(written, found.series, strict=True):
        for name in ("x", "delay_ms", "now_ms"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
        assert (after.source, after.origin, after.part, after.time_ns) == (
            before.source, before.origin, before.part, before.time_ns,
        )  # fmt: skip
    assert [each.source for each in found.part("test")] == ["b@2#link"]


def test_the_fingerprint_follows_content_and_cut(tmp_path: Path) -> None:
    one = saved(tmp_path / "1", [some_series()])
    assert saved(tmp_path / "2", [some_series()]).fingerprint == one.fingerprint
    moved = replace(some_series(), now_ms=some_series().now_ms + 1)
    assert saved(tmp_path / "3", [moved]).fingerprint != one.fingerprint
    assert saved(tmp_path / "4", [some_series("test")]).fingerprint != one.fingerprint


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, [some_series()])
    data = bytearray((tmp_path / "x.npy").read_bytes())
    data[-1] ^= 1
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(ContractError, match=r"x\.npy: altered"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("change", [{"format": 2}, {"series": [{"part": "other"}]}, {"sha256": {}}])
def test_a_manifest_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    saved(tmp_path, [some_series()])
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ContractError):
        open_dataset(tmp_path)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="no data set"):
        open_dataset(tmp_path)
