"""Check a model artifact before anything of it is used: types in its manifest, shapes and values of its weights.

The compiled kernel checks no bounds and believes every number, so every artifact is checked, whatever its hashes say:
they show that it is unaltered, not that it is sound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import ArtifactError
from offramp.inference.network.preset import SCALE_NAMES, Preset, Sizes, weight_shapes
from offramp.inference.network.queue_history import SEEN

TEXT = 1_000
"""Characters of a text in the manifest; a command line is the longest."""

MAX_NAME = 512
"""Characters of a model's name: commands have it, and their contract takes no more (decision/command.schema.json)."""

MAX_WEIGHT = 1e4
"""The shipped model's largest is 9.4. Five layers of such weights, as wide as a file can hold, stay within float32."""

MAX_UNITS = 4_096
"""Units of a layer: more do not fit into the bytes that a file of weights may unpack to."""

Rule = tuple[Callable[[Any], bool], str]


def _number(least: float, most: float, kinds: tuple[type, ...] = (int,)) -> Rule:
    what = "a whole number" if kinds == (int,) else "a number"
    return lambda value: type(value) in kinds and least <= value <= most, f"{what}, {least:g} to {most:g}"


def _is_text(value: Any, most: int = TEXT) -> bool:
    return isinstance(value, str) and len(value) <= most and value.isprintable()


def _text(most: int) -> Rule:
    return lambda value: _is_text(value, most), f"a text of at most {most} printable characters"


def _are_thresholds(value: Any) -> bool:
    plain = isinstance(value, list) and len(value) == 2 and all(type(each) in (int, float) for each in value)
    return plain and 0 <= value[0] <= value[1] <= 1e7


