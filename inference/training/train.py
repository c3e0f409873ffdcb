"""Training: sequences in, artifact out. Same data, same seed, same model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.inference.artifact import Artifact, save_artifact
from offramp.inference.dataset.sequence import TrainingSequence
from offramp.inference.network.preset import SCALE_NAMES, Preset, load_preset
from offramp.inference.network.queue_history import Memory
from offramp.inference.scores import classify, expected_calibration_error, score, terciles
from offramp.inference.serving.table import open_predictor
from offramp.inference.training.calibration import best_temperature, conformal_shifts, folded
from offramp.inference.training.fit import fit


class Validated(NamedTuple):
    """Forecasts of the sequences held out, and what came true; all [n] or [n, 3]. persistence_ms: persistence."""

    label_ms: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    quantiles_ms: NDArray[np.float32]
    persistence_ms: NDArray[np.float32]


def train(
    sequences: Sequence[TrainingSequence], normaliser: Mapping[str, NDArray[Any]], out: Path, meta: dict[str, Any],
    *, validation: Sequence[TrainingSequence], preset: str | Preset = "default", seed: int = 1, epochs: int = 40,
    thresholds_ms: tuple[float, float] | None = None,
) -> Artifact:  # fmt: skip
    """Train, write the artifact to `out`, and return it with its validation scores in the manifest.

    normaliser: what brought the channels to their scale, with `limits` float64 [3, F] of mean, low and high; meta:
    name, channels, spectrum_size, bin_ms, horizon_ms, command; validation: what to stop by and to calibrate on, of
    other sources or another time than `sequences`; preset: a name, a file, or hyperparameters; thresholds_ms: delays
    where Medium and High begin, None for the terciles of the training part. Raise InputError where nothing is left to
    validate on.
    """
    if thresholds_ms is None:
        thresholds_ms = terciles(np.concatenate([sequence.label_ms for sequence in sequences]))
    shape = load_preset(preset) if isinstance(preset, str) else preset
    scale = scale_of(normaliser, meta) if shape.memory else None
    memory = Memory(scale, meta, thresholds_ms) if scale else None
    model = fit(sequences, validation, memory, thresholds_ms, shape, seed=seed, epochs=epochs)

    from offramp.inference.network.keras_model import weights_of  # Keras is there now, and quietly

    full = {
        **meta, "preset": preset if isinstance(preset, str) else "given", "hyperparameters": asdict(shape),
        "seed": seed, "thresholds_ms": list(thresholds_ms), "metrics": {},
        "data_fingerprint": fingerprint(sequences),
    }  # fmt: skip
    weights = weights_of(model) | (dict(zip(SCALE_NAMES, scale, strict=True)) if scale else {})
    save_artifact(out, weights, normaliser, full)
    before = validate(out, validation)
    truth = classify(before.label_ms, thresholds_ms)
    temperature = best_temperature(before.probabilities, truth)
    shifts = conformal_shifts(before.label_ms, before.quantiles_ms)
    weights = folded(weights, temperature, shifts)
    save_artifact(out, weights, normaliser, full)
    full["metrics"] = {
        **score(*validate(out, validation), thresholds_ms), "temperature": temperature,
        "ece_uncalibrated": expected_calibration_error(before.probabilities, truth),
    }  # fmt: skip
    return save_artifact(out, weights, normaliser, full)


def scale_of(
    normaliser: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what the memory needs to undo the normaliser: float32 [F] offset and divisor.

    Raise InputError where the normaliser does not have them.
    """
    limits = normaliser.get("limits")
    if limits is None or limits.shape != (3, len(meta["channels"])):
        raise InputError("the normaliser has no limits [3, channels]: save it with this version")
    low, high = limits[1].astype(np.float32), limits[2].astype(np.float32)
    return low, np.maximum(high - low, 0)


def validate(folder: Path, held: Sequence[TrainingSequence]) -> Validated:
    """Return what the written artifact, served as the stream serves it, says of the sequences held out.

    Persistence is the largest delay of the horizon that has just passed.
    """
    predictor = open_predictor(folder)
    bins = predictor.horizon_ms // predictor.bin_ms
    parts: list[list[NDArray[np.float32]]] = [[], [], [], []]
    for sequence in held:
        state = np.zeros((1, predictor.state_size), np.float32)
        found = predictor.predict(sequence.x, sequence.spectrum, np.zeros(len(sequence.x), np.int32), state)
        past = np.full_like(sequence.label_ms, np.nan)
        past[bins:] = sequence.label_ms[:-bins]
        good = ~np.isnan(sequence.label_ms) & ~np.isnan(past)
        for part, values in zip(parts, (sequence.label_ms, found.probabilities, found.quantiles_ms, past), strict=True):
            part.append(values[good])
    return Validated(*(np.concatenate(part) for part in parts))


def fingerprint(sequences: Sequence[TrainingSequence]) -> str:
    """Return the sha256 of all training data."""
    digest = hashlib.sha256()
    for sequence in sequences:
        for array in (sequence.x, sequence.spectrum, sequence.label_ms):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
