"""LiteRT (formerly TensorFlow Lite): one step and whole windows, converted at start for every fixed batch size.

Conversion needs TensorFlow; serving, from then on, only LiteRT's interpreter.
"""

from __future__ import annotations

from typing import Any

from offramp.inference.artifact import Artifact
from offramp.inference.backends.fixed_shapes import WINDOW, FixedShapes, Floats, Outputs


class LiteRTBackend(FixedShapes):
    """Serves by LiteRT's interpreter, on one thread: one interpreter for each fixed batch size."""

    def load(self, artifact: Artifact) -> None:
        """Keep what conversion needs; it happens when a shape is first asked for, which is while warming."""
        import ai_edge_litert.interpreter as litert

        from offramp.inference.backends.keras_step import loaded

        self._interpreter: Any = litert.Interpreter
        self._model = loaded(artifact)
        self._steps: dict[int, Any] = {}
        self._windows: dict[int, Any] = {}

    def step(self, x: Floats, frames: Floats, state: Floats) -> Outputs:
        """See FixedShapes.step."""
        from offramp.inference.backends.keras_step import stepped

        if len(x) not in self._steps:
            self._steps[len(x)] = self._runner(lambda *given: stepped(self._model, *given), x, frames, state)
        probabilities, rising, after = self._steps[len(x)](x, frames, state)
        return probabilities, rising, after

    def window(self, x: Floats, frames: Floats) -> tuple[Floats, Floats]:
        """See FixedShapes.window: the steps of the window unrolled, as the interpreter has no loop of ours."""
        from offramp.inference.backends.keras_step import stepped

        def unrolled(x: Any, frames: Any) -> Any:
            import tensorflow as tf

            after = tf.zeros((x.shape[0], self.network_state))
            found: Any = ()
            for t in range(WINDOW):
                *found, after = stepped(self._model, x[:, t], frames[:, t], after)
            return found

        if len(x) not in self._windows:
            self._windows[len(x)] = self._runner(unrolled, x, frames)
        probabilities, rising = self._windows[len(x)](x, frames)
        return probabilities, rising

    def _runner(self, function: Any, *like: Floats) -> Any:
        """Convert a function for the shapes of `like`; return a callable of arrays that gives arrays."""
        import tensorflow as tf
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        self.traces += 1
        specs = [tf.TensorSpec(array.shape, tf.float32, name=f"given{k}") for k, array in enumerate(like)]
        concrete = tf.function(lambda *given: function(*given), specs, autograph=False).get_concrete_function()
        frozen = convert_variables_to_constants_v2(concrete)  # the converter's own way leaves variables unread: NaN
        content = tf.lite.TFLiteConverter.from_concrete_functions([frozen], tf.Module()).convert()
        interpreter = self._interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        given, found = (
            [each["index"] for each in sorted(details, key=lambda each: str(each["name"]))]
            for details in (interpreter.get_input_details(), interpreter.get_output_details())
        )

        def run(*arrays: Floats) -> list[Floats]:
            for place, array in zip(given, arrays, strict=True):
                interpreter.set_tensor(place, array)
            interpreter.invoke()
            return [interpreter.get_tensor(place) for place in found]

        return run
