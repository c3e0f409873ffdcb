"""Ways to serve the same artifact: the compiled kernel, ONNX Runtime beside it, and Keras, the way to a GPU.

Imports nothing heavy: the command line takes the names from here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from offramp.errors import ArtifactError
from offramp.extras import require

if TYPE_CHECKING:
    from offramp.inference.artifact import Artifact
    from offramp.inference.serving.predictor import Backend


Make = Callable[..., "Backend"]
"""Makes a backend of an artifact, and of the sizes that batches are padded to."""


def _compiled() -> Make:
    from offramp.inference.serving.compiled import CompiledPredictor

    return CompiledPredictor


def _onnx() -> Make:
    from offramp.inference.serving.onnx_runtime import OnnxBackend

    return OnnxBackend


def _tensorflow() -> Make:
    from offramp.inference.serving.tensorflow import TensorFlowBackend

    return TensorFlowBackend


TABLE: dict[str, tuple[Callable[[], Make], tuple[str, ...]]] = {
    "compiled": (_compiled, ()),
    "onnx": (_onnx, ("onnx", "onnxruntime")),
    "tensorflow": (_tensorflow, ("tensorflow", "keras")),
}
"""By name: what loads its class, and what must be installed beside the base."""


def open_backend(name: str, artifact: Artifact, shapes: Sequence[int] | None = None) -> Backend:
    """Return a backend for an artifact, warmed so that it compiles nothing afterwards.

    shapes: what batches are padded to, its own where None. Raise ArtifactError for an unknown name, for a model that
    forecasts nonsense, MissingExtraError saying what must be installed.
    """
    if name not in TABLE:
        raise ArtifactError(f"serving backend {name!r}: there is none of that name; there are {', '.join(TABLE)}")
    load, needs = TABLE[name]
    require(f"serving by {name}", *needs)
    make = load()
    served = make(artifact) if shapes is None else make(artifact, shapes)
    from offramp.inference.serving.predictor import require_forecasts

    require_forecasts(served)
    return served


def open_predictor(folder: Path, backend: str = "compiled") -> Backend:
    """Load the artifact in `folder` and return what serves it, by a backend of the table.

    Raise ArtifactError as load_artifact and open_backend do.
    """
    from offramp.inference.artifact import load_artifact

    return open_backend(backend, load_artifact(folder))
