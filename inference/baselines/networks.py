"""What the baseline networks share: training data as pieces of series or rows of a table, the hybrid's losses, one fit.

Every network has the hybrid's two heads (class, and quantiles of log1p delay that cannot cross) and its losses, so that
what is compared is the body.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.inference.baselines.forecaster import HISTORY_BINS, Series, Task
from offramp.inference.baselines.lags import TrainingRows
from offramp.inference.baselines.search import best_of
from offramp.inference.forecast import QUANTILES, Prediction
from offramp.inference.scores import classify

PIECE = 256
"""Bins of one piece that a network over time is unrolled over."""
SEARCH_EPOCHS = 3
CALL = 65_536
"""Rows, or bins, of one call of a network."""


class Examples(NamedTuple):
    """What a network is fitted to: inputs [n, ..., D], targets and their weights by head, [n] or [n, PIECE]."""

    inputs: NDArray[np.float32]
    targets: dict[str, NDArray[Any]]
    weights: dict[str, NDArray[np.float32]]


def examples(inputs: NDArray[np.float32], delay_ms: NDArray[np.float32], task: Task) -> Examples:
    """Return examples of inputs and delays of the same leading shape; an unknown delay (NaN) weighs nothing."""
    known = (~np.isnan(delay_ms)).astype(np.float32)
    delay = np.nan_to_num(delay_ms)
    targets = {"classes": classify(delay, task.thresholds_ms), "rising": np.log1p(delay)[..., None]}
    return Examples(inputs, targets, {"classes": known, "rising": known})


def rows_as_examples(rows: TrainingRows, task: Task) -> Examples:
    """Return a table as examples."""
    return examples(rows.features, rows.label_ms, task)


def pieces(series: Sequence[Series], task: Task, most: int) -> Examples:
    """Return series in pieces of PIECE bins, at most `most` bins of them, drawn by the seed.

    A series' first bins, which lack a window before them, weigh nothing, as in the tables.
    """
    inputs, delays = [], []
    for each in series:
        delay = each.targets_ms[:, task.horizon].copy()
        delay[: HISTORY_BINS - 1] = np.nan
        for start in range(0, len(each.x), PIECE):
            x, part = each.x[start : start + PIECE], delay[start : start + PIECE]
            short = PIECE - len(x)
            inputs.append((x, short))
            delays.append((part, short))
    order = np.random.default_rng(task.seed).permutation(len(inputs))[: max(2, most // PIECE)]
    x = np.stack([np.pad(inputs[i][0], ((0, inputs[i][1]), (0, 0))) for i in order])
    delay = np.stack([np.pad(delays[i][0], (0, delays[i][1]), constant_values=np.nan) for i in order])
    return examples(x, delay, task)


def quantile_loss(truth: Any, predicted: Any) -> Any:
    """Return the mean pinball loss over the quantiles: truth [..., 1], predicted [..., 3], log1p of ms."""
    from keras import ops

    error = truth - predicted
    q = ops.convert_to_tensor(QUANTILES, dtype=predicted.dtype)
    return ops.mean(ops.maximum(q * error, (q - 1) * error), axis=-1)


def with_heads(inputs: Any, body: Any) -> Any:
    """Return the Keras model that ends a body [..., n] with the class and the delay."""
    import keras
    from keras import layers

    from offramp.inference.network.quantile_layer import MonotoneQuantiles

    classes = layers.Dense(3, "softmax", name="classes")(body)
    rising = MonotoneQuantiles(name="rising")(layers.Dense(3, name="delay")(body))
    return keras.Model(inputs, {"classes": classes, "rising": rising, "body": body})


def fitted(build: Callable[[], Any], train: Examples, held: Examples, task: Task, settings: dict[str, Any],
           epochs: int) -> tuple[Any, float]:  # fmt: skip
    """Return a network built and fitted anew, and its least validation loss; stops early. Same seed, same network."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(task.seed)
    tf.config.experimental.enable_op_determinism()
    whole = build()
    model = keras.Model(whole.inputs, {name: whole.output[name] for name in ("classes", "rising")})
    model.compile(
        keras.optimizers.Adam(settings["learning_rate"], clipnorm=1.0),
        loss={"classes": "sparse_categorical_crossentropy", "rising": quantile_loss},
    )
    stop = keras.callbacks.EarlyStopping("val_loss", patience=4, restore_best_weights=True)
    with redirect_stdout(sys.stderr):
        history = model.fit(
            train.inputs, train.targets, sample_weight=train.weights, validation_data=tuple(held), epochs=epochs,
            batch_size=settings["batch"], callbacks=[stop], verbose=0,
        )  # fmt: skip
    return whole, float(np.min(history.history["val_loss"]))


def tuned(build: Callable[[dict[str, Any]], Any], candidates: Sequence[dict[str, Any]], train: Examples, held: Examples,
          task: Task) -> tuple[Any, dict[str, Any]]:  # fmt: skip
    """Return the network of the best settings, fitted to everything, and those settings.

    The search fits each setting to a third of the examples for SEARCH_EPOCHS.
    """
    third = Examples(train.inputs[::3], {k: v[::3] for k, v in train.targets.items()},
                     {k: v[::3] for k, v in train.weights.items()})  # fmt: skip
    chosen = best_of(
        candidates, lambda one: fitted(lambda: build(one), third, held, task, one, SEARCH_EPOCHS)[1], task.budget.trials
    )
    model, _ = fitted(lambda: build(chosen), train, held, task, chosen, task.budget.epochs)
    return model, {**chosen, "examples": len(train.inputs), "parameters": int(model.count_params())}


class Network:
    """A fitted Keras network as a function of arrays, traced once for all lengths.

    It forecasts no longer delay than any it has learned from.
    """

    def __init__(self, model: Any, learned: Examples) -> None:
        import tensorflow as tf

        self._top = learned.targets["rising"].max()  # beyond all that was seen, expm1 makes minutes of a small error

        shape = [None] * (len(model.inputs[0].shape) - 1) + [int(model.inputs[0].shape[-1])]
        self._call = tf.function(
            lambda x: model(x, training=False), input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False
        )

    def __call__(self, inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the outputs `classes`, `rising` and `body` of inputs [n, ..., D]."""
        import tensorflow as tf

        out = {name: value.numpy() for name, value in self._call(tf.constant(inputs)).items()}
        return {**out, "rising": np.minimum(out["rising"], self._top)}

    def of_rows(self, inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the outputs of many rows [n, D], some at a time."""
        parts = [self(inputs[start : start + CALL]) for start in range(0, len(inputs), CALL)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def of_series(self, x: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the outputs after every bin of one series [T, D]."""
        return {name: value[0] for name, value in self(x[None]).items()}


def forecast(outputs: dict[str, NDArray[np.float32]]) -> Prediction:
    """Return what the two heads say."""
    return Prediction(outputs["classes"], np.expm1(outputs["rising"]).astype(np.float32))


def of_time(series: Sequence[Series], validation: Sequence[Series], task: Task) -> tuple[Examples, Examples]:
    """Return the pieces that a network over time is trained and validated on, within the budget."""
    return pieces(series, task, task.budget.bins), pieces(validation, task, max(PIECE * 2, task.budget.bins // 4))
