"""The hybrid MLP-LSTM in Keras 3: three dense ReLU layers a bin, an STFT branch, two LSTM layers, fused for two heads.

Source: the paper's eq. 4-15 and Algorithm 1 (MLP features fused with the LSTM's), trained sequence to sequence, with
the spectrum skipping to the fusion. Heads: class probabilities, and quantiles of log1p(delay in ms) that cannot cross.
Where the preset has a memory, a bin's row carries it behind the channels, and the delay's quantiles rest on it.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from offramp.inference.forecast import QUANTILES
from offramp.inference.network.preset import OUTPUTS, WEIGHT_NAMES, Preset
from offramp.inference.network.quantile_layer import MonotoneQuantiles
from offramp.inference.network.queue_history import ANCHORS, SCALE

LAYERS = ("dense1", "dense2", "dense3", "spectrum", "lstm1", "lstm2", "fusion", "classes", "delay")

ROOT_SHARE = 0.1


@keras.saving.register_keras_serializable("offramp")
class Anchored(layers.Layer):  # type: ignore[misc]
    """Quantiles that rest on anchors: each is a weighted mean of them, shifted, and not below the one before.

    A queue that is full, empty or draining is then forecast to the millisecond, which weights of a dense layer, in
    log1p(ms), do not reach.
    """

    def __init__(self, channels: int, **more: Any) -> None:
        super().__init__(**more)
        self.channels = channels

    def call(self, row: Any, numbers: Any) -> Any:
        """Return log1p(ms) [..., 3] of rows [..., F + FEATURES] and numbers [..., 3 * (ANCHORS + 1)]."""
        anchors = row[..., self.channels : self.channels + ANCHORS] * float(SCALE)
        out: list[Any] = []
        for j in range(OUTPUTS):
            weights = ops.softmax(numbers[..., j * ANCHORS : (j + 1) * ANCHORS], axis=-1)
            value = ops.sum(weights * anchors, axis=-1) + numbers[..., OUTPUTS * ANCHORS + j]
            out.append(ops.maximum(value, out[-1] if out else 0.0))
        return ops.stack(out, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return what the layer is made from."""
        return {**super().get_config(), "channels": self.channels}


def build(channels: int, spectrum: int, preset: Preset) -> Any:
    """Return the Keras model: x [n, T, inputs], spectrum [n, T, K] -> classes [n, T, 3], log1p delay [n, T, 3].

    inputs: the channels, and behind them the memory where the preset has one.
    """
    l2 = keras.regularizers.L2(preset.l2)
    x = keras.Input((None, preset.inputs(channels)), name="x")
    frames = keras.Input((None, spectrum), name="frames")
    features = x
    for name in LAYERS[:3]:
        features = layers.Dense(preset.dense, "relu", kernel_regularizer=l2, name=name)(features)
    skipped = layers.Dense(preset.spectrum, "relu", kernel_regularizer=l2, name="spectrum")(frames)
    both = layers.Concatenate()([features, skipped])
    memory = layers.LSTM(preset.lstm, return_sequences=True, name="lstm1")(layers.Dropout(preset.dropout)(both))
    memory = layers.LSTM(preset.lstm, return_sequences=True, name="lstm2")(memory)
    fused = layers.Concatenate()([features, skipped, memory])
    fused = layers.Dense(preset.fusion, "relu", kernel_regularizer=l2, name="fusion")(
        layers.Dropout(preset.dropout)(fused)
    )
    classes = layers.Dense(OUTPUTS, "softmax", name="classes")(fused)
    delay = layers.Dense(preset.delay_outputs, name="delay")(fused)
    rising = Anchored(channels, name="rising")(x, delay) if preset.memory else MonotoneQuantiles(name="rising")(delay)
    return keras.Model([x, frames], {"classes": classes, "rising": rising})


def pinball(truth: Any, predicted: Any) -> Any:
    """Return the quantile loss of each step: truth ms [n, T, 1], predicted log1p(ms) [n, T, 3].

    In log1p(ms), and a little in the root of 1 + ms, so that long delays are not merely right by their ratio.
    """
    log = ops.log1p(truth)
    bounded = ops.minimum(predicted, 20.0)
    return quantile_error(log, predicted) + ROOT_SHARE * quantile_error(ops.exp(log / 2), ops.exp(bounded / 2))


def quantile_error(truth: Any, predicted: Any) -> Any:
    """Return the mean quantile loss over the quantiles: truth [n, T, 1], predicted [n, T, 3]."""
    error = truth - predicted
    q = ops.convert_to_tensor(QUANTILES, dtype=predicted.dtype)
    return ops.mean(ops.maximum(q * error, (q - 1) * error), axis=-1)


def weights_of(model: Any) -> dict[str, Any]:
    """Return the weights by name: `_w` [in, out], recurrent `_r`, biases `_b`; LSTM gates in the order i, f, c, o."""
    arrays: list[Any] = []
    for name in LAYERS:
        arrays += model.get_layer(name).get_weights()
    return dict(zip(WEIGHT_NAMES, arrays, strict=True))


def set_weights(model: Any, weights: dict[str, Any]) -> None:
    """Give a model the weights of `weights_of`."""
    for name in LAYERS:
        kinds = ("w", "r", "b") if name.startswith("lstm") else ("w", "b")
        model.get_layer(name).set_weights([weights[f"{name}_{kind}"] for kind in kinds])
