"""A model folder whose hashes are right may hold anything: what is not sound is refused in a line, and never served."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offramp.errors import ArtifactError
from offramp.inference.artifact import DEFAULT_ARTIFACT, FILES, MAX_UNPACKED, Artifact, load_artifact, parse_artifact
from offramp.inference.network.preset import PRESETS, weight_shapes
from offramp.inference.serving.compiled import CompiledPredictor
from offramp.inference.serving.predictor import require_forecasts
from offramp.stream.channels import CHANNELS, SPECTRUM_SIZE
from offramp.stream.windows.normaliser import Normaliser

MANIFEST = json.loads((DEFAULT_ARTIFACT / "manifest.json").read_text())
ARRAYS = {name: dict(np.load(DEFAULT_ARTIFACT / name)) for name in FILES}
Arrays = dict[str, dict[str, Any]]


def packed(arrays: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


GOOD = {name: packed(ARRAYS[name]) for name in FILES}


def parsed(manifest: dict[str, Any], files: dict[str, bytes]) -> Artifact:
    """Load files with their right hashes."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    told = {"manifest.json": json.dumps(manifest | {"sha256": sums}).encode(), **files}
    return parse_artifact("m", told.__getitem__)


def refusal(manifest: dict[str, Any], files: dict[str, bytes]) -> str:
    with pytest.raises(ArtifactError) as refused:
        served(parsed(manifest, files))
    text = str(refused.value)
    assert "\n" not in text
    assert len(text) < 600
    return text


def served(artifact: Artifact) -> None:
    """Serve a model as the stream does; what it says must be numbers."""
    Normaliser.from_state(artifact.normaliser).limits()
    predictor = CompiledPredictor(artifact)
    require_forecasts(predictor)
    rng = np.random.default_rng(1)
    x, spectrum = rng.random((8, len(CHANNELS)), np.float32), rng.random((8, SPECTRUM_SIZE), np.float32)
    state = np.zeros((2, predictor.state_size), np.float32)
    found = predictor.predict(x, spectrum, np.arange(8, dtype=np.int32) % 2, state)
    assert np.isfinite(found.probabilities).all()
    assert np.isfinite(found.quantiles_ms).all()


def test_the_shipped_model_and_all_presets_have_the_shapes_of_their_sizes() -> None:
    served(parsed(MANIFEST, GOOD))
    shapes = weight_shapes(PRESETS["default"].sizes, len(CHANNELS), SPECTRUM_SIZE)
    assert {name: array.shape for name, array in ARRAYS[FILES[0]].items()} == shapes


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("thresholds_ms", "5,25"), ("thresholds_ms", ["5", "25"]), ("thresholds_ms", [25.0, 5.0]),
        ("thresholds_ms", [5.0]),
        ("thresholds_ms", [float("nan"), 5.0]), ("thresholds_ms", [0, float("inf")]), ("thresholds_ms", None),
        ("thresholds_ms", [-1.0, 5.0]), ("thresholds_ms", [True, 5.0]), ("thresholds_ms", {"0": 5, "1": 25}),
        ("channels", 26), ("channels", "load_up"), ("channels", []), ("channels", [1, 2]), ("channels", None),
        ("channels", ["a"] * 1_001), ("channels", list(CHANNELS[:-1])), ("channels", [f"c{i}" for i in range(26)]),
        ("horizon_ms", None), ("horizon_ms", "500"), ("horizon_ms", 500.0), ("horizon_ms", 0), ("horizon_ms", -500),
        ("horizon_ms", 10**300), ("horizon_ms", True), ("bin_ms", 0), ("bin_ms", 1 << 70), ("bin_ms", [10]),
        ("spectrum_size", 0), ("spectrum_size", -51), ("spectrum_size", 50), ("spectrum_size", 1e9), ("name", 5),
        ("name", "a\nb"), ("name", "\x1b[2J"), ("name", "a" * 513), ("seed", "1"), ("metrics", []), ("preset", {}),
        ("hyperparameters", 5), ("hyperparameters", [1]), ("hyperparameters", {"dense": 64}), ("command", None),
        ("hyperparameters", MANIFEST["hyperparameters"] | {"dense": "64"}), ("refined", {"rows": 1}), ("refined", 7),
        ("hyperparameters", MANIFEST["hyperparameters"] | {"lstm": 1 << 40}),
        ("hyperparameters", MANIFEST["hyperparameters"] | {"lstm": 128}),
        ("hyperparameters", MANIFEST["hyperparameters"] | {"memory": False}),
        ("hyperparameters", MANIFEST["hyperparameters"] | {"memory": 1}),
        ("hyperparameters", MANIFEST["hyperparameters"] | {"more": 1}), ("format", [1]), ("format", None),
    ],
)  # fmt: skip
def test_a_manifest_of_wrong_types_is_refused(key: str, value: object) -> None:
    assert "m" in refusal(copy.deepcopy(MANIFEST) | {key: value}, GOOD)


