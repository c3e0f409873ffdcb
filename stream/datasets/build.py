"""Build a data set from its specification: arrivals through capacities to labelled series, in parts of their own.

The same specification over the same files gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from offramp.errors import ConfigError, InputError
from offramp.inference.dataset.dataset import LabelledSeries
from offramp.inference.scores import terciles
from offramp.stream.channels import BIN_MS, WINDOW_BINS
from offramp.stream.datasets.arrivals import Arrivals, read_capture, read_packet_times, source_files, synthetic_arrivals
from offramp.stream.datasets.bottlenecks import bottlenecks
from offramp.stream.datasets.duplicates import copies
from offramp.stream.datasets.labelling import labelled_rows
from offramp.stream.datasets.spec import DatasetSpec, Source
from offramp.stream.datasets.split import assigned, cut, intervals
from offramp.streams import tell

READERS: dict[str, Callable[[str, Path], Arrivals]] = {"captures": read_capture, "packet_times": read_packet_times}


class Origin(NamedTuple):
    """One file or synthetic link of a source, before it is read."""

    name: str
    source: Source
    path: Path | None


class Built(NamedTuple):
    """Labelled series, and the manifest's account of where they come from."""

    series: list[LabelledSeries]
    manifest: dict[str, Any]


def build_series(
    spec: DatasetSpec, here: Path, root: Path | None = None, progress: Callable[[int, int], None] = lambda *_: None
) -> Built:
    """Return the series of a specification whose relative paths begin at `here`, $ROOT/ paths at `root`.

    progress: called with the steps done and in all. Raise InputError where files are missing or nothing is long enough,
    ConfigError where copies are in two parts.
    """
    origins = [origin for source in spec.sources for origin in origins_of(source, here, root)]
    steps, done = 2 * len(origins), 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, steps)

    origins, left_out = without_copies(origins, spec.copies, step)
    whole = whole_parts(spec, origins)
    series: list[LabelledSeries] = []
    facts: dict[str, dict[str, Any]] = {}
    for origin, arrivals in arrivals_of(origins, spec.seed):
        for fault in arrivals.faults:
            tell(f"offramp: {origin.name}: {fault}")
        made = series_of(arrivals, origin.source, whole.get(origin.name), spec, here, root)
        series += made
        facts |= {each.origin: _facts(origin, arrivals) for each in made}
        step()
    if not series:
        raise InputError(
            f"no series of {WINDOW_BINS} bins ({WINDOW_BINS * BIN_MS} ms) was found in any source; give longer captures"
        )
    manifest = {"spec": spec.model_dump(mode="json"), "origins": facts, "copies": left_out,
            "terciles_ms": terciles_ms(series, spec.horizons_ms), "budget_ms": spec.budget_ms}  # fmt: skip
    return Built(series, manifest)


def origins_of(source: Source, here: Path, root: Path | None) -> list[Origin]:
    """Return the origins of a source by name."""
    if source.type == "synthetic":
        return [Origin(f"{source.name}/{number:03d}", source, None) for number in range(source.count)]
    found = [Origin(name, source, path) for name, path in source_files(source, here, root)]
    if not found:
        tell(f"offramp: source {source.name} is left out: none of its files is there")
    return found


def without_copies(
    origins: list[Origin], bound: float, step: Callable[[], None]
) -> tuple[list[Origin], list[dict[str, Any]]]:
    """Return the origins of which none is a copy of another, and an account of the copies.

    Raise ConfigError where a copy was meant for another part than what it copies.
    """
    contents = []
    for origin in origins:
        read = READERS.get(origin.source.type)
        contents.append(read(origin.name, origin.path).content if read and origin.path else np.empty(0, np.uint64))
        step()
    found, account = copies(contents, bound), []
    for index, (kept, share) in sorted(found.items()):
        copy, original = origins[index], origins[kept]
        whole = copy.source.part is not None and copy.source.part == original.source.part
        if copy.source is not original.source and not whole:
            raise ConfigError(
                f"{copy.name} and {original.name} have {share:.0%} of their packets in common and may come into "
                f"different parts; exclude one of them, or give both sources the same part"
            )
        account.append({"copy": copy.name, "of": original.name, "share": round(share, 4)})
        tell(f"offramp: {copy.name} is left out: {share:.0%} of it is in {original.name} too")
    return [origin for index, origin in enumerate(origins) if index not in found], account


def whole_parts(spec: DatasetSpec, origins: list[Origin]) -> dict[str, str]:
    """Return the part of each origin that is in one part as a whole."""
    out: dict[str, str] = {}
    for source in spec.sources:
        names = [origin.name for origin in origins if origin.source is source]
        if source.part is not None:
            out |= dict.fromkeys(names, source.part)
        elif source.split is not None and source.split.by == "origin":
            out |= assigned(names, source.split.shares, spec.seed)
    return out


def arrivals_of(origins: list[Origin], seed: int) -> Iterator[tuple[Origin, Arrivals]]:
    """Yield each origin with its arrivals."""
    for source in {id(origin.source): origin.source for origin in origins}.values():
        own = [origin for origin in origins if origin.source is source]
        read = READERS.get(source.type)
        if read is None:
            yield from zip(own, synthetic_arrivals(source, seed), strict=True)
        else:
            yield from ((origin, read(origin.name, origin.path)) for origin in own if origin.path)


def series_of(
    arrivals: Arrivals, source: Source, part: str | None, spec: DatasetSpec, here: Path, root: Path | None
) -> list[LabelledSeries]:
    """Return the labelled series of one origin through every capacity of its source."""
    out: list[LabelledSeries] = []
    if not len(arrivals.packets.time_ns):
        return out
    places = None
    for bottleneck, seen_by in bottlenecks(arrivals, source, here, root):
        found = labelled_rows(arrivals.packets, bottleneck, spec.horizons_ms, devices=source.devices)
        if not found:
            continue
        if places is None:  # the link's bins follow from the arrivals alone
            link = np.concatenate([rows.bin_number for rows in found if rows.series == 0])
            places = intervals(arrivals.origin, source, part, link, max(spec.horizons_ms))
        for interval in places:
            if interval.part in seen_by:
                out += [series for rows in found for series in cut(rows, interval, bottleneck.name)]
    return out


def terciles_ms(series: list[LabelledSeries], horizons_ms: tuple[int, ...]) -> dict[str, list[float]]:
    """Return the two delays that cut the training part in thirds, by horizon; none without a training part."""
    own = [each.delay_ms for each in series if each.part == "train"]
    if not own:
        return {}
    delay_ms = np.concatenate(own)
    return {str(horizon): list(terciles(delay_ms[:, at])) for at, horizon in enumerate(horizons_ms)}


def _facts(origin: Origin, arrivals: Arrivals) -> dict[str, Any]:
    times = arrivals.packets.time_ns
    return {"kind": origin.source.kind or origin.source.name, "packets": len(times),
            "seconds": round(float(times.max() - times.min()) / 1e9, 3), "faults": list(arrivals.faults)}  # fmt: skip
