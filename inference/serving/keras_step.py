"""One step of the Keras model with carried state, from the model's own layers."""

from __future__ import annotations

from typing import Any

from keras import ops

from offramp.inference.artifact import Artifact
from offramp.inference.network.keras_model import LAYERS, build, set_weights
from offramp.inference.network.preset import OUTPUTS, preset_of


def loaded(artifact: Artifact) -> Any:
    """Return the Keras model with an artifact's weights."""
    manifest = artifact.manifest
    model = build(len(manifest["channels"]), int(manifest["spectrum_size"]), preset_of(manifest))
    set_weights(model, dict(artifact.weights))
    return model


def stepped(model: Any, x: Any, frames: Any, state: Any) -> tuple[Any, Any, Any]:
    """Return classes [n, 3], log1p of the delay [n, 3] and state [n, 4 * units] as h1, c1, h2, c2, after one bin.

    x: [n, inputs]; frames: [n, K]; state: [n, 4 * units].
    """
    layer = model.get_layer
    features = x
    for name in LAYERS[:3]:
        features = layer(name)(features)
    both = ops.concatenate([features, layer("spectrum")(frames)], axis=-1)
    h1, c1, h2, c2 = ops.split(state, 4, axis=-1)
    _, (h1, c1) = layer("lstm1").cell(both, [h1, c1], training=False)
    _, (h2, c2) = layer("lstm2").cell(h1, [h2, c2], training=False)
    fused = layer("fusion")(ops.concatenate([both, h2], axis=-1))
    numbers = layer("delay")(fused)
    rising = layer("rising")(x, numbers) if numbers.shape[-1] > OUTPUTS else layer("rising")(numbers)
    return layer("classes")(fused), rising, ops.concatenate([h1, c1, h2, c2], axis=-1)


def windowed(model: Any, x: Any, frames: Any) -> tuple[Any, Any]:
    """Return classes and log1p of the delay [n, 3] after the last bin of windows: x [n, T, F], frames [n, T, K]."""
    found = model([x, frames], training=False)
    return found["classes"][:, -1], found["rising"][:, -1]
