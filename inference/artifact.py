"""A trained model on disk: weights, normaliser, and a manifest that names and hashes them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp_errors import ArtifactError

DEFAULT_ARTIFACT = Path(__file__).with_name("default")
"""The small model that ships with offramp."""
FORMAT = 1
FILES = ("weights.npz", "normaliser.npz")
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
    """Write a model to `folder`, the manifest last, and return it as loaded. meta: the manifest's keys but sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    sums = {}
    for name, arrays in zip(FILES, (weights, normaliser), strict=True):
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{key: np.asarray(arrays[key]) for key in sorted(arrays)})  # type: ignore[arg-type]
        (folder / name).write_bytes(buffer.getvalue())
        sums[name] = hashlib.sha256(buffer.getvalue()).hexdigest()
    manifest = {"format": FORMAT, **meta, "sha256": sums}
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return load_artifact(folder)


def load_artifact(folder: Path, channels: tuple[str, ...] | None = None) -> Artifact:
    """Load a model and check it: complete, unaltered, of this format and, where given, for these channels.

    Raise ArtifactError saying which file or key, what was expected and what was found.
    """
    raw = _bytes(folder, "manifest.json")
    try:
        manifest = json.loads(raw)
    except ValueError as error:
        raise ArtifactError(
            f"{folder}/manifest.json: is no JSON ({error}); take the artifact from its source"
        ) from error
    if not isinstance(manifest, dict):
        raise ArtifactError(f"{folder}/manifest.json: expected an object; take the artifact from its source")
    missing = [key for key in KEYS if key not in manifest]
    if missing:
        raise ArtifactError(f"{folder}/manifest.json: key {missing[0]} is missing; train again with offramp train")
    if manifest["format"] != FORMAT:
        raise ArtifactError(
            f"{folder}: has format {manifest['format']}, this offramp reads {FORMAT}; train again with offramp train"
        )
    if channels is not None and tuple(manifest["channels"]) != channels:
        raise ArtifactError(
            f"{folder}: was trained on other channels ({len(manifest['channels'])}, expected {len(channels)}); "
            "train again with offramp train"
        )
    arrays = []
    for name in FILES:
        content = _bytes(folder, name)
        found = hashlib.sha256(content).hexdigest()
        if found != manifest["sha256"].get(name):
            raise ArtifactError(
                f"{folder}/{name}: has sha256 {found[:12]}, the manifest says otherwise; it was altered"
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays.append({key: stored[key] for key in stored.files})
    return Artifact(arrays[0], arrays[1], manifest, hashlib.sha256(raw).hexdigest())


def _bytes(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{folder}/{name}: cannot be read ({error.strerror}); name a folder made by offramp train"
        ) from error