def weights(change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    changed = {name: array.copy() for name, array in ARRAYS[FILES[0]].items()}
    change(changed)
    return {**GOOD, FILES[0]: packed(changed)}


def put(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda arrays: arrays.__setitem__(name, value)


F4 = np.float32


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (put("dense1_w", np.zeros((200_000, 64), F4)), "dense1_w"), (put("dense1_b", np.zeros(1, F4)), "dense1_b"),
        (put("lstm1_r", np.zeros((1_024, 4_096), F4)), "lstm1_r"), (put("delay_w", np.zeros((64, 2), F4)), "delay_w"),
        (put("classes_b", np.full(3, np.nan, F4)), "classes_b"),
        (put("fusion_w", np.full((160, 64), np.inf, F4)), "fusion_w"),
        (put("fusion_b", np.full(64, 3e38, F4)), "fusion_b"), (put("scale_low", np.full(26, np.nan, F4)), "scale_low"),
        (put("scale_width", np.zeros(3, F4)), "scale_width"), (lambda arrays: arrays.pop("dense2_b"), "dense2_b"),
        (lambda arrays: arrays.pop("scale_low"), "scale_low"), (put("more", np.zeros(1, F4)), "more"),
        (put("dense2_w", np.zeros(64, F4)), "dense2_w"), (put("dense2_w", np.zeros((64, 64, 1), F4)), "dense2_w"),
        (put("dense2_w", np.zeros((64, 64))), "dense2_w"), (put("dense2_w", np.zeros((64, 64), "S4")), "dense2_w"),
        (put("dense2_w", np.zeros((64, 64), ">f4")), "dense2_w"), (put("dense2_w", F4(0)), "dense2_w"),
        (put("dense2_w", np.zeros((64, 64), np.complex64)), "dense2_w"),
        (put("dense2_w", np.zeros((0, 64), F4)), "dense2_w"),
        (put("dense2_w", np.zeros((64, 64), [("a", "f4")])), "dense2_w"),
        (put("delay_b", np.full(87, 1e4, F4)), "forecasts"),
    ],
)  # fmt: skip
def test_weights_of_wrong_shapes_types_or_values_are_refused(
    change: Callable[[dict[str, Any]], object], named: str
) -> None:
    assert named in refusal(MANIFEST, weights(change))


def test_what_tells_no_sizes_must_agree_with_itself() -> None:
    """Artifacts before `hyperparameters` have the sizes of their weights."""
    old = {key: value for key, value in MANIFEST.items() if key != "hyperparameters"}
    served(parsed(old, GOOD))
    for name in ARRAYS[FILES[0]]:
        text = refusal(old, weights(put(name, ARRAYS[FILES[0]][name][:-1])))
        assert "weight" in text or "memory" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limits", np.full((3, 26), np.nan)), ("limits", np.zeros((2, 26))), ("limits", np.full((3, 26), np.inf)),
        ("limits", np.zeros((3, 26), "S3")), ("total", np.full(26, np.nan)), ("total", np.zeros(26, "U2")),
        ("count", np.zeros(26)), ("count", np.array(5)), ("histogram", np.zeros((26, 3), np.int64)), ("count", None),
        ("squares", np.zeros(26, np.complex128)),
    ],
)  # fmt: skip
def test_a_normaliser_that_is_none_is_refused(name: str, value: Any) -> None:
    changed = {key: array for key, array in ARRAYS[FILES[1]].items() if key != name or value is not None}
    changed |= {} if value is None else {name: value}
    refusal(MANIFEST, {**GOOD, FILES[1]: packed(changed)})


def zipped(name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED, times: int = 1) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for number in range(times):
            file.writestr(f"{number if number else ''}{name}", content)
    return out.getvalue()


def headed(text: bytes, size: int = 0) -> bytes:
    """A file with one array: its header, and bytes."""
    return zipped("a.npy", b"\x93NUMPY\x01\x00" + (len(text) + 1).to_bytes(2, "little") + text + b"\n" + bytes(size))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"PK", b"\x00" * 100, zipped("a.npy", b""), zipped("a.npy", b"\x93NUMPY\x01\x00"),
        zipped("a.npy", b"x" * 500), zipped("a.npy", bytes(MAX_UNPACKED + 1)), zipped("a.npy", b"x", times=300),
        zipped("a.npy", b"x", zipfile.ZIP_LZMA), zipped("a.npy", b"\x93NUMPY\x03\x00\xff\xff\xff\xff"),
        headed(b"{'descr': ((((((("), headed(b"{'descr':'<f4','fortran_order':False,'shape':(-2,-3)}", 24),
        headed(b"{'descr':'|O','fortran_order':False,'shape':(1,)}", 8), headed(b"{'descr':'<f4'"),
        headed(b"{'descr':'<f4','fortran_order':False,'shape':(0,10**30)}"), headed(b"  x\n y\n  z"),
        headed(b"{'descr':'<f4','fortran_order':False,'shape':(" + b"1," * 60 + b")}", 4),
    ],
    ids=range(17),
)  # fmt: skip
def test_what_is_no_file_of_arrays_is_refused(content: bytes) -> None:
    for name in FILES:
        refusal(MANIFEST, {**GOOD, name: content})


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"5", b"\xff", b"[" * 100_000, b"{" + b" " * (1 << 20) + b"}"])
def test_what_is_no_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(ArtifactError, match="manifest"):
        parse_artifact("m", {"manifest.json": text, **GOOD}.__getitem__)


