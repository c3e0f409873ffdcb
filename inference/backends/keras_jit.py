"""Keras on JAX (jitted) or torch (without gradients). The process must have begun with KERAS_BACKEND set."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from offramp.inference.artifact import Artifact
from offramp.inference.backends.fixed_shapes import FixedShapes, Floats, Outputs


class JaxBackend(FixedShapes):
    """Serves by jax.jit, which compiles each fixed batch size once."""

    runtime = "jax"

    def load(self, artifact: Artifact) -> None:
        """Build the Keras model and the functions around it; each counts its traces. Raises ImportError."""
        import keras

        if keras.backend.backend() != self.runtime:
            raise ImportError(f"Keras runs on {keras.backend.backend()} here")
        from offramp.inference.backends.keras_step import loaded, stepped, windowed

        model = loaded(artifact)

        def step(x: Any, frames: Any, state: Any) -> Any:
            self.traces += 1
            return stepped(model, x, frames, state)

        def window(x: Any, frames: Any) -> Any:
            self.traces += 1
            return windowed(model, x, frames)

        self.device = self.found_device()
        self._step, self._window = self.compiled(step), self.compiled(window)

    def found_device(self) -> str:
        """Return what the runtime computes on."""
        return "CPU" if import_module("jax").default_backend() == "cpu" else "GPU"

    def compiled(self, function: Any) -> Any:
        """Return the function compiled by the runtime."""
        return import_module("jax").jit(function)

    def step(self, x: Floats, frames: Floats, state: Floats) -> Outputs:
        """See FixedShapes.step."""
        classes, rising, after = self._step(x, frames, state)
        return self.array(classes), self.array(rising), self.array(after)

    def window(self, x: Floats, frames: Floats) -> tuple[Floats, Floats]:
        """See FixedShapes.window."""
        classes, rising = self._window(x, frames)
        return self.array(classes), self.array(rising)

    def array(self, tensor: Any) -> Floats:
        """Return a tensor of the runtime as an array."""
        return np.asarray(tensor)


class TorchBackend(JaxBackend):
    """Serves by torch, eagerly: `traces` counts calls, as nothing is compiled."""

    runtime = "torch"

    def found_device(self) -> str:
        """Return what the runtime computes on."""
        return "GPU" if import_module("torch").cuda.is_available() else "CPU"

    def compiled(self, function: Any) -> Any:
        """Return the function without gradients."""
        torch = import_module("torch")
        from keras import ops

        def plain(*arrays: Floats) -> Any:
            with torch.inference_mode():
                return function(*(ops.convert_to_tensor(array) for array in arrays))

        return plain

    def array(self, tensor: Any) -> Floats:
        """Return a tensor of the runtime as an array."""
        out: Floats = tensor.cpu().numpy()
        return out
