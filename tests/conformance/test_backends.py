"""Every serving backend forecasts as the network in double precision does, in any batch, by step and by window."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.numpy_reference import reference_forecasts
from offramp.errors import ArtifactError
from offramp.extras import EXTRAS, MissingExtraError
from offramp.inference.artifact import DEFAULT_ARTIFACT, Artifact, load_artifact
from offramp.inference.network.preset import PRESETS, SCALE_NAMES
from offramp.inference.serving.compiled import CompiledPredictor
from offramp.inference.serving.fixed_shapes import batches, rounds, wide_windows
from offramp.inference.serving.predictor import Backend
from offramp.inference.serving.table import TABLE, open_backend, open_predictor

SHAPES = (1, 8)
N, T = 11, 64


@pytest.fixture(scope="module", params=("shipped", "with memory", "without"))
def artifact(request: pytest.FixtureRequest) -> Artifact:
    """The shipped artifact, and untrained ones of both sorts of head."""
    shipped = load_artifact(DEFAULT_ARTIFACT)
    if request.param == "shipped":
        return shipped
    import keras

    from offramp.inference.network.keras_model import build, weights_of

    keras.utils.set_random_seed(5)
    preset = replace(PRESETS["default"], memory=request.param == "with memory")
    weights = weights_of(build(len(shipped.manifest["channels"]), shipped.manifest["spectrum_size"], preset))
    if preset.memory:
        weights |= {name: np.full(len(shipped.manifest["channels"]), value, np.float32)
                    for name, value in zip(SCALE_NAMES, (0.0, 3.0), strict=True)}  # fmt: skip
    return replace(shipped, weights=weights, manifest={**shipped.manifest, "hyperparameters": asdict(preset)})


@pytest.fixture(scope="module", params=tuple(TABLE))
def backend(request: pytest.FixtureRequest, artifact: Artifact) -> Backend:
    return open_backend(request.param, artifact, SHAPES)


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    predictor, rng = open_predictor(DEFAULT_ARTIFACT), np.random.default_rng(3)
    return (
        rng.random((N, T, len(predictor.channels)), np.float32),
        rng.random((N, T, predictor.spectrum_size), np.float32),
    )


@pytest.fixture(scope="module")
def expected(artifact: Artifact, rows: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return reference_forecasts(artifact.weights, wide_windows(CompiledPredictor(artifact), rows[0]), rows[1])


def carried(backend: Backend, x: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bin by bin, all series in a call: probabilities and log1p delay [n, T, 3], last state."""
    n, bins = x.shape[:2]
    state, series = np.zeros((n, backend.state_size), np.float32), np.arange(n, dtype=np.int32)
    found = [backend.predict(x[:, t].copy(), frames[:, t].copy(), series, state) for t in range(bins)]
    return (
        np.stack([each.probabilities for each in found], 1),
        np.log1p(np.stack([each.quantiles_ms for each in found], 1)),
        state,
    )


def test_carried_steps_agree_with_the_reference(
    backend: Backend, rows: tuple[NDArray[Any], NDArray[Any]], expected: tuple[NDArray[Any], NDArray[Any]]
) -> None:
    probabilities, rising, _ = carried(backend, *rows)
    np.testing.assert_allclose(probabilities, expected[0], atol=1e-4)
    np.testing.assert_allclose(rising, expected[1], atol=1e-4)


def test_whole_windows_agree_with_the_reference(
    backend: Backend, rows: tuple[NDArray[Any], NDArray[Any]], expected: tuple[NDArray[Any], NDArray[Any]]
) -> None:
    found = backend.predict_windows(*rows)
    np.testing.assert_allclose(found.probabilities, expected[0][:, -1], atol=1e-4)
    np.testing.assert_allclose(np.log1p(found.quantiles_ms), expected[1][:, -1], atol=1e-4)


def test_one_call_of_mixed_series_equals_calls_of_single_rows(
    backend: Backend, rows: tuple[NDArray[Any], NDArray[Any]]
) -> None:
    x, frames = (each[:, :6].reshape(N * 6, -1) for each in rows)
    series = np.random.default_rng(1).permutation(np.repeat(np.arange(N, dtype=np.int32), 6))
    together = np.zeros((N, backend.state_size), np.float32)
    alone = together.copy()
    whole = backend.predict(x, frames, series, together)
    single = [backend.predict(x[i : i + 1], frames[i : i + 1], series[i : i + 1], alone) for i in range(len(x))]
    for name in ("probabilities", "quantiles_ms"):
        np.testing.assert_allclose(
            getattr(whole, name), np.concatenate([getattr(each, name) for each in single]), rtol=1e-4, atol=1e-5
        )
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_nothing_is_compiled_after_start(backend: Backend) -> None:
    before = backend.traces
    assert before > 0
    rng = np.random.default_rng(2)
    for n in (1, 2, 3, 7, 8, 9, 20, 33):
        backend.predict(
            rng.random((n, len(backend.channels)), np.float32), rng.random((n, backend.spectrum_size), np.float32),
            np.arange(n, dtype=np.int32), np.zeros((n, backend.state_size), np.float32),
        )  # fmt: skip
    assert backend.traces == before


def test_an_empty_call_gives_nothing(backend: Backend) -> None:
    x, frames = np.zeros((0, len(backend.channels)), np.float32), np.zeros((0, backend.spectrum_size), np.float32)
    state = np.zeros((1, backend.state_size), np.float32)
    assert len(backend.predict(x, frames, np.zeros(0, np.int32), state).quantiles_ms) == 0


def test_batches_cover_all_rows_and_waste_little() -> None:
    shapes = (1, 8, 64, 512)
    for n in (*range(200), 511, 512, 513, 5000):
        parts = list(batches(n, shapes))
        assert [row for part, _ in parts for row in range(n)[part]] == list(range(n))
        assert all(size in shapes and part.stop - part.start <= size for part, size in parts)
        assert sum(size for _, size in parts) <= max(4 * n, 1)


def test_rounds_have_each_series_once_in_its_order() -> None:
    series = np.random.default_rng(4).integers(0, 5, 40).astype(np.int32)
    seen = list(rounds(series))
    assert sorted(np.concatenate(seen)) == list(range(40))
    assert all(len(set(series[rows])) == len(rows) for rows in seen)
    for one in range(5):
        assert [row for rows in seen for row in rows if series[row] == one] == list(np.flatnonzero(series == one))


def test_an_unknown_backend_and_one_that_is_not_installed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match="there is none of that name"):
        open_predictor(DEFAULT_ARTIFACT, "abacus")
    monkeypatch.setitem(TABLE, "abacus", (TABLE["compiled"][0], ("beads_of_onyx", "onnx")))
    monkeypatch.setitem(EXTRAS, "beads_of_onyx", "learn")
    with pytest.raises(MissingExtraError, match=r"by abacus needs beads_of_onyx, which is .*offramp\[learn\]"):
        open_backend("abacus", load_artifact(DEFAULT_ARTIFACT))
