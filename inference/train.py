"""Training: sequences in, artifact out. Same data, same seed, same model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.artifact import Artifact, save_artifact
from inference.metrics import classify, score
from inference.quiet import without_notices
from inference.sequences import TrainingSequence
from inference.serve import open_predictor
from inference.shape import PRESETS
from offramp_errors import InputError

LENGTH = 256
"""Bins of one piece that the network is unrolled over."""
HELD_OUT = 5
"""Every fifth source is kept for validation, whole."""


def train(
    sequences: Sequence[TrainingSequence], normaliser: Mapping[str, NDArray[Any]], out: Path, meta: dict[str, Any],
    *, preset: str = "default", seed: int = 1, epochs: int = 40, thresholds_ms: tuple[float, float] | None = None,
    validation: Sequence[TrainingSequence] | None = None,
) -> Artifact:  # fmt: skip
    """Train, write the artifact to `out`, and return it with its validation scores in the manifest.

    meta: name, channels, spectrum_size, bin_ms, horizon_ms, command; thresholds_ms: delays where Medium and High
    begin, None for the terciles of the training part; validation: what to stop by and score on, otherwise held out of
    `sequences`. Raise InputError where the data leave nothing to validate on.
    """
    with without_notices():
        import keras
        import tensorflow as tf

    from inference.model import build, pinball, weights_of

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    fit, held = split(sequences) if validation is None else (list(sequences), list(validation))
    if thresholds_ms is None:
        known = np.concatenate([s.delay_ms[~np.isnan(s.delay_ms)] for s in fit])
        thresholds_ms = (float(np.quantile(known, 1 / 3)), float(np.quantile(known, 2 / 3)))
    shape = PRESETS[preset]
    model = build(fit[0].x.shape[1], fit[0].spectrum.shape[1], shape)
    model.compile(
        keras.optimizers.Adam(shape.learning_rate, clipnorm=1.0),
        loss={"classes": "sparse_categorical_crossentropy", "rising": pinball},
    )
    stop = keras.callbacks.EarlyStopping("val_loss", patience=shape.patience, restore_best_weights=True)
    x, y, w = pieces(fit, thresholds_ms)
    model.fit(
        x, y, sample_weight=w, validation_data=pieces(held, thresholds_ms), epochs=epochs, batch_size=shape.batch,
        callbacks=[stop], verbose=2,
    )  # fmt: skip
    full = {
        **meta, "preset": preset, "seed": seed, "thresholds_ms": list(thresholds_ms), "metrics": {},
        "data_fingerprint": fingerprint(sequences),
    }  # fmt: skip
    weights = weights_of(model)
    save_artifact(out, weights, normaliser, full)
    full["metrics"] = validate(out, held, thresholds_ms)
    return save_artifact(out, weights, normaliser, full)


def origin(sequence: TrainingSequence) -> str:
    """Return what a sequence was made from, whatever the device (`#`) and the capacity (`@`) it was seen with."""
    return sequence.source.split("#")[0].split("@")[0]


def split(sequences: Sequence[TrainingSequence]) -> tuple[list[TrainingSequence], list[TrainingSequence]]:
    """Return the training and the validation part: whole sources, devices with their link."""
    sources = sorted({origin(sequence) for sequence in sequences})
    held = set(sources[HELD_OUT - 1 :: HELD_OUT])
    if not held:
        raise InputError(f"{len(sources)} source(s) of training data; at least {HELD_OUT} are needed to hold one out")
    parts: tuple[list[TrainingSequence], list[TrainingSequence]] = ([], [])
    for sequence in sequences:
        parts[origin(sequence) in held].append(sequence)
    return parts


def pieces(
    sequences: Sequence[TrainingSequence], thresholds_ms: tuple[float, float]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return inputs, targets and weights in pieces of LENGTH bins; unknown targets and padding weigh nothing."""
    xs, frames, delays = [], [], []
    for sequence in sequences:
        for start in range(0, len(sequence.x), LENGTH):
            part = slice(start, start + LENGTH)
            short = LENGTH - len(sequence.x[part])
            xs.append(np.pad(sequence.x[part], ((0, short), (0, 0))))
            frames.append(np.pad(sequence.spectrum[part], ((0, short), (0, 0))))
            delays.append(np.pad(sequence.delay_ms[part], (0, short), constant_values=np.nan))
    delay = np.stack(delays)
    known = (~np.isnan(delay)).astype(np.float32)
    delay = np.nan_to_num(delay)
    targets = {"classes": classify(delay, thresholds_ms), "rising": np.log1p(delay)[..., None]}
    return {"x": np.stack(xs), "frames": np.stack(frames)}, targets, {"classes": known, "rising": known}


def validate(folder: Path, held: Sequence[TrainingSequence], thresholds_ms: tuple[float, float]) -> dict[str, float]:
    """Return the scores of the written artifact, served as the stream serves it, on the sequences held out.

    Persistence is the largest delay of the horizon that has just passed.
    """
    predictor = open_predictor(folder)
    bins = predictor.horizon_ms // predictor.bin_ms
    parts: list[list[NDArray[np.float32]]] = [[], [], [], []]
    for sequence in held:
        state = np.zeros((1, predictor.state_size), np.float32)
        found = predictor.predict(sequence.x, sequence.spectrum, np.zeros(len(sequence.x), np.int32), state)
        past = np.full_like(sequence.delay_ms, np.nan)
        past[bins:] = sequence.delay_ms[:-bins]
        good = ~np.isnan(sequence.delay_ms) & ~np.isnan(past)
        for part, values in zip(parts, (sequence.delay_ms, found.probabilities, found.delay_ms, past), strict=True):
            part.append(values[good])
    delay, probabilities, quantiles, now = (np.concatenate(part) for part in parts)
    return score(delay, probabilities, quantiles, now, thresholds_ms)


def fingerprint(sequences: Sequence[TrainingSequence]) -> str:
    """Return the sha256 of all training data."""
    digest = hashlib.sha256()
    for sequence in sequences:
        for array in (sequence.x, sequence.spectrum, sequence.delay_ms):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
