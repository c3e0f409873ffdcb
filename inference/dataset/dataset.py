"""The data set: labelled series of bins on disk, memory-mapped, in three parts that share no source.

A folder of `manifest.json` and one `.npy` file an array, all series one after the other:

    x         float32 [N, F]  channels before normalising, NaN where missing
    delay_ms  float32 [N, H]  largest queueing delay within each horizon after the bin, NaN where unknown
    now_ms    float32 [N]     largest queueing delay of the bin itself, known at its end
    rtt_ms    float32 [N, H]  largest round-trip time seen within each horizon, NaN where none was

A row is a bin; the window that ends with it are the rows before it in its series. The manifest has the format's
version, channels, bin, horizons, the series (source, part, first row, rows, time), and the sha256 of each array.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import ContractError, writing

FORMAT = 1
PARTS = ("train", "validation", "test")
ARRAYS = ("x", "delay_ms", "now_ms", "rtt_ms")


@dataclass(frozen=True, slots=True)
class LabelledSeries:
    """One unbroken series of one link or device; arrays as the module says, T rows each.

    source: what it was made from, `NAME@capacity#device`; origin: NAME alone, which a split keeps whole; part: train,
    validation or test; time_ns: end of its first bin.
    """

    x: NDArray[np.float32]
    delay_ms: NDArray[np.float32]
    now_ms: NDArray[np.float32]
    source: str
    origin: str
    part: str
    time_ns: int
    rtt_ms: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set as it was opened; `series` share its memory-mapped arrays."""

    manifest: Mapping[str, Any]
    series: tuple[LabelledSeries, ...]

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of x's columns."""
        return tuple(self.manifest["channels"])

    @property
    def horizons_ms(self) -> tuple[int, ...]:
        """Horizons of delay_ms' columns."""
        return tuple(self.manifest["horizons_ms"])

    @property
    def fingerprint(self) -> str:
        """Sha256 of the arrays and of how they are cut into series."""
        return str(self.manifest["fingerprint"])

    def part(self, name: str) -> tuple[LabelledSeries, ...]:
        """Return the series of a part."""
        return tuple(series for series in self.series if series.part == name)


def save_dataset(
    folder: Path, series: Iterable[LabelledSeries], *, channels: Iterable[str], horizons_ms: Iterable[int], bin_ms: int,
    extra: Mapping[str, Any] | None = None,
) -> Dataset:  # fmt: skip
    """Write series to a folder and open it; extra: further members of the manifest (spec, command, sources).

    Raises OfframpError where they cannot be written.
    """
    listed = list(series)
    digest, sums = hashlib.sha256(), {}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ARRAYS:
            array = np.concatenate([_array(each, name) for each in listed]).astype(np.float32, copy=False)
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
            sums[name] = sha256_of(folder / f"{name}.npy")
            digest.update(sums[name].encode())
    rows, start = [], 0
    for each in listed:
        rows.append({"source": each.source, "origin": each.origin, "part": each.part, "start": start,
                     "bins": len(each.x), "time_ns": each.time_ns})  # fmt: skip
        start += len(each.x)
    digest.update(json.dumps(rows).encode())
    manifest = {**(extra or {}), "format": FORMAT, "channels": list(channels), "horizons_ms": list(horizons_ms),
                "bin_ms": bin_ms, "sha256": sums, "fingerprint": digest.hexdigest(), "series": rows}  # fmt: skip
    with writing(folder):
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return open_dataset(folder)


def _array(series: LabelledSeries, name: str) -> NDArray[np.float32]:
    array: NDArray[np.float32] | None = getattr(series, name)
    return np.full_like(series.delay_ms, np.nan) if array is None else array


def open_dataset(folder: Path, *, verify: bool = True) -> Dataset:
    """Open a data set; verify: check its files against their hashes. Raise ContractError where something is wrong."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ContractError(f"{folder}: data set of format {manifest['format']!r}, this version reads {FORMAT}")
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS}
        for name in ARRAYS if verify else ():
            if sha256_of(folder / f"{name}.npy") != manifest["sha256"][name]:
                raise ContractError(f"{folder}/{name}.npy: altered since it was built; build the data set again")
        series = tuple(_series(arrays, row) for row in manifest["series"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ContractError(f"{folder}: no data set of offramp dataset build: {error}") from error
    return Dataset(manifest, series)


def _series(arrays: Mapping[str, NDArray[np.float32]], row: Mapping[str, Any]) -> LabelledSeries:
    at = slice(int(row["start"]), int(row["start"]) + int(row["bins"]))
    if row["part"] not in PARTS or at.stop > len(arrays["x"]):
        raise ValueError(f"series {row['source']!r} is of no part, or ends behind the data")
    x, delay_ms, now_ms, rtt_ms = (arrays[name][at] for name in ARRAYS)
    return LabelledSeries(
        x, delay_ms, now_ms, str(row["source"]), str(row["origin"]), str(row["part"]), int(row["time_ns"]), rtt_ms
    )


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
