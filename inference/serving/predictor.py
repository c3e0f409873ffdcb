"""Serving: rows of bins in, forecasts out, with the state of every series carried along. Loads no TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.errors import ArtifactError
from offramp.inference.artifact import Artifact
from offramp.inference.forecast import Prediction
from offramp.inference.network.preset import SCALE_NAMES
from offramp.inference.network.queue_history import MAX_LOG, STATE, Memory

Floats = NDArray[np.float32]


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

    def predict(self, x: Floats, spectrum: Floats, series: NDArray[np.int32], state: Floats) -> Prediction:
        """Predict rows in order of time: row i is the next bin of series[i], whose state is updated in place.

        x: float32 [n, channels]; spectrum: float32 [n, spectrum_size]; series: int32 [n]; state: float32
        [m, state_size], zeros for a fresh series. The result has the same bits however the rows are cut into calls.
        """
        ...


class Backend(Predictor, Protocol):
    """A predictor that can also do whole windows at once."""

    device: str
    """What it computes on: CPU or GPU."""

    @property
    def traces(self) -> int:
        """How often the network was traced, planned or compiled so far."""
        ...

    def rows(self, x: Floats, series: NDArray[np.int32], state: Floats) -> Floats:
        """See Served.rows."""
        ...

    def predict_windows(self, x: Floats, spectrum: Floats) -> Prediction:
        """Return the forecasts at the end of whole windows: x float32 [n, 64, F], spectrum [n, 64, K], fresh state."""
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

    def rows(self, x: Floats, series: NDArray[np.int32], state: Floats) -> Floats:
        """Return the network's rows: x itself, or with the memory behind it, whose state is updated in place."""
        return self.memory.update(x, series, state, self.network_state) if self.memory else x


def memory_of(weights: Mapping[str, Floats], manifest: Mapping[str, Any]) -> Memory | None:
    """Return the memory of a model that has one."""
    if SCALE_NAMES[0] not in weights:
        return None
    low, width = (weights[name] for name in SCALE_NAMES)
    thresholds = manifest["thresholds_ms"]
    return Memory((low, width), manifest, (float(thresholds[0]), float(thresholds[1])))


def require_forecasts(served: Predictor) -> None:
    """Forecast some bins of a silent, a middling and a full series; what runs once is compiled by then.

    Raises ArtifactError where that gives a probability that is no number, or a delay of minutes. For models that a user
    names; one that refinement makes is compared with its champion.
    """
    series = np.tile(np.arange(3, dtype=np.int32), 4)
    x = np.repeat(series[:, None], len(served.channels), 1).astype(np.float32) / np.float32(2)
    spectrum = np.repeat(x[:, :1], served.spectrum_size, 1)
    found = served.predict(x, spectrum, series, np.zeros((3, served.state_size), np.float32))
    delay_ms = float(found.quantiles_ms.max())
    if not (np.isfinite(found.probabilities).all() and delay_ms < math.expm1(MAX_LOG) / 2):
        raise ArtifactError(f"model {served.name}: forecasts {delay_ms:g} ms for plain rows; train it again")
