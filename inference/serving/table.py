"""Ways to serve the same artifact: the compiled kernel, ONNX Runtime beside it, and Keras, the way to a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from offramp.errors import ArtifactError
from offramp.extras import require
from offramp.inference.artifact import Artifact
from offramp.inference.serving.fixed_shapes import SHAPES, Backend

TABLE: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "compiled": ("compiled", "CompiledBackend", ()),
    "onnx": ("onnx_runtime", "OnnxBackend", ("onnx", "onnxruntime")),
    "tensorflow": ("tensorflow", "TensorFlowBackend", ("tensorflow", "keras")),
}
"""By name: module, class, and what must be installed beside the base."""


def open_backend(name: str, artifact: Artifact, shapes: Sequence[int] = SHAPES) -> Backend:
    """Return a backend for an artifact, warmed for batches padded to `shapes`: it compiles nothing afterwards.

    Raise ArtifactError for an unknown name, MissingExtraError saying what must be installed.
    """
    if name not in TABLE:
        raise ArtifactError(f"serving backend {name!r}: there is none of that name; there are {', '.join(TABLE)}")
    module, kind, needs = TABLE[name]
    require(f"serving by {name}", *needs)
    make: Callable[[Artifact, Sequence[int]], Backend] = getattr(
        import_module(f"offramp.inference.serving.{module}"), kind
    )
    return make(artifact, shapes)
