"""`offramp tune`: the search for hyperparameters on a data set."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from offramp.cli.door import OneOf
from offramp.cli.options import Horizon, Thresholds
from offramp.errors import writing
from offramp.extras import require


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """What `offramp tune` was asked for."""

    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="folder of `offramp dataset build`")]
    out: Annotated[Path, typer.Option("--out", "-o", help="preset to write: .toml")] = Path("preset.toml")
    study: Annotated[Path, typer.Option("--study", help="file of the search; one that is there is resumed")] = Path(
        "study.sqlite"
    )
    method: Annotated[str, OneOf(("bayes", "grid")), typer.Option("--method", help="Bayesian (TPE), or a grid")] = (
        "bayes"
    )
    trials: Annotated[
        int, typer.Option("--trials", help="the most trials, earlier runs' counted", min=1, max=100_000)
    ] = 40
    minutes: Annotated[float, typer.Option("--minutes", help="the longest this run may take", min=0.1, max=600_000)] = (
        60.0
    )
    epochs: Annotated[
        int, typer.Option("--epochs", help="the most passes over the data a trial", min=1, max=100_000)
    ] = 8
    preset: Annotated[str, typer.Option("--preset", help="where the search begins")] = "default"
    horizon_ms: Horizon = 500
    thresholds: Thresholds = "5,25"
    seed: Annotated[int, typer.Option("--seed", help="of the search and of every trial")] = 1


def tune(options: TuneOptions) -> None:
    """Search for hyperparameters on a data set; write the best as a preset that train takes.

    Example: offramp tune data -o best.toml --minutes 30
    """
    require("offramp tune", "keras", "tensorflow", "sklearn", "optuna")
    import numpy as np

    from offramp.inference.network.preset import load_preset, preset_toml
    from offramp.inference.scores import terciles
    from offramp.inference.training.tune import Bounds, Method, StudyTask
    from offramp.inference.training.tune import tune as search
    from offramp.stream.channels import BIN_MS, CHANNELS
    from offramp.stream.learning.training import Material, labelled, parse_thresholds, prepared

    series, at = labelled(Material(options.dataset, seed=options.seed, horizon_ms=options.horizon_ms))
    fit, held, normaliser = prepared(series, at, seed=options.seed)
    thresholds = parse_thresholds(options.thresholds) or terciles(np.concatenate([each.label_ms for each in fit]))
    about = {"channels": list(CHANNELS), "horizon_ms": options.horizon_ms, "bin_ms": BIN_MS}
    found = search(
        StudyTask(fit, held, normaliser, about, thresholds, options.seed), load_preset(options.preset),
        Method(options.method), Bounds(options.trials, options.minutes, options.epochs), options.study,
        lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    words = f"the best of {found.trials} trials ({options.method}): validation loss {found.loss:.4f}"
    with writing(options.out):
        options.out.write_text(f"# {words}\n{preset_toml(found.preset)}", encoding="utf-8")
    print(words, file=sys.stderr)
    print(f"written to {options.out}; train with --preset {options.out}", file=sys.stderr)
