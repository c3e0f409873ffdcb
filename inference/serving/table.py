"""Ways to serve the same artifact: the compiled kernel, ONNX Runtime beside it, and Keras, the way to a GPU.

Imports nothing heavy: the command line takes the names from here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from offramp.errors import ArtifactError

if TYPE_CHECKING:
    from offramp.inference.artifact import Artifact
    from offramp.inference.serving.fixed_shapes import Backend

TABLE: dict[str, tuple[str, str, str]] = {
    "compiled": ("compiled", "CompiledBackend", "numba"),
    "onnx": ("onnx_runtime", "OnnxBackend", "onnx and onnxruntime"),
    "tensorflow": ("tensorflow", "TensorFlowBackend", "tensorflow"),
}
"""By name: module, class, and what must be installed."""


def open_backend(name: str, artifact: Artifact, shapes: Sequence[int] | None = None) -> Backend:
    """Return a backend for an artifact, warmed so that it compiles nothing afterwards.

    shapes: what batches are padded to, its own where None. Raise ArtifactError for an unknown name, or saying what must
    be installed.
    """
    if name not in TABLE:
        raise ArtifactError(f"serving backend {name!r}: there is none of that name; there are {', '.join(TABLE)}")
    module, kind, needs = TABLE[name]
    try:
        make: Callable[..., Backend] = getattr(import_module(f"offramp.inference.serving.{module}"), kind)
        return make(artifact) if shapes is None else make(artifact, shapes)
    except ImportError as error:
        raise ArtifactError(f"serving backend {name}: needs {needs} ({error})") from error
