"""A trained model on disk: weights, normaliser, and a manifest that names and hashes them."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import ArtifactError, writing
from offramp.inference.artifact_check import check_manifest, check_normaliser, check_weights

DEFAULT_ARTIFACT = Path(__file__).with_name("default")
"""The small model that ships with offramp."""
FORMAT = 1
FILES = ("weights.npz", "normaliser.npz")
MAX_UNPACKED, MAX_ARRAYS = 64 << 20, 256
"""Bytes that the arrays of one file may take, and how many there may be. A file itself is no larger either."""

MAX_MANIFEST = 1 << 20

SAME = ("channels", "spectrum_size", "bin_ms", "horizon_ms", "thresholds_ms", "preset", "hyperparameters")
"""Keys of the manifest that a model shares with one that it may stand in for."""

KEYS = (
    "format", "name", "channels", "spectrum_size", "bin_ms", "horizon_ms", "thresholds_ms", "preset", "seed",
    "command", "data_fingerprint", "metrics", "sha256",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model as loaded: weights by name, the normaliser's state (opaque here), the manifest, and its sha256."""

    weights: Mapping[str, NDArray[np.float32]]
    normaliser: dict[str, NDArray[Any]]
    manifest: Mapping[str, Any]
    sha: str


def save_artifact(
    folder: Path,
    weights: Mapping[str, NDArray[np.float32]],
    normaliser: Mapping[str, NDArray[Any]],
    meta: dict[str, Any],
) -> Artifact:
    """Write a model to `folder`, the manifest last, and return it as loaded. meta: the manifest's keys but sha256.

    Raises OfframpError where it cannot be written.
    """
    sums, buffers = {}, {}
    for name, arrays in zip(FILES, (weights, normaliser), strict=True):
        buffers[name] = io.BytesIO()
        np.savez_compressed(buffers[name], **{key: np.asarray(arrays[key]) for key in sorted(arrays)})  # type: ignore[arg-type]
        sums[name] = hashlib.sha256(buffers[name].getvalue()).hexdigest()
    manifest = {"format": FORMAT, **meta, "sha256": sums}
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, buffer in buffers.items():
            (folder / name).write_bytes(buffer.getvalue())
        (folder / "manifest.json").write_text(text, encoding="utf-8")
    return load_artifact(folder)


def load_artifact(folder: Path, channels: tuple[str, ...] | None = None) -> Artifact:
    """Load a model and check it: complete, unaltered, of this format and, where given, for these channels.

    Raise ArtifactError saying which file or key, what was expected and what was found.
    """
    return parse_artifact(str(folder), lambda name: _bytes(folder, name), channels)


def parse_artifact(place: str, read: Callable[[str], bytes], channels: tuple[str, ...] | None = None) -> Artifact:
    """Return the model whose files `read` gives by name, checked as `load_artifact` does; place: what errors name."""
    raw = read("manifest.json")
    if len(raw) > MAX_MANIFEST:
        raise ArtifactError(f"{place}/manifest.json: is larger than {MAX_MANIFEST} bytes; take the artifact again")
    try:
        manifest = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{place}/manifest.json: is no JSON ({error}); take the artifact from its source"
        ) from error
    if not isinstance(manifest, dict):
        raise ArtifactError(f"{place}/manifest.json: expected an object; take the artifact from its source")
    missing = [key for key in KEYS if key not in manifest]
    if missing:
        raise ArtifactError(f"{place}/manifest.json: key {missing[0]} is missing; train again with offramp train")
    if manifest["format"] != FORMAT:
        raise ArtifactError(
            f"{place}: has format {manifest['format']!r:.60}, this offramp reads {FORMAT}; train again with offramp "
            "train"
        )
    check_manifest(manifest, f"{place}/manifest.json")
    if channels is not None and tuple(manifest["channels"]) != channels:
        raise ArtifactError(
            f"{place}: was trained on other channels ({len(manifest['channels'])}, expected {len(channels)}); "
            "train again with offramp train"
        )
    sums, arrays = manifest["sha256"], []
    for name in FILES:
        content = read(name)
        found = hashlib.sha256(content).hexdigest()
        if found != sums.get(name):
            raise ArtifactError(f"{place}/{name}: has sha256 {found[:12]}, the manifest says otherwise; it was altered")
        arrays.append(_arrays(content, f"{place}/{name}"))
    check_weights(arrays[0], manifest, f"{place}/{FILES[0]}")
    check_normaliser(arrays[1], manifest, f"{place}/{FILES[1]}")
    return Artifact(arrays[0], arrays[1], manifest, hashlib.sha256(raw).hexdigest())


