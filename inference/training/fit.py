"""Fitting the network to sequences: pieces of a fixed length, the losses, the learning rate, when to stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.inference.dataset.sequence import TrainingSequence
from offramp.inference.network.preset import Preset
from offramp.inference.network.queue_history import STATE, Memory
from offramp.inference.network.tensorflow_notices import without_notices
from offramp.inference.scores import classify

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

    from offramp.inference.network.keras_model import build, pinball

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    model = build(train[0].x.shape[1], train[0].spectrum.shape[1], preset)
    learn = batches(pieces(train, thresholds_ms, preset.length, memory), preset.batch, seed)
    held = batches(pieces(validation, thresholds_ms, preset.length, memory), preset.batch, None)
    model.compile(
        keras.optimizers.Adam(learning_rate(preset, len(learn), epochs), clipnorm=1.0),
        loss={"classes": "sparse_categorical_crossentropy", "rising": pinball},
    )
    stop = keras.callbacks.EarlyStopping("val_loss", patience=preset.patience, restore_best_weights=True)
    model.fit(learn, validation_data=held, epochs=epochs, shuffle=False, callbacks=[stop, *watch], verbose=verbose)
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


class Pieces(NamedTuple):
    """Sequences in P pieces of L bins, zeros behind their ends.

    x: float32 [P, L, F]; frames: float32 [P, L, K]; label_ms: float32 [P, L], NaN where unknown and behind the end;
    weight: float32 [P], of the bins of a piece; before: float32 [P, STATE], what the memory holds where a piece begins,
    so that its rows are those of service.
    The memory's many numbers are made batch by batch: of all pieces at once they would be most of what training holds.
    """

    x: NDArray[np.float32]
    frames: NDArray[np.float32]
    label_ms: NDArray[np.float32]
    weight: NDArray[np.float32]
    before: NDArray[np.float32]
    memory: Memory | None
    thresholds_ms: tuple[float, float]

    def batch(self, which: NDArray[np.int64]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Return inputs, targets and weights of some pieces; unknown targets weigh nothing."""
        rows, delay = self.x[which], self.label_ms[which]
        if self.memory:
            series = np.repeat(np.arange(len(rows), dtype=np.int32), rows.shape[1])
            flat = rows.reshape(-1, rows.shape[2])
            rows = self.memory.update(flat, series, self.before[which]).reshape(*rows.shape[:2], -1)
        known = ~np.isnan(delay) * self.weight[which, None]
        delay = np.nan_to_num(delay)
        targets = {"classes": classify(delay, self.thresholds_ms), "rising": delay[..., None]}
        return {"x": rows, "frames": self.frames[which]}, targets, {"classes": known, "rising": known}


def pieces(
    sequences: Sequence[TrainingSequence], thresholds_ms: tuple[float, float], length: int,
    memory: Memory | None = None,
) -> Pieces:  # fmt: skip
    """Return sequences in pieces of `length` bins."""
    xs, frames, delays, weights, before = [], [], [], [], []
    for sequence in sequences:
        state = np.zeros((1, STATE), np.float32)
        for start in range(0, len(sequence.x), length):
            part = slice(start, start + length)
            rows, short = sequence.x[part], length - len(sequence.x[part])
            before.append(state[0].copy())
            weights.append(sequence.weight)
            if memory:
                memory.update(rows, np.zeros(len(rows), np.int32), state)
            xs.append(np.pad(rows, ((0, short), (0, 0))))
            frames.append(np.pad(sequence.spectrum[part], ((0, short), (0, 0))))
            delays.append(np.pad(sequence.label_ms[part], (0, short), constant_values=np.nan))
    return Pieces(
        np.stack(xs), np.stack(frames), np.stack(delays), np.array(weights, np.float32), np.stack(before), memory,
        thresholds_ms,
    )  # fmt: skip


def batches(parts: Pieces, size: int, seed: int | None) -> Any:
    """Return a Keras data set of batches of pieces, in an order drawn anew each epoch; as they stand without a seed."""
    import keras

    class Batches(keras.utils.PyDataset):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._rng = np.random.default_rng(seed)
            self.on_epoch_end()

        def __len__(self) -> int:
            return -(-len(parts.x) // size)

        def __getitem__(self, at: int) -> Any:
            return parts.batch(self._order[at * size : (at + 1) * size])

        def on_epoch_end(self) -> None:
            self._order = np.arange(len(parts.x)) if seed is None else self._rng.permutation(len(parts.x))

    return Batches()
