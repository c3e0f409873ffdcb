"""The search for hyperparameters on a data set: what `offramp tune` runs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offramp.errors import writing
from offramp.extras import require
from offramp.inference.network.preset import load_preset, preset_toml
from offramp.inference.scores import terciles
from offramp.inference.training.tune import Bounds, Method, Task, tune
from offramp.stream.channels import BIN_MS, CHANNELS
from offramp.stream.learning.training import TrainOptions, labelled, parse_thresholds, prepared


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """Options of `offramp tune`; `training`: what is learned and from which preset the search begins, out: the file."""

    training: TrainOptions
    study: Path
    method: str
    trials: int
    minutes: float


def run_tune(options: TuneOptions) -> None:
    """Run `offramp tune`: a line a trial on standard error; the best preset as a file for `offramp train --preset`."""
    require("offramp tune", "keras", "tensorflow", "sklearn", "optuna")
    what = options.training
    series, at = labelled(what)
    fit, held, normaliser = prepared(series, at, what.preprocessing, seed=what.seed)
    thresholds = parse_thresholds(what.thresholds) or terciles(np.concatenate([each.delay_ms for each in fit]))
    about = {"channels": list(CHANNELS), "horizon_ms": what.horizon_ms, "bin_ms": BIN_MS}
    found = tune(
        Task(fit, held, normaliser, about, thresholds, what.seed), load_preset(what.preset), Method(options.method),
        Bounds(options.trials, options.minutes, what.epochs), options.study,
        lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    told = f"the best of {found.trials} trials ({options.method}): validation loss {found.loss:.4f}"
    with writing(what.out):
        what.out.write_text(f"# {told}\n{preset_toml(found.preset)}", encoding="utf-8")
    print(told, file=sys.stderr)
    print(f"written to {what.out}; train with --preset {what.out}", file=sys.stderr)
