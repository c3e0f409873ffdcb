"""The shape of the hybrid network, and its weights by name: shared by the Keras model and the compiled one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from offramp.errors import ConfigError
from offramp.inference.network.queue_history import ANCHORS, FEATURES
from offramp.toml import read_toml, shown, unknown_key

OUTPUTS = 3
"""Classes, and quantiles of the delay."""

WEIGHT_NAMES = (
    "dense1_w", "dense1_b", "dense2_w", "dense2_b", "dense3_w", "dense3_b", "spectrum_w", "spectrum_b",
    "lstm1_w", "lstm1_r", "lstm1_b", "lstm2_w", "lstm2_r", "lstm2_b",
    "fusion_w", "fusion_b", "classes_w", "classes_b", "delay_w", "delay_b",
)  # fmt: skip

SCALE_NAMES = ("scale_low", "scale_width")
"""Beside them where the network has a memory: float32 [F], the normaliser's offset and divisor."""


class Sizes(NamedTuple):
    """Units of the layers, and whether the network has a memory."""

    dense: int
    spectrum: int
    lstm: int
    fusion: int
    memory: bool

    def inputs(self, channels: int) -> int:
        """Return how many numbers of a bin the first dense layer sees."""
        return channels + (FEATURES if self.memory else 0)

    @property
    def delay_outputs(self) -> int:
        """Numbers the delay's head makes: three steps, or for each quantile weights of the anchors and a shift."""
        return OUTPUTS * (ANCHORS + 1) if self.memory else OUTPUTS


def weight_shapes(sizes: Sizes, channels: int, spectrum_size: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array of a network's weights, by name."""
    both, gates = sizes.dense + sizes.spectrum, 4 * sizes.lstm
    layers = {
        "dense1": (sizes.inputs(channels), sizes.dense), "dense2": (sizes.dense, sizes.dense),
        "dense3": (sizes.dense, sizes.dense), "spectrum": (spectrum_size, sizes.spectrum), "lstm1": (both, gates),
        "lstm2": (sizes.lstm, gates), "fusion": (both + sizes.lstm, sizes.fusion), "classes": (sizes.fusion, OUTPUTS),
        "delay": (sizes.fusion, sizes.delay_outputs),
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (inputs, outputs) in layers.items():
        shapes |= {f"{name}_w": (inputs, outputs), f"{name}_b": (outputs,)}
    shapes |= {f"lstm{layer}_r": (sizes.lstm, gates) for layer in (1, 2)}
    return shapes | (dict.fromkeys(SCALE_NAMES, (channels,)) if sizes.memory else {})


@dataclass(frozen=True, slots=True)
class Preset:
    """Sizes and hyperparameters.

    dense, spectrum, lstm, fusion: units; memory: whether the network sees the longer memory and rests its delays on
    anchors (queue_history); length: bins of a piece it is unrolled over; batch: pieces a step; annealed: the learning
    rate falls to nothing along a cosine.
    """

    dense: int
    spectrum: int
    lstm: int
    fusion: int
    dropout: float
    l2: float
    learning_rate: float
    batch: int
    patience: int
    memory: bool = False
    length: int = 256
    annealed: bool = False

    @property
    def sizes(self) -> Sizes:
        """What of it the shapes of the weights follow from."""
        return Sizes(self.dense, self.spectrum, self.lstm, self.fusion, self.memory)

    def inputs(self, channels: int) -> int:
        """Return how many numbers of a bin the first dense layer sees."""
        return self.sizes.inputs(channels)

    @property
    def delay_outputs(self) -> int:
        """Numbers the delay's head makes: three steps, or for each quantile weights of the anchors and a shift."""
        return self.sizes.delay_outputs


MAX_VALUE = 65_536
"""Above any useful hyperparameter: a layer of that many units would not fit into memory."""

PRESETS = {
    "default": Preset(64, 32, 64, 64, 0.0, 1e-6, 2e-3, 16, 6, memory=True, length=128, annealed=True),
    "paper": Preset(128, 64, 128, 128, 0.3, 1e-4, 1e-3, 64, 10),
}
"""`paper`: the published hyperparameters; `default`: our best, see docs/model.md."""


def preset_of(manifest: Mapping[str, Any]) -> Preset:
    """Return the preset of an artifact's manifest; artifacts before `hyperparameters` name one of PRESETS."""
    hyperparameters = manifest.get("hyperparameters")
    return Preset(**hyperparameters) if hyperparameters else Preset(64, 32, 64, 64, 0.1, 1e-6, 2e-3, 32, 6)


def load_preset(name: str) -> Preset:
    """Return a preset by its name, or from a TOML file of `offramp tune`. Raise ConfigError naming file and key."""
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    if not path.exists():
        raise ConfigError(f"--preset {name}: neither {' nor '.join(PRESETS)}, nor a file that is there")
    table = read_toml(path, "--preset")
    known = {field.name: field for field in fields(Preset)}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(f"{name}: {key}: {unknown_key(key, known)}")
        wanted = type(getattr(PRESETS["default"], key))
        right = isinstance(value, (wanted, int) if wanted is float else wanted) and isinstance(value, bool) == (
            wanted is bool
        )
        if not right or not 0 <= value < MAX_VALUE:
            raise ConfigError(
                f"{name}: {key}: expected a {wanted.__name__} from 0 to below {MAX_VALUE:,}; found {shown(value)}"
            )
    return Preset(**{**asdict(PRESETS["default"]), **table})


def preset_toml(preset: Preset) -> str:
    """Return a preset as a file that `load_preset` reads."""
    return "".join(f"{key} = {str(value).lower()}\n" for key, value in asdict(preset).items())
