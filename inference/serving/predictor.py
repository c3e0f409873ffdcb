"""Serving: rows of bins in, forecasts out, with the state of every series carried along. Loads no TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.errors import ArtifactError
from offramp.inference.artifact import Artifact, load_artifact
from offramp.inference.forecast import Prediction
from offramp.inference.network.preset import SCALE_NAMES, WEIGHT_NAMES
from offramp.inference.network.queue_history import HIGHEST, STATE, Memory
from offramp.inference.serving.kernel.step import predict_rows


class Predictor(Protocol):
    """What the stream asks for forecasts."""

    name: str
    sha: str
    channels: tuple[str, ...]
    spectrum_size: int
    state_size: int
    bin_ms: int
    horizon_ms: int
    thresholds_ms: tuple[float, float]

    def predict(
        self,
        x: NDArray[np.float32],
        spectrum: NDArray[np.float32],
        series: NDArray[np.int32],
        state: NDArray[np.float32],
    ) -> Prediction:
        """Predict rows in order of time: row i is the next bin of series[i], whose state is updated in place.

        x: float32 [n, channels]; spectrum: float32 [n, spectrum_size]; series: int32 [n]; state: float32
        [m, state_size], zeros for a fresh series. The result has the same bits however the rows are cut into calls.
        """
        ...


class Served:
    """What every way of serving an artifact says of it."""

    def __init__(self, artifact: Artifact) -> None:
        manifest = artifact.manifest
        self.name = str(manifest["name"])
        self.sha = artifact.sha
        self.channels = tuple(manifest["channels"])
        self.spectrum_size = int(manifest["spectrum_size"])
        self.bin_ms = int(manifest["bin_ms"])
        self.horizon_ms = int(manifest["horizon_ms"])
        self.thresholds_ms = (float(manifest["thresholds_ms"][0]), float(manifest["thresholds_ms"][1]))
        self.network_state = 4 * artifact.weights["lstm1_r"].shape[0]
        self.memory = memory_of(artifact.weights, manifest)
        self.state_size = self.network_state + (STATE if self.memory else 0)

    def rows(
        self, x: NDArray[np.float32], series: NDArray[np.int32], state: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the network's rows: x itself, or with the memory behind it, whose state is updated in place."""
        return self.memory.update(x, series, state, self.network_state) if self.memory else x


def memory_of(weights: Mapping[str, NDArray[np.float32]], manifest: Mapping[str, Any]) -> Memory | None:
    """Return the memory of a model that has one."""
    if SCALE_NAMES[0] not in weights:
        return None
    low, width = (weights[name] for name in SCALE_NAMES)
    thresholds = manifest["thresholds_ms"]
    return Memory((low, width), manifest, (float(thresholds[0]), float(thresholds[1])))


class CompiledPredictor(Served):
    """The network as a compiled kernel."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact)
        self._weights = tuple(np.ascontiguousarray(artifact.weights[name], np.float32) for name in WEIGHT_NAMES)

    def check(self) -> None:
        """Forecast some bins of a silent, a middling and a full series.

        Raises ArtifactError where that gives a probability that is no number, or a delay of minutes. For a model that
        somebody names; one that refinement makes has a judge.
        """
        series = np.tile(np.arange(3, dtype=np.int32), 4)
        x = np.repeat(series[:, None], len(self.channels), 1).astype(np.float32) / np.float32(2)
        spectrum = np.repeat(x[:, :1], self.spectrum_size, 1)
        found = self.predict(x, spectrum, series, np.zeros((3, self.state_size), np.float32))
        delay_ms = float(found.delay_ms.max())
        if not (np.isfinite(found.probabilities).all() and delay_ms < math.expm1(HIGHEST) / 2):
            raise ArtifactError(f"model {self.name}: forecasts {delay_ms:g} ms for plain rows; train it again")

    def predict(
        self,
        x: NDArray[np.float32],
        spectrum: NDArray[np.float32],
        series: NDArray[np.int32],
        state: NDArray[np.float32],
    ) -> Prediction:
        """Predict rows; see Predictor.predict."""
        out = Prediction(np.empty((len(x), 3), np.float32), np.empty((len(x), 3), np.float32))
        wide = self.rows(x, series, state)
        predict_rows(self._weights, wide, spectrum, series, state, out.probabilities, out.delay_ms)
        return out


def open_predictor(folder: Path, backend: str = "compiled") -> Predictor:
    """Load the artifact in `folder` and return what serves it: the compiled kernel, or another of the table.

    Raise ArtifactError as load_artifact does, and where the backend's library is not installed.
    """
    artifact = load_artifact(folder)
    if backend == "compiled":
        predictor = CompiledPredictor(artifact)
        predictor.check()
        return predictor
    from offramp.inference.serving.table import open_backend

    return open_backend(backend, artifact)
