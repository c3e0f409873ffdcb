"""What a model is trained on: a data set, or captures, traces and made-up arrivals, as sequences of its input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from offramp.decision.site import Site, load_or_default
from offramp.decision.tables import first_complaint
from offramp.errors import ConfigError, InputError
from offramp.inference.dataset.dataset import Dataset, LabelledSeries, open_dataset
from offramp.inference.dataset.sequence import TrainingSequence
from offramp.kernels import announce_compiling
from offramp.stream.channels import BIN_MS, CHANNELS, WINDOW_BINS
from offramp.stream.datasets.build import build_series
from offramp.stream.datasets.spec import PAGE, Capacity, DatasetSpec, Source, Split
from offramp.stream.learning.preprocessing import fit_scale
from offramp.stream.learning.preprocessing_options import Preprocessing
from offramp.stream.windows.model_input import model_input
from offramp.stream.windows.normaliser import ScaleLimits
from offramp.streams import tell

TRACE_ENDINGS = {".txt", ".trace"}
HORIZON_MS = 500
LOADS = (0.35, 0.7, 0.95, 1.3)
"""One capture teaches quiet and busy links: it is seen through capacities that it fills to these shares."""

HELD_OUT = 5
"""From this many files on every fifth is held out whole; of fewer, the last fifth of the time of each."""


@dataclass(frozen=True, slots=True)
class Material:
    """What is learned from: a data set, or captures and traces through the link of a site, and synthetic links."""

    dataset: Path | None = None
    files: tuple[str, ...] = ()
    site: Path | None = None
    synthetic: int = 0
    seed: int = 1
    horizon_ms: int = HORIZON_MS


def parse_thresholds(text: str) -> tuple[float, float] | None:
    """Return the two delays of `A,B` in ms, None for `terciles`."""
    if text == "terciles":
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--thresholds {text}: expected two delays in ms such as 5,25, or terciles") from None
    if not 0 < low < high:
        raise ConfigError(f"--thresholds {text}: the first must be above 0 and below the second")
    return low, high


def labelled(
    material: Material, progress: Callable[[int, int], None] = lambda *_: None
) -> tuple[Sequence[LabelledSeries], int]:
    """Return the series to learn from, and the column of their targets; progress: as build_series calls it."""
    if material.dataset is None:
        announce_compiling()
        return build_series(spec_of(material), Path(), progress=progress).series, 0
    if material.files or material.synthetic or material.site:
        raise ConfigError("--dataset: holds what there is to learn from; leave files, --site and --synthetic away")
    found = open_dataset(material.dataset)
    if found.channels != CHANNELS:
        raise ConfigError(f"{material.dataset}: has other channels than this version; build the data set again")
    if material.horizon_ms not in found.horizons_ms:
        raise ConfigError(f"--horizon {material.horizon_ms}: the data set has {list(found.horizons_ms)}")
    return found.series, found.horizons_ms.index(material.horizon_ms)


def spec_of(material: Material) -> DatasetSpec:
    """Return the data set that files and synthetic links make: captures through their link and through other loads."""
    if not material.files and not material.synthetic:
        raise InputError(
            "nothing to train on: name captures or traces, a data set with --dataset, or ask for --synthetic N links"
        )
    site = load_or_default(material.site)
    traces = tuple(name for name in material.files if Path(name).suffix in TRACE_ENDINGS)
    captures = tuple(name for name in material.files if name not in traces)
    sources = []
    if material.synthetic:
        split = Split(by="origin", train=1 - 1 / HELD_OUT, validation=1 / HELD_OUT, test=0)
        sources.append(Source(name="synthetic", type="synthetic", count=material.synthetic, seconds=30, devices=1,
                              split=split))  # fmt: skip
    for name, files in (("captures", captures), ("packet_times", traces)):
        if files:
            sources.append(_source(name, files, site))
    try:
        return DatasetSpec(name="train", seed=material.seed, horizons_ms=(material.horizon_ms,), sources=tuple(sources))
    except ValidationError as error:
        raise ConfigError(f"--seed or --horizon: {first_complaint(error, {}, PAGE)}") from error


def _source(sort: str, files: tuple[str, ...], site: Site) -> Source:
    link, share = site.links[0], 1 / HELD_OUT
    if len(site.links) > 1 and sort == "captures":
        tell(f"all captures are taken as of link {link.name}, the first of the site")
    split = Split(by="origin" if len(files) >= HELD_OUT else "time", train=1 - share, validation=share, test=0)
    loads = Capacity(loads=LOADS)
    if sort == "packet_times":
        return Source(name="trace", type="packet_times", files=files, split=split, capacity=(loads,))
    own = Capacity(rate=link.capacity_bps, rate_down=link.capacity_down_bps, buffer_ms=link.buffer_ms,
                   buffer_bytes=link.buffer_bytes)  # fmt: skip
    return Source(name="capture", type="captures", files=files, networks=link.devices, devices=2, split=split,
                  capacity=(own, loads))  # fmt: skip


def prepared(
    series: Sequence[LabelledSeries], at: int, choice: Preprocessing | None = None, *, seed: int = 1
) -> tuple[list[TrainingSequence], list[TrainingSequence], dict[str, NDArray[Any]]]:
    """Return training and validation as the model takes them, and the state of the normaliser learned from training.

    at: column of delay_ms. Series of other parts are left alone. Raise InputError where there is nothing in training.
    """
    fit, held = ([each for each in series if each.part == part] for part in ("train", "validation"))
    if not fit:
        shortest = f"{WINDOW_BINS} bins ({WINDOW_BINS * BIN_MS} ms)"
        raise InputError(f"no training data: no series of {shortest} is in training; give longer captures")
    normaliser, kept = fit_scale([each.x for each in fit], choice or Preprocessing(), seed=seed)
    limits = normaliser.limits()
    return (
        [sequence_of(each, at, limits, mask) for each, mask in zip(fit, kept, strict=True)],
        [sequence_of(each, at, limits) for each in held],
        normaliser.state(),
    )


def balanced(sequences: Sequence[TrainingSequence], kinds: Mapping[str, str]) -> list[TrainingSequence]:
    """Return sequences weighted by their kind: with the root of how rare its bins are, the mean weight being 1.

    Made-up links are cheap and many; without weights, what the few recordings of a lab or a plant are like would not
    count. kinds: of each origin.
    """
    own = [kinds.get(each.source.rsplit("@", 1)[0], "") for each in sequences]
    bins = Counter[str]()
    for kind, each in zip(own, sequences, strict=True):
        bins[kind] += int(np.count_nonzero(~np.isnan(each.label_ms)))
    scale = sum(bins.values()) / max(1e-9, sum(count**0.5 for count in bins.values()))
    return [
        replace(each, weight=scale / bins[kind] ** 0.5 if bins[kind] else 1.0)
        for kind, each in zip(own, sequences, strict=True)
    ]  # fmt: skip


def kinds_of(dataset: Dataset) -> dict[str, str]:
    """Return the kind of each origin of a data set."""
    return {name: str(origin.get("kind", name)) for name, origin in dataset.manifest.get("origins", {}).items()}


def sequence_of(
    series: LabelledSeries, at: int, limits: ScaleLimits, kept: NDArray[np.bool_] | None = None
) -> TrainingSequence:
    """Return a series as the model takes it; the targets of rows that are not kept are unknown, so weigh nothing."""
    x, spectrum = model_input(series.x, limits)
    delay = np.array(series.delay_ms[:, at], np.float32)
    if kept is not None:
        delay[~kept] = np.nan
    return TrainingSequence(x=x, spectrum=spectrum, label_ms=delay, source=series.source)
