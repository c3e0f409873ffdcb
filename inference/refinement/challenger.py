"""Train a challenger: refine a served model on newer labelled rows, so gently that it stays near what it came from.

A few epochs at a low learning rate; data like that of the first training are rehearsed along, so that it forgets
little; and the length of the update is clipped, so that no data can move it far.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.inference.artifact import Artifact, save_artifact
from offramp.inference.dataset.sequence import TrainingSequence
from offramp.inference.network.preset import WEIGHT_NAMES, Preset, preset_of
from offramp.inference.serving.predictor import memory_of
from offramp.inference.training.fit import pieces
from offramp.inference.training.train import fingerprint

Weights = dict[str, NDArray[np.float32]]
BATCH = 16
"""Pieces of a step."""


@dataclass(frozen=True, slots=True)
class ChallengerJob:
    """What a challenger is made from: weights and manifest of an artifact, labelled series, and how.

    update_share: the longest the update may be, as a share of the weights' length.
    """

    weights: Mapping[str, NDArray[np.float32]]
    manifest: Mapping[str, Any]
    own: Sequence[TrainingSequence]
    rehearsal: Sequence[TrainingSequence] = ()
    seed: int = 1
    epochs: int = 3
    learning_rate: float = 5e-4
    update_share: float = 0.1


@lru_cache(maxsize=2)
def _trainable(channels: int, spectrum: int, preset: Preset) -> Any:
    """Return a compiled Keras model, kept between jobs, as tracing it takes longer than a job."""
    import keras

    from offramp.inference.network.keras_model import build, pinball

    model = build(channels, spectrum, replace(preset, dropout=0.0))
    model.compile(
        keras.optimizers.Adam(clipnorm=1.0), loss={"classes": "sparse_categorical_crossentropy", "rising": pinball}
    )
    model.optimizer.build(model.trainable_variables)
    return model


def refine_weights(job: ChallengerJob) -> Weights:
    """Return refined weights. The same job gives the same weights."""
    import keras

    from offramp.inference.network.keras_model import set_weights, weights_of

    keras.utils.set_random_seed(job.seed)
    manifest = job.manifest
    thresholds = (float(manifest["thresholds_ms"][0]), float(manifest["thresholds_ms"][1]))
    preset, memory = preset_of(manifest), memory_of(job.weights, manifest)
    model = _trainable(len(manifest["channels"]), int(manifest["spectrum_size"]), preset)
    set_weights(model, dict(job.weights))
    for variable in model.optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    model.optimizer.learning_rate = job.learning_rate
    parts = pieces([*job.own, *job.rehearsal], thresholds, preset.length, memory)
    count = len(parts.x)
    rng = np.random.default_rng(job.seed)
    for _ in range(job.epochs):
        order = np.resize(rng.permutation(count), -(-count // BATCH) * BATCH)  # whole batches: one trace
        x, y, w = parts.batch(order)
        model.fit(x, y, sample_weight=w, epochs=1, batch_size=BATCH, shuffle=False, verbose=0)
    return clipped(job.weights, weights_of(model), job.update_share)


def clipped(old: Mapping[str, NDArray[np.float32]], new: Mapping[str, NDArray[np.float32]], share: float) -> Weights:
    """Return the new weights, moved back towards the old until the update is at most `share` of their length."""
    length = norm(old)
    update = norm({name: new[name] - old[name] for name in new})
    factor = np.float32(min(1.0, share * length / update)) if update > 0 else np.float32(1)
    return {
        name: (old[name] + (new[name] - old[name]) * factor).astype(np.float32) if name in new else old[name]
        for name in old
    }


def blended(old: Mapping[str, NDArray[np.float32]], new: Mapping[str, NDArray[np.float32]], share: float) -> Weights:
    """Return weights `share` of the way from the old to the new (Wortsman et al. 2022, WiSE-FT)."""
    return {name: (old[name] + np.float32(share) * (new[name] - old[name])).astype(np.float32) for name in old}


def norm(weights: Mapping[str, NDArray[np.float32]]) -> float:
    """Return the Euclidean length of all weights that are trained, together."""
    squares = (np.sum(np.square(weights[name], dtype=np.float64)) for name in WEIGHT_NAMES if name in weights)
    return float(np.sqrt(sum(float(each) for each in squares)))


def refined_artifact(
    parent: Artifact, weights: Mapping[str, NDArray[np.float32]], folder: Path, own: Sequence[TrainingSequence],
    seed: int, record: Mapping[str, Any],
) -> tuple[Artifact, Path]:  # fmt: skip
    """Save refined weights as an artifact under `folder`, in a folder named by its sha; return both.

    record: added to what the manifest says of the refinement: the sha of the parent, that of the base which the first
    refinement began with, and the rows it learned from.
    """
    meta = {key: value for key, value in parent.manifest.items() if key not in ("format", "sha256")}
    name = str(meta["name"]).removesuffix("-refined")
    before = meta.pop("refined", None) or {"base": parent.sha}
    rows = sum(int(np.count_nonzero(~np.isnan(each.label_ms))) for each in own)
    meta |= {
        "name": f"{name}-refined", "seed": seed, "data_fingerprint": fingerprint(own), "metrics": {},
        "command": "refined in service",
        "refined": {"base": before["base"], "parent": parent.sha, "rows": rows, **record},
    }  # fmt: skip
    temporary = folder / ".new"
    artifact = save_artifact(temporary, weights, parent.normaliser, meta)
    place = folder / artifact.sha[:16]
    shutil.rmtree(place, ignore_errors=True)
    return artifact, temporary.rename(place)


class Done:
    """Work that is finished."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def ready(self) -> bool:
        """Return whether it is finished."""
        return True

    def get(self) -> Weights:
        """Return the refined weights."""
        return self._weights


class InProcess:
    """Refines at once, in this process: for tests and evaluations."""

    def submit(self, job: ChallengerJob) -> Any:
        """Refine; return the finished work."""
        return Done(refine_weights(job))

    def close(self) -> None:
        """Do nothing: there is no process to end."""


class TrainerProcess:
    """Refines in a process of its own, of low priority and on one thread, so that the stream goes on meanwhile."""

    def __init__(self) -> None:
        self._pool: Any = None

    def submit(self, job: ChallengerJob) -> Any:
        """Begin to refine; return the work, which has `ready()` and `get()`."""
        if self._pool is None:
            from multiprocessing import get_context

            self._pool = get_context("spawn").Pool(1, _humble)
        return self._pool.apply_async(refine_weights, (job,))

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool.join()
            self._pool = None


def _humble() -> None:
    """Take a low priority and one thread; ignore Ctrl-C, which the parent handles."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(10)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # TensorFlow logs there; errors come back as exceptions
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
