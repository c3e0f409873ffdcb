"""The Keras layer that keeps quantiles from crossing, for the hybrid and the baselines."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("offramp", name="Rising")  # as saved networks name it
class MonotoneQuantiles(layers.Layer):  # type: ignore[misc]
    """Turns numbers [..., n] into non-negative, non-decreasing ones: the running sum of their softplus."""

    def call(self, inputs: Any) -> Any:
        """Return the running sums."""
        return ops.cumsum(ops.softplus(inputs), axis=-1)
