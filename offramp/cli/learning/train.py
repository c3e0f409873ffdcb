"""`offramp train`: a model from captures and traces, or a data set, to an artifact folder."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from offramp.cli.options import Horizon, Thresholds
from offramp.extras import require
from offramp.stream.learning.preprocessing_options import Imputation, Outliers, Preprocessing, Treatment


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What `offramp train` was asked for."""

    files: Annotated[
        tuple[str, ...], typer.Argument(metavar="[FILE...]", help="captures, or traces of `seconds bytes`")
    ] = ()
    dataset: Annotated[
        Path | None, typer.Option("--dataset", help="folder of `offramp dataset build`, instead of files")
    ] = None
    out: Annotated[Path, typer.Option("--out", "-o", help="artifact folder to write")] = Path("model")
    site: Annotated[Path | None, typer.Option("--site", help="site.toml: the links of the captures")] = None
    synthetic: Annotated[
        int, typer.Option("--synthetic", help="made-up arrival sequences to add (seeded)", min=0, max=100_000)
    ] = 0
    preset: Annotated[
        str, typer.Option("--preset", help="hyperparameters: default, paper, or a file of `offramp tune`")
    ] = "default"
    seed: Annotated[int, typer.Option("--seed", help="same seed, same model")] = 1
    epochs: Annotated[int, typer.Option("--epochs", help="the most passes over the data", min=1, max=100_000)] = 40
    thresholds: Thresholds = "5,25"
    horizon_ms: Horizon = 500
    outliers: Annotated[Outliers, typer.Option("--outliers", help="how outliers are found")] = Outliers.Z_SCORE
    treatment: Annotated[Treatment, typer.Option("--treat", help="what is done with them")] = Treatment.WINSORISE
    imputation: Annotated[Imputation, typer.Option("--impute", help="what stands in for the missing")] = Imputation.MEAN

    @property
    def preprocessing(self) -> Preprocessing:
        """The choices of preprocessing as one."""
        return Preprocessing(self.outliers, self.treatment, self.imputation)

    @property
    def command(self) -> str:
        """The command line that gives the same again."""
        words = ["offramp train", *self.files]
        words += ["--dataset", str(self.dataset)] if self.dataset else []
        words += ["--site", str(self.site)] if self.site else []
        words += [f"--synthetic {self.synthetic}"] if self.synthetic else []
        words += [f"--horizon {self.horizon_ms}"] if self.horizon_ms != TrainOptions.horizon_ms else []
        words += [f"--preset {self.preset}", f"--seed {self.seed}", f"--epochs {self.epochs}"]
        return " ".join([*words, f"--thresholds {self.thresholds}", *self.preprocessing.words])


def train(options: TrainOptions) -> None:
    """Train a model from captures and traces, or a data set, to an artifact folder that replay takes with --model.

    Example: offramp train samples/train.pcap.zst --site samples/site.toml -o mymodel
    """
    from offramp.capture.sources.source import Progress
    from offramp.cli.show.progress import console_bar
    from offramp.inference.dataset.dataset import open_dataset
    from offramp.stream.channels import BIN_MS, CHANNELS, SPECTRUM_SIZE
    from offramp.stream.learning.training import Material, balanced, kinds_of, labelled, parse_thresholds, prepared

    require("offramp train", "keras", "tensorflow", "sklearn")
    from offramp.inference.training.train import train as trained

    limits = parse_thresholds(options.thresholds)
    material = Material(
        options.dataset, options.files, options.site, options.synthetic, options.seed, options.horizon_ms
    )
    with console_bar(Progress(), "building", unit="steps") as bar:
        series, at = labelled(material, bar.steps)
    fit, held, normaliser = prepared(series, at, options.preprocessing, seed=options.seed)
    if options.dataset:
        fit = balanced(fit, kinds_of(open_dataset(options.dataset, verify=False)))  # `labelled` has just held its sums
    for name, part in (("training", fit), ("validating", held)):
        bins = sum(len(sequence.x) for sequence in part)
        print(f"{name} on {len(part)} series, {bins:,} bins of {BIN_MS} ms", file=sys.stderr)
    meta = {
        "name": f"hybrid-{Path(options.preset).stem}",
        "channels": list(CHANNELS),
        "spectrum_size": SPECTRUM_SIZE,
        "bin_ms": BIN_MS,
        "horizon_ms": options.horizon_ms,
        "command": options.command,
    }
    artifact = trained(
        fit, normaliser, options.out, meta, preset=options.preset, seed=options.seed, epochs=options.epochs,
        thresholds_ms=limits, validation=held,
    )  # fmt: skip
    for name, value in artifact.manifest["metrics"].items():
        print(f"{name:<22} {value:,.4g}")
    print(f"written to {options.out}; replay with --model {options.out}", file=sys.stderr)
