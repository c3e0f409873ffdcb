"""ONNX Runtime: the graphs of `onnx_export`, on the first execution provider it has, so on a GPU where it sees one."""

from __future__ import annotations

import numpy as np

from offramp.inference.artifact import Artifact
from offramp.inference.serving.fixed_shapes import FixedShapes, Outputs
from offramp.inference.serving.predictor import Floats

CPU = "CPUExecutionProvider"
GPU = "CUDAExecutionProvider"


class OnnxBackend(FixedShapes):
    """Serves by ONNX Runtime, on one thread."""

    def load(self, artifact: Artifact) -> None:
        """Make the graphs and open a session of each."""
        import onnxruntime as ort

        from offramp.inference.serving.onnx_export import step_model, window_model

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        providers = [name for name in (GPU, CPU) if name in ort.get_available_providers()]

        def session(model: bytes) -> ort.InferenceSession:
            self.traces += 1
            return ort.InferenceSession(model, options, providers=providers)

        self._step = session(step_model(artifact).SerializeToString())
        if self._step.get_providers()[0] == GPU:
            self.device = "GPU"
        self._window = session(window_model(artifact).SerializeToString())

    def step(self, x: Floats, frames: Floats, state: Floats) -> Outputs:
        """See FixedShapes.step."""
        probabilities, rising, after = self._step.run(None, {"x": x, "frames": frames, "state": state})
        return probabilities, rising, after

    def window(self, x: Floats, frames: Floats) -> tuple[Floats, Floats]:
        """See FixedShapes.window."""
        given = {name: np.ascontiguousarray(each.swapaxes(0, 1)) for name, each in (("x", x), ("frames", frames))}
        probabilities, rising = self._window.run(None, given)
        return probabilities, rising
