"""The shape of the hybrid network, and its weights by name: shared by the Keras model and the compiled one."""

from __future__ import annotations

from dataclasses import dataclass

OUTPUTS = 3
"""Classes, and quantiles of the delay."""

WEIGHT_NAMES = (
    "dense1_w", "dense1_b", "dense2_w", "dense2_b", "dense3_w", "dense3_b", "spectrum_w", "spectrum_b",
    "lstm1_w", "lstm1_r", "lstm1_b", "lstm2_w", "lstm2_r", "lstm2_b",
    "fusion_w", "fusion_b", "classes_w", "classes_b", "delay_w", "delay_b",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Preset:
    """Sizes and hyperparameters: units of the dense, STFT, LSTM and fusion layers, and how they are trained."""

    dense: int
    spectrum: int
    lstm: int
    fusion: int
    dropout: float
    l2: float
    learning_rate: float
    batch: int
    patience: int


PRESETS = {
    "default": Preset(64, 32, 64, 64, 0.1, 1e-6, 2e-3, 32, 6),
    "paper": Preset(128, 64, 128, 128, 0.3, 1e-4, 1e-3, 64, 10),
}
"""`paper`: the published hyperparameters; `default`: a quarter of the arithmetic, see docs/model.md."""
