"""The hybrid network: compiled and Keras agree, batches change no bit, training repeats, artifacts are checked."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.errors import ArtifactError, InputError
from offramp.inference.artifact import DEFAULT_ARTIFACT, Artifact, load_artifact, save_artifact
from offramp.inference.network.preset import PRESETS, SCALE_NAMES
from offramp.inference.network.queue_history import FEATURES, Memory
from offramp.inference.scores import classify, macro_f1, score
from offramp.inference.serving.compiled import CompiledPredictor
from offramp.inference.serving.table import open_predictor
from offramp.inference.training.fit import pieces
from offramp.inference.training.train import scale_of, train
from offramp.stream.channels import CHANNELS, SPECTRUM_SIZE
from tests.support.places import ROOT
from tests.support.training_sequences import META, SCALE, rows, sequences


def untrained(folder: Path, preset: str) -> tuple[object, Artifact]:
    """Return a Keras model with weights of a seed, and the artifact of the same."""
    import keras

    from offramp.inference.network.keras_model import build, weights_of

    keras.utils.set_random_seed(5)
    model = build(len(CHANNELS), SPECTRUM_SIZE, PRESETS[preset])
    scale = dict(zip(SCALE_NAMES, scale_of(SCALE, META), strict=True))
    weights = weights_of(model) | (scale if PRESETS[preset].memory else {})
    meta = {**META, "preset": preset, "seed": 1, "thresholds_ms": [5.0, 25.0], "metrics": {}, "data_fingerprint": ""}
    return model, save_artifact(folder, weights, SCALE, meta)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_steps_with_carried_state_equal_keras_over_the_whole_window(preset: str, tmp_path: Path) -> None:
    model, artifact = untrained(tmp_path, preset)
    x, spectrum = rows(200)
    predictor = CompiledPredictor(artifact)
    wide = predictor.memory.of_series(x) if predictor.memory else x
    assert wide.shape[1] == PRESETS[preset].inputs(len(CHANNELS))
    whole = model([wide[None], spectrum[None]], training=False)  # type: ignore[operator]
    state = np.zeros((1, predictor.state_size), np.float32)
    found = predictor.predict(x, spectrum, np.zeros(200, np.int32), state)
    np.testing.assert_allclose(found.probabilities, np.asarray(whole["classes"])[0], atol=1e-4)
    np.testing.assert_allclose(np.log1p(found.quantiles_ms), np.asarray(whole["rising"])[0], atol=1e-4)
    again = np.zeros_like(state)
    for i in range(200):
        step = predictor.predict(x[i : i + 1], spectrum[i : i + 1], np.zeros(1, np.int32), again)
        assert step.quantiles_ms.tobytes() == found.quantiles_ms[i : i + 1].tobytes()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(1, 40), st.integers(0, 99))
def test_no_batch_changes_a_bit(cuts: list[int], series: int, seed: int) -> None:
    predictor = open_predictor(DEFAULT_ARTIFACT)
    n = sum(cuts)
    x, spectrum = rows(n, seed)
    which = np.random.default_rng(seed).integers(0, series, n).astype(np.int32)
    state = np.zeros((series, predictor.state_size), np.float32)
    whole = predictor.predict(x, spectrum, which, state)
    again = np.zeros_like(state)
    start = 0
    for cut in cuts:
        part = slice(start, start + cut)
        found = predictor.predict(x[part], spectrum[part], which[part], again)
        assert found.probabilities.tobytes() == whole.probabilities[part].tobytes()
        assert found.quantiles_ms.tobytes() == whole.quantiles_ms[part].tobytes()
        start += cut
    for one in set(which.tolist()):
        alone = np.zeros((1, predictor.state_size), np.float32)
        mine = which == one
        found = predictor.predict(x[mine], spectrum[mine], np.zeros(mine.sum(), np.int32), alone)
        assert found.quantiles_ms.tobytes() == whole.quantiles_ms[mine].tobytes()
    assert state.tobytes() == again.tobytes()


def test_forecasts_are_probabilities_and_rising_quantiles() -> None:
    predictor = open_predictor(DEFAULT_ARTIFACT)
    x, spectrum = rows(500)
    found = predictor.predict(x, spectrum, np.zeros(500, np.int32), np.zeros((1, predictor.state_size), np.float32))
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)
    assert (np.diff(found.quantiles_ms, axis=1) >= 0).all()
    assert (found.quantiles_ms >= 0).all()


@pytest.mark.long  # two trainings in processes of their own
def test_same_seed_same_model(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from offramp.inference.training.train import train\n"
        "from tests.support.training_sequences import META, SCALE, sequences\n"
        "data = sequences()\n"
        "train(data[:5], SCALE, Path(sys.argv[1]), META, validation=data[5:], seed=3, epochs=1, thresholds_ms=(5, 25))"
    )
    sums = []
    for name in ("a", "b"):
        subprocess.run([sys.executable, "-c", code, tmp_path / name], check=True, cwd=ROOT, capture_output=True)
        sums.append(load_artifact(tmp_path / name).manifest["sha256"])
        assert load_artifact(tmp_path / name).manifest["metrics"]["windows"] > 0
    assert sums[0] == sums[1]


def test_training_needs_something_to_stop_by() -> None:
    with pytest.raises(InputError, match="validation part"):
        train(sequences(1), SCALE, Path("nowhere"), META, validation=[])


def test_unknown_targets_and_padding_weigh_nothing() -> None:
    parts = pieces(sequences(1), (5.0, 25.0), 256)
    _, targets, weights = parts.batch(np.arange(len(parts.x)))
    assert weights["classes"].sum() == 250
    assert (
        pieces([replace(sequences(1)[0], weight=0.5)], (5.0, 25.0), 256).batch(np.arange(2))[2]["rising"].sum() == 125
    )
    assert targets["classes"].shape == (2, 256)


def test_a_piece_carries_the_memory_of_what_was_before_it() -> None:
    memory = Memory(scale_of(SCALE, META), META, (5.0, 25.0))
    parts = pieces(sequences(1), (5.0, 25.0), 100, memory)
    x, _, _ = parts.batch(np.arange(len(parts.x)))
    assert x["x"].shape == (3, 100, len(CHANNELS) + FEATURES)
    np.testing.assert_array_equal(x["x"].reshape(300, -1), memory.of_series(sequences(1)[0].x))


def test_scores() -> None:
    delay = np.array([1, 10, 30, 30], np.float32)
    sure = np.eye(3, dtype=np.float32)[classify(delay, (5, 25))]
    found = score(delay, sure, np.tile(delay[:, None], 3), delay[::-1].copy(), (5, 25))
    assert found["accuracy"] == found["macro_f1"] == found["coverage_q90"] == 1
    assert found["mae_ms"] == 0
    assert found["persistence_accuracy"] == 0
    assert macro_f1(np.array([0, 0, 2]), np.array([0, 2, 2])) == pytest.approx(2 / 3)


@pytest.fixture
def artifact(tmp_path: Path) -> tuple[Path, Artifact]:
    shipped = load_artifact(DEFAULT_ARTIFACT)
    meta = {key: value for key, value in shipped.manifest.items() if key not in ("format", "sha256")}
    return tmp_path, save_artifact(tmp_path, shipped.weights, shipped.normaliser, meta)


def test_an_artifact_round_trips(artifact: tuple[Path, Artifact]) -> None:
    folder, saved = artifact
    assert load_artifact(folder, CHANNELS).sha == saved.sha


def test_an_altered_artifact_is_refused(artifact: tuple[Path, Artifact]) -> None:
    folder, _ = artifact
    content = bytearray((folder / "weights.npz").read_bytes())
    content[100] ^= 1
    (folder / "weights.npz").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"weights.npz: has sha256 .* altered"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"format": 99}, "has format 99"), ({"channels": ["a"]}, "other channels"), ({"thresholds_ms": None}, "missing")],
)
def test_another_version_is_refused(change: dict[str, object], words: str, artifact: tuple[Path, Artifact]) -> None:
    folder, _ = artifact
    manifest = json.loads((folder / "manifest.json").read_text()) | change
    manifest = {key: value for key, value in manifest.items() if value is not None}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=words):
        load_artifact(folder, CHANNELS)


def test_a_missing_file_and_no_json_are_refused(artifact: tuple[Path, Artifact]) -> None:
    folder, _ = artifact
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="no JSON"):
        load_artifact(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_artifact(folder)


def test_serving_loads_no_tensorflow() -> None:
    code = "import sys; from offramp.inference.serving.table import open_predictor; "
    code += "from offramp.inference.artifact import DEFAULT_ARTIFACT; open_predictor(DEFAULT_ARTIFACT)"
    done = subprocess.run(
        [sys.executable, "-c", code + "; print('tensorflow' in sys.modules)"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout.strip() == "False"
