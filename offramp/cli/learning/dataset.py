"""`offramp dataset`: labelled data sets to train and evaluate on, built and shown."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offramp.errors import ConfigError
from offramp.extras import require

if TYPE_CHECKING:
    from offramp.inference.dataset.summary import Balance


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What `offramp dataset build` was asked for."""

    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="TOML: sources, capacities, parts (docs/data.md)")]
    out: Annotated[Path, typer.Option("--out", "-o", help="folder to write")]
    root: Annotated[Path | None, typer.Option("--root", help="what $ROOT/ stands for in the specification")] = None


def build(options: BuildOptions) -> None:
    """Build a data set: arrivals through capacities to series of bins with the delay of every horizon.

    Example: offramp dataset build samples/evaluation.toml -o data --root DIR
    """
    require("offramp dataset build", "scipy")
    from offramp.capture.sources.source import Progress
    from offramp.cli.show.progress import console_bar
    from offramp.inference.dataset.dataset import save_dataset
    from offramp.kernels import announce_compiling
    from offramp.stream.channels import BIN_MS, CHANNELS
    from offramp.stream.datasets.build import build_series
    from offramp.stream.datasets.spec import load_spec

    announce_compiling()
    spec, out = load_spec(options.spec), options.out
    with console_bar(Progress(), "building", unit="steps") as bar:
        built = build_series(spec, options.spec.parent, options.root, bar.steps)
    manifest = {**built.manifest, "name": spec.name, "command": f"offramp dataset build {options.spec.name}"}
    found = save_dataset(
        out, built.series, channels=CHANNELS, horizons_ms=spec.horizons_ms, bin_ms=BIN_MS, extra=manifest
    )
    bins = sum(len(series.x) for series in found.series)
    print(f"{out}: {len(found.series)} series, {bins:,} bins; fingerprint {found.fingerprint[:16]}", file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """What `offramp dataset show` was asked for."""

    folder: Annotated[Path, typer.Argument(metavar="DIR", help="folder of `offramp dataset build`")]
    horizon_ms: Annotated[
        int, typer.Option("--horizon", help="ms ahead of the table by kind", min=10, max=3_600_000)
    ] = 500


def show(options: ShowOptions) -> None:
    """Show a data set: rows by part and kind, balance of the classes, persistence, copies left out.

    Example: offramp dataset show data
    """
    from offramp.inference.dataset.dataset import open_dataset
    from offramp.inference.dataset.summary import balance, by_kind, terciles_of

    folder, horizon_ms = options.folder, options.horizon_ms
    found = open_dataset(folder)
    if horizon_ms not in found.horizons_ms:
        raise ConfigError(f"--horizon {horizon_ms}: the data set has {list(found.horizons_ms)}")
    if not found.part("train"):
        raise ConfigError(f"{folder}: has no training part, whose terciles are the classes")
    origins = {series.origin for series in found.series}
    bins = sum(len(series.x) for series in found.series)
    print(
        f"{folder}: {bins:,} bins of {found.manifest['bin_ms']} ms, {len(found.series)} series, {len(origins)} origins"
    )
    print(f"fingerprint {found.fingerprint}")
    for copy in found.manifest.get("copies", ()):
        print(f"left out: {copy['copy']}, {copy['share']:.0%} of it is in {copy['of']}")
    print(f"\n{horizon_ms} ms ahead, classes by the terciles of training")
    print("| part | kind | origins | series | bins | Normal, Medium, High | no delay | persistence |")
    print("|---|---|---|---|---|---|---|---|")
    thresholds = terciles_of(found, horizon_ms)
    for part, kind, series in by_kind(found):
        counts = balance(found, series, horizon_ms, thresholds)
        inside = len({each.origin for each in series})
        print(f"| {part} | {kind} | {inside} | {len(series)} | {counts.bins:,} | {_shares(counts)} | {_rest(counts)} |")
    print("\n| ahead | Medium from | High from | part | Normal, Medium, High | largest | no delay | persistence |")
    print("|---|---|---|---|---|---|---|---|")
    for horizon in found.horizons_ms:
        low, high = thresholds = terciles_of(found, horizon)
        for part in ("train", "test"):
            counts = balance(found, found.part(part), horizon, thresholds)
            head = f"| {horizon} ms | {low:.2f} ms | {high:.2f} ms | {part} | {_shares(counts)}"
            print(f"{head} | {max(counts.shares):.3f} | {_rest(counts)} |")


def _shares(counts: Balance) -> str:
    return ", ".join(f"{share:.2f}" for share in counts.shares)


def _rest(counts: Balance) -> str:
    return f"{counts.still:.2f} | {counts.persistence:.3f}"