def _arrays(content: bytes, place: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file, never pickled; none may claim more than it holds, nor all MAX_UNPACKED."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            members = packed.infolist()
            if len(members) > MAX_ARRAYS or sum(each.file_size for each in members) > MAX_UNPACKED:
                raise ArtifactError(f"{place}: unpacks to more than {MAX_UNPACKED} bytes, or {MAX_ARRAYS} arrays")
            if any(each.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for each in members):
                raise ArtifactError(f"{place}: is packed in another way than offramp does; take it from its source")
            return {each.filename.removesuffix(".npy"): _array(packed.read(each), place) for each in members}
    except ArtifactError:
        raise
    except Exception as error:  # the parsers of zip and of array headers raise a dozen kinds for what is damaged
        text = " ".join(str(error).split())[:200]
        raise ArtifactError(f"{place}: is no file of arrays ({text}); take the artifact from its source") from error


def _array(content: bytes, place: str) -> NDArray[Any]:
    """Return one array, its size checked against its header before memory is taken for it."""
    data = io.BytesIO(content)
    version = np.lib.format.read_magic(data)
    if version != (1, 0):
        raise ValueError(f"array format {version}")
    shape, _, dtype = np.lib.format.read_array_header_1_0(data)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - data.tell():
        raise ArtifactError(f"{place}: an array is not of the size that it tells; take the artifact from its source")
    data.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(data, allow_pickle=False)
    return array


def require_like(base: Artifact, other: Artifact, place: str) -> None:
    """Refuse a model that cannot serve in the place of `base`. Raises ArtifactError.

    The stream's state has the base's sizes, so every weight must have its shape; the stream's rows are on the base's
    scale, so the normaliser must be the same.
    """
    for key in SAME:
        if other.manifest.get(key) != base.manifest.get(key):
            raise ArtifactError(f"{place}: {key} is not that of the model {base.sha[:16]}; refine that model")
    check_weights(other.weights, other.manifest, place)
    shapes = ({name: array.shape for name, array in each.weights.items()} for each in (base, other))
    if next(shapes) != next(shapes):
        raise ArtifactError(f"{place}: has other weights than the model {base.sha[:16]}; refine that model")
    same = set(other.normaliser) == set(base.normaliser) and all(
        np.array_equal(other.normaliser[name], array) for name, array in base.normaliser.items()
    )
    if not same:
        raise ArtifactError(f"{place}: is on another scale than the model {base.sha[:16]}; refine that model")


def _bytes(folder: Path, name: str) -> bytes:
    """Return a file's bytes, one more than may be of a file that is too large: nobody reads a device to its end."""
    path = folder / name
    try:
        if path.exists() and not path.is_file():
            raise ArtifactError(f"{path}: is no file; name a folder made by offramp train")
        with path.open("rb") as file:
            content = file.read(MAX_UNPACKED + 1)
    except OSError as error:
        raise ArtifactError(
            f"{folder}/{name}: cannot be read ({error.strerror}); name a folder made by offramp train"
        ) from error
    if len(content) > MAX_UNPACKED:
        raise ArtifactError(f"{path}: is larger than {MAX_UNPACKED} bytes; name a folder made by offramp train")
    return content
