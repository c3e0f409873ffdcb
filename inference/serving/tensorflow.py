"""Keras on TensorFlow: a trace of every fixed batch size; on a GPU where it sees one."""

from __future__ import annotations

from typing import Any

import numpy as np

from offramp.inference.artifact import Artifact
from offramp.inference.serving.fixed_shapes import FixedShapes, Outputs
from offramp.inference.serving.predictor import Floats


class TensorFlowBackend(FixedShapes):
    """Serves by tf.function."""

    def load(self, artifact: Artifact) -> None:
        """Build the Keras model and the functions around it; each counts its traces."""
        import tensorflow as tf

        from offramp.inference.serving.keras_step import loaded, stepped, windowed

        model = loaded(artifact)
        if tf.config.list_physical_devices("GPU"):
            self.device = "GPU"

        def step(x: Any, frames: Any, state: Any) -> Any:
            self.traces += 1
            return stepped(model, x, frames, state)

        def window(x: Any, frames: Any) -> Any:
            self.traces += 1
            return windowed(model, x, frames)

        self._tensor = tf.constant
        self._step = tf.function(step, autograph=False)
        self._window = tf.function(window, autograph=False)

    def step(self, x: Floats, frames: Floats, state: Floats) -> Outputs:
        """See FixedShapes.step."""
        found = self._step(self._tensor(x), self._tensor(frames), self._tensor(state))
        return np.asarray(found[0]), np.asarray(found[1]), np.asarray(found[2])

    def window(self, x: Floats, frames: Floats) -> tuple[Floats, Floats]:
        """See FixedShapes.window."""
        found = self._window(self._tensor(x), self._tensor(frames))
        return np.asarray(found[0]), np.asarray(found[1])
