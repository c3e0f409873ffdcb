"""The search for hyperparameters: over a grid, or Bayesian (Optuna's TPE), in a study file that can be resumed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import ConfigError, OfframpError
from offramp.inference.dataset.sequence import TrainingSequence
from offramp.inference.network.preset import Preset
from offramp.inference.network.queue_history import Memory
from offramp.inference.training.fit import fit
from offramp.inference.training.train import fingerprint, scale_of

GRID: dict[str, list[Any]] = {
    "lstm": [32, 64, 128], "learning_rate": [1e-3, 2e-3, 4e-3], "dropout": [0.0, 0.2], "batch": [32, 64],
}  # fmt: skip
UNITS = (32, 64, 128)
STUDY = "offramp"


class Method(StrEnum):
    """How the next hyperparameters are chosen."""

    BAYES = "bayes"
    GRID = "grid"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a search goes: trials in all, those of earlier runs counted; minutes of this run; epochs of a trial."""

    trials: int
    minutes: float
    epochs: int


@dataclass(frozen=True, slots=True)
class StudyTask:
    """What is learned: parts, the memory's scale (None: no memory), a manifest's channels, horizon_ms and bin_ms."""

    train: Sequence[TrainingSequence]
    validation: Sequence[TrainingSequence]
    normaliser: Mapping[str, NDArray[Any]]
    manifest: Mapping[str, Any]
    thresholds_ms: tuple[float, float]
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Found:
    """The best preset, its validation loss, and how many trials there are in the study."""

    preset: Preset
    loss: float
    trials: int


def tune(
    task: StudyTask, base: Preset, method: Method, bounds: Bounds, study_file: Path, tell: Callable[[str], None]
) -> Found:
    """Search around `base`; tell: shows one line a trial. A study file that is there is gone on with.

    The aim is the validation loss: log loss of the class and quantile loss of the delay. Raise ConfigError where the
    study is of other data or another method, or no trial came to an end in time; OfframpError where its file cannot be
    written.
    """
    with _study_errors(study_file):
        return _searched(task, base, method, bounds, study_file, tell)


@contextmanager
def _study_errors(study_file: Path) -> Iterator[None]:
    """Turn what the study's data base raises (a full disk, a folder that is not there) into one line."""
    import optuna
    import sqlalchemy

    try:
        yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.DBAPIError) as error:
        why = " ".join(str(error.__cause__ or error).split())[:200]
        raise OfframpError(
            f"{study_file}: the study cannot be written: {why}; check the folder and its space"
        ) from error


def _searched(
    task: StudyTask, base: Preset, method: Method, bounds: Bounds, study_file: Path, tell: Callable[[str], None]
) -> Found:
    """Search as `tune` says."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    grid = optuna.samplers.GridSampler(GRID, seed=task.seed)
    study = optuna.create_study(
        storage=f"sqlite:///{study_file.resolve()}", study_name=STUDY, load_if_exists=True,
        sampler=grid if method is Method.GRID else optuna.samplers.TPESampler(seed=task.seed, n_startup_trials=6),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=max(1, bounds.epochs // 3)),
    )  # fmt: skip
    _same_search(study, {"data": fingerprint([*task.train, *task.validation]), "method": str(method)}, study_file)
    deadline = time.monotonic() + 60 * bounds.minutes

    def aim(trial: Any) -> float:
        preset = suggested(trial, base, method)
        memory = (
            Memory(scale_of(task.normaliser, task.manifest), task.manifest, task.thresholds_ms)
            if preset.memory
            else None
        )
        model = fit(
            task.train, task.validation, memory, task.thresholds_ms, preset, seed=task.seed, epochs=bounds.epochs,
            watch=[_watcher(trial, deadline)], verbose=0,
        )  # fmt: skip
        return float(min(model.history.history["val_loss"]))

    def show(study: Any, trial: Any) -> None:
        value = "stopped early" if trial.value is None else f"loss {trial.value:.4f}"
        best = min((one.value for one in done(study) if one.value is not None), default=math.nan)
        tell(f"trial {trial.number + 1} of {bounds.trials}: {value}, best {best:.4f}  {trial.params}")

    left = bounds.trials - len(done(study))
    if left > 0:
        study.optimize(aim, n_trials=left, timeout=60 * bounds.minutes, callbacks=[show])
    if not any(trial.value is not None for trial in done(study)):
        raise ConfigError(f"{study_file}: no trial came to an end; give --minutes or --trials more")
    return Found(Preset(**{**asdict(base), **study.best_trial.params}), float(study.best_value), len(done(study)))


def suggested(trial: Any, base: Preset, method: Method) -> Preset:
    """Return the preset of a trial: what the search varies, the rest as in `base`."""
    if method is Method.GRID:
        chosen = {key: trial.suggest_categorical(key, values) for key, values in GRID.items()}
    else:
        chosen = {
            **{key: trial.suggest_categorical(key, UNITS) for key in ("dense", "lstm", "fusion")},
            "dropout": trial.suggest_float("dropout", 0.0, 0.4),
            "l2": trial.suggest_float("l2", 1e-7, 1e-3, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 5e-4, 8e-3, log=True),
            "batch": trial.suggest_categorical("batch", (16, 32, 64)),
            "length": trial.suggest_categorical("length", (64, 128, 256)),
        }
    return Preset(**{**asdict(base), **chosen})


def done(study: Any) -> list[Any]:
    """Return the trials of a study that ended, also those stopped early."""
    return [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]


def _same_search(study: Any, attributes: Mapping[str, str], file: Path) -> None:
    for key, value in attributes.items():
        before = study.user_attrs.get(key, value)
        if before != value:
            raise ConfigError(f"{file}: is a study of another {key} ({before[:16]}); name another file with --study")
        study.set_user_attr(key, value)


def _watcher(trial: Any, deadline: float) -> Any:
    """Return the Keras callback that reports each epoch, and ends a hopeless trial, or one that is out of time."""
    import keras
    import optuna

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            trial.report(float(np.float64((logs or {})["val_loss"])), epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
            if time.monotonic() > deadline:
                self.model.stop_training = True

    return Watch()