@pytest.mark.parametrize("name", ["manifest.json", *FILES])
def test_what_is_no_ordinary_file_is_refused_and_not_read_to_its_end(name: str, tmp_path: Path) -> None:
    for each in ("manifest.json", *FILES):
        (tmp_path / each).write_bytes((DEFAULT_ARTIFACT / each).read_bytes())
    for make in (lambda path: path.symlink_to("/dev/zero"), os.mkfifo, Path.mkdir):
        (tmp_path / name).unlink() if (tmp_path / name).is_file() or not (tmp_path / name).is_dir() else None
        make(tmp_path / name)
        with pytest.raises(ArtifactError, match="is no file"):
            load_artifact(tmp_path)
    (tmp_path / name).rmdir()
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 40)  # without a byte on the disk
    with pytest.raises(ArtifactError, match="larger"):
        load_artifact(tmp_path)


JUNK: list[Any] = [
    None, True, -1, 0, 1, 2, 10**25, -0.5, 1e308, float("nan"), "", "x", "\x00\x1b]0;x\x07", [], [[]], [1, 2], ["a"],
    {}, {"a": {"b": []}}, "9" * 2_000,
]  # fmt: skip


def mutated_manifest(rng: np.random.Generator) -> dict[str, Any]:
    """Some values of the manifest, or of an object in it, replaced, dropped, or put under another key."""
    manifest: dict[str, Any] = copy.deepcopy(MANIFEST)
    for _ in range(int(rng.integers(1, 4))):
        inner = [value for value in manifest.values() if isinstance(value, dict)]
        place = manifest if rng.random() < 0.6 or not inner else inner[rng.integers(len(inner))]
        keys = list(place) or ["new"]
        key = keys[rng.integers(len(keys))]
        if rng.random() < 0.2:
            place.pop(key, None)
        elif rng.random() < 0.2:
            place[key] = copy.deepcopy(place.get(keys[rng.integers(len(keys))]))
        else:
            place[key] = copy.deepcopy(JUNK[rng.integers(len(JUNK))])
    return manifest


def mutated_arrays(rng: np.random.Generator, arrays: dict[str, Any]) -> dict[str, Any]:
    """Some arrays of other shapes, types or values, missing, or under another name."""
    changed = dict(arrays)
    for _ in range(int(rng.integers(1, 3))):
        name = list(changed)[rng.integers(len(changed))]
        array = changed[name].copy()
        how = int(rng.integers(8))
        if how == 0 or not array.size:
            del changed[name]
            continue
        if how == 1 and array.ndim:
            array = np.repeat(array, 2, int(rng.integers(array.ndim)))
        elif how == 2 and array.ndim:
            array = array[: int(rng.integers(len(array)))]
        elif how == 3:
            array = array.astype([np.float64, np.int64, np.int8, ">f4", "S8", np.complex128, bool][rng.integers(7)])
        elif how == 4:
            array = array.reshape(-1) if array.ndim > 1 else array[:, None]
        elif how == 5:
            with np.errstate(all="ignore"):
                array.flat[rng.integers(array.size)] = np.array(
                    [np.nan, np.inf, -np.inf, 3e38, 1e30, 1e4, -9e3, 300.0][rng.integers(8)]
                ).astype(array.dtype)
        elif how == 6:
            changed[list(changed)[rng.integers(len(changed))]] = array
            continue
        else:
            array = array.T
        changed[name] = array
    return changed


def mutated_bytes(rng: np.random.Generator, content: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(data)))
        if rng.random() < 0.6:
            data[at] ^= 1 << int(rng.integers(8))
        elif rng.random() < 0.5:
            del data[at : at + int(rng.integers(1, 2_000))]
        else:
            data[at:at] = bytes(rng.integers(0, 256, int(rng.integers(1, 100)), np.uint8))
    return bytes(data)


@pytest.mark.parametrize("kind", ["manifest", "weights", "normaliser", "bytes"])
def test_a_thousand_mutants_of_each_kind_are_refused_in_a_line_or_served_in_numbers(kind: str) -> None:
    rng, refused = np.random.default_rng(20), list[str]()
    with np.errstate(all="ignore"):
        for _ in range(1_000):
            manifest, files = MANIFEST, dict(GOOD)
            if kind == "manifest":
                manifest = mutated_manifest(rng)
            elif kind == "bytes":
                name = FILES[rng.integers(2)]
                files[name] = mutated_bytes(rng, GOOD[name])
            else:
                name = FILES[kind == "normaliser"]
                files[name] = packed(mutated_arrays(rng, ARRAYS[name]))
            try:
                artifact = parsed(manifest, files)
                if tuple(artifact.manifest["channels"]) == CHANNELS:
                    served(artifact)
            except ArtifactError as error:
                refused.append(str(error))
    assert 300 < len(refused) <= 1_000
    assert not [text for text in refused if "\n" in text or len(text) > 700]
