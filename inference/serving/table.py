"""Ways to serve the same artifact: the compiled kernel, ONNX Runtime beside it, and Keras, the way to a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from offramp.errors import ArtifactError
from offramp.inference.artifact import Artifact, load_artifact
from offramp.inference.serving.compiled import CompiledPredictor
from offramp.inference.serving.fixed_shapes import SHAPES
from offramp.inference.serving.predictor import Backend

TABLE: dict[str, tuple[str, str, str]] = {
    "compiled": ("compiled", "CompiledPredictor", "numba"),
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
        served = make(artifact, shapes)
    except ImportError as error:
        raise ArtifactError(f"serving backend {name}: needs {needs} ({error})") from error
    if isinstance(served, CompiledPredictor):
        served.check()
    return served


def open_predictor(folder: Path, backend: str = "compiled") -> Backend:
    """Load the artifact in `folder` and return what serves it, by a backend of the table.

    Raise ArtifactError as load_artifact and open_backend do.
    """
    return open_backend(backend, load_artifact(folder))