def _are_channels(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= TEXT and all(map(_is_text, value))


TEXTUAL, NAME = _text(TEXT), _text(MAX_NAME)
TABLE: Rule = (lambda value: isinstance(value, dict), "an object")
MANIFEST: Mapping[str, Rule] = {
    "name": NAME,
    "channels": (_are_channels, "a list of names"),
    "spectrum_size": _number(1, 100_000),
    "bin_ms": _number(1, 1_000),
    "horizon_ms": _number(1, 600_000),
    "thresholds_ms": (_are_thresholds, "two numbers of ms, not negative, in order"),
    "preset": TEXTUAL,
    "seed": _number(-(2**63), 2**64),
    "command": TEXTUAL,
    "data_fingerprint": TEXTUAL,
    "metrics": TABLE,
    "sha256": TABLE,
}

UNITS, LENGTH, RATE = _number(1, MAX_UNITS), _number(1, 1_000_000), _number(0, 1, (int, float))
FLAG: Rule = (lambda value: isinstance(value, bool), "true or false")
HYPERPARAMETERS: Mapping[str, Rule] = {
    "dense": UNITS, "spectrum": UNITS, "lstm": UNITS, "fusion": UNITS, "dropout": RATE, "l2": RATE,
    "learning_rate": RATE, "batch": LENGTH, "patience": _number(0, 1_000_000), "memory": FLAG, "length": LENGTH,
    "annealed": FLAG,
}  # fmt: skip


def check_manifest(manifest: Mapping[str, Any], place: str) -> None:
    """Refuse a manifest with a value of another kind than expected. Raises ArtifactError naming key and both."""
    _check(manifest, MANIFEST, place, "")
    hyperparameters = manifest.get("hyperparameters")
    if hyperparameters:
        if not isinstance(hyperparameters, dict):
            raise _wrong(place, "hyperparameters", TABLE[1], hyperparameters)
        needed = [
            field.name for field in fields(Preset) if field.name in hyperparameters or field.name not in _OPTIONAL
        ]
        _check(hyperparameters, {name: HYPERPARAMETERS[name] for name in needed}, place, "hyperparameters.")
        unknown = sorted(set(hyperparameters) - set(HYPERPARAMETERS))
        if unknown:
            raise _wrong(place, "hyperparameters", f"{', '.join(HYPERPARAMETERS)} only", unknown[0])
    refined = manifest.get("refined")
    if refined and not (isinstance(refined, dict) and _is_text(refined.get("base"))):
        raise _wrong(place, "refined", "an object that names its base", refined)


_OPTIONAL = ("memory", "length", "annealed")
"""Hyperparameters that older artifacts do not name."""


def _check(values: Mapping[str, Any], rules: Mapping[str, Rule], place: str, prefix: str) -> None:
    for key, (holds, expected) in rules.items():
        if key not in values or not holds(values[key]):
            raise _wrong(place, prefix + key, expected, values.get(key))


def _wrong(place: str, key: str, expected: str, found: Any) -> ArtifactError:
    shown = f"{found!r:.60}" if not isinstance(found, int) or abs(found) < 1 << 64 else f"{found.bit_length()} bits"
    return ArtifactError(f"{place}: {key}: expected {expected}, found {shown}; take the artifact from its source")


def check_weights(weights: Mapping[str, NDArray[Any]], manifest: Mapping[str, Any], place: str) -> None:
    """Refuse weights that are not those of the network in the (checked) manifest. Raises ArtifactError.

    An old artifact without hyperparameters has the sizes of its weights, which must all agree.
    """
    hyperparameters = manifest.get("hyperparameters")
    sizes = Preset(**hyperparameters).sizes if hyperparameters else _sizes(weights, place)
    expected = weight_shapes(sizes, len(manifest["channels"]), manifest["spectrum_size"])
    for name in sorted({*expected, *weights}):
        if name not in expected or name not in weights:
            what = "is missing" if name in expected else "is none of this network's"
            raise ArtifactError(f"{place}: weight {name!r:.60} {what}; take the artifact from its source")
        _check_array(weights[name], expected[name], f"{place}: weight {name}")
    if sizes.memory and not set(SEEN) <= set(manifest["channels"]):
        raise ArtifactError(f"{place}: a network with a memory needs the channels {', '.join(SEEN)}; train it again")


def check_normaliser(arrays: Mapping[str, NDArray[Any]], manifest: Mapping[str, Any], place: str) -> None:
    """Refuse a normaliser whose arrays are no numbers, or whose scale is invalid. Raises ArtifactError."""
    for name, array in arrays.items():
        if array.dtype.kind not in "iuf" or np.isnan(array).any():
            raise ArtifactError(f"{place}: {name!r:.60} is no array of numbers; take the artifact from its source")
    if "limits" in arrays:
        shape = (3, len(manifest["channels"]))
        if arrays["limits"].shape != shape or not np.isfinite(arrays["limits"]).all():
            raise ArtifactError(
                f"{place}: limits: expected finite numbers of shape {shape}, found shape {arrays['limits'].shape:}; "
                "take the artifact from its source"
            )


def _check_array(array: NDArray[Any], shape: tuple[int, ...], what: str) -> None:
    if array.shape != shape or array.dtype != np.float32:
        raise ArtifactError(
            f"{what}: expected float32 of shape {shape}, found {array.dtype} of shape {array.shape}; train it again"
        )
    most = float(np.abs(array).max(initial=0.0))
    if not math.isfinite(most) or most > MAX_WEIGHT:
        raise ArtifactError(f"{what}: expected finite numbers up to {MAX_WEIGHT:g}, found {most:g}; train it again")


def _sizes(weights: Mapping[str, NDArray[Any]], place: str) -> Sizes:
    """Return the sizes that follow from the weights themselves."""
    widths = []
    for name in ("dense3_b", "spectrum_b", "lstm1_r", "fusion_b"):
        if name not in weights or not weights[name].ndim or not 1 <= len(weights[name]) <= MAX_UNITS:
            raise ArtifactError(f"{place}: weight {name} is missing, or of no size; take the artifact from its source")
        widths.append(len(weights[name]))
    dense, spectrum, lstm, fusion = widths
    return Sizes(dense, spectrum, lstm, fusion, memory=SCALE_NAMES[0] in weights)
