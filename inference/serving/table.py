"""Ways to serve the same artifact: the compiled kernel, ONNX Runtime beside it, and Keras, the way to a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from offramp.errors import ArtifactError
from offramp.inference.artifact import Artifact
from offramp.inference.serving.fixed_shapes import SHAPES, Backend

TABLE: dict[str, tuple[str, str, str]] = {
    "compiled": ("compiled", "CompiledBackend", "numba"),
    "onnx": ("onnx_runtime", "OnnxBackend", "onnx and onnxruntime"),
    "tensorflow": ("tensorflow", "TensorFlowBackend", "tensorflow"),
}
"""By name: module, class, and what must be installed."""


def open_backend(name: str, artifact: Artifact, shapes: Sequence[int] = SHAPES) -> Backend:
    """Return a backend for an artifact, warmed for batches padded to `shapes`: it compiles nothing afterwards.

    Raise ArtifactError for an unknown name, or saying what must be installed.
    """
    if name not in TABLE:
        raise ArtifactError(f"serving backend {name!r}: there is none of that name; there are {', '.join(TABLE)}")
    module, kind, needs = TABLE[name]
    try:
        make: Callable[[Artifact, Sequence[int]], Backend] = getattr(
            import_module(f"offramp.inference.serving.{module}"), kind
        )
        return make(artifact, shapes)
    except ImportError as error:
        raise ArtifactError(f"serving backend {name}: needs {needs} ({error})") from error
