"""Fitting the network to sequences: pieces of a fixed length, the losses, the learning rate, when to stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.memory import Memory
from inference.metrics import classify
from inference.quiet import without_notices
from inference.sequences import TrainingSequence
from inference.shape import Preset
from offramp_errors import InputError

WARM_UP = 0.5
"""Epochs in which an annealed learning rate rises to its height."""


def fit(
    train: Sequence[TrainingSequence], validation: Sequence[TrainingSequence], memory: Memory | None,
    thresholds_ms: tuple[float, float], preset: Preset, *, seed: int, epochs: int, watch: Sequence[Any] = (),
    verbose: int = 2,
) -> Any:  # fmt: skip
    """Return the fitted Keras model, at its best epoch by the validation loss. Same data, same seed, same weights.

    memory: makes the rows of a preset that has one; watch: more Keras callbacks; verbose: as Keras. Raise InputError
    where there is nothing to learn from or to stop by.
    """
    if not train or not validation:
        raise InputError(
            "a training and a validation part are needed and the data have but one; give more or longer ones"
        )
    with without_notices():
        import keras
        import tensorflow as tf

    from inference.model import build, pinball

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    model = build(train[0].x.shape[1], train[0].spectrum.shape[1], preset)
    x, y, w = pieces(train, thresholds_ms, preset.length, memory)
    steps = -(-len(x["x"]) // preset.batch)
    model.compile(
        keras.optimizers.Adam(learning_rate(preset, steps, epochs), clipnorm=1.0),
        loss={"classes": "sparse_categorical_crossentropy", "rising": pinball},
    )
    stop = keras.callbacks.EarlyStopping("val_loss", patience=preset.patience, restore_best_weights=True)
    model.fit(
        x, y, sample_weight=w, validation_data=pieces(validation, thresholds_ms, preset.length, memory), epochs=epochs,
        batch_size=preset.batch, callbacks=[stop, *watch], verbose=verbose,
    )  # fmt: skip
    return model


def learning_rate(preset: Preset, steps: int, epochs: int) -> Any:
    """Return the learning rate: constant, or up over half an epoch and down along a cosine to nothing."""
    if not preset.annealed:
        return preset.learning_rate
    import keras

    warm = max(1, round(WARM_UP * steps))
    return keras.optimizers.schedules.CosineDecay(
        preset.learning_rate / 10, max(1, steps * epochs - warm), warmup_target=preset.learning_rate, warmup_steps=warm,
        alpha=0.01,
    )  # fmt: skip


def pieces(
    sequences: Sequence[TrainingSequence], thresholds_ms: tuple[float, float], length: int,
    memory: Memory | None = None,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:  # fmt: skip
    """Return inputs, targets and weights in pieces of `length` bins; unknown targets and padding weigh nothing.

    A piece's rows carry the memory of the whole sequence before it, as a row in service does.
    """
    xs, frames, delays = [], [], []
    for sequence in sequences:
        rows = memory.of_series(sequence.x) if memory else sequence.x
        for start in range(0, len(rows), length):
            part = slice(start, start + length)
            short = length - len(rows[part])
            xs.append(np.pad(rows[part], ((0, short), (0, 0))))
            frames.append(np.pad(sequence.spectrum[part], ((0, short), (0, 0))))
            delays.append(np.pad(sequence.delay_ms[part], (0, short), constant_values=np.nan))
    delay: NDArray[np.float32] = np.stack(delays)
    known = (~np.isnan(delay)).astype(np.float32)
    delay = np.nan_to_num(delay)
    targets = {"classes": classify(delay, thresholds_ms), "rising": delay[..., None]}
    return {"x": np.stack(xs), "frames": np.stack(frames)}, targets, {"classes": known, "rising": known}
