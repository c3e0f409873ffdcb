"""Federated averaging: sites send refined artifacts, never rows; their updates are clipped, weighted, summed.

Source: FedAvg (McMahan et al. 2017). Clipping bounds what one site can do to the model; it does not hide a site's
update from whoever averages. Noise that would (differential privacy) drowns the model at fewer than hundreds of sites.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import ArtifactError, ConfigError
from offramp.inference.artifact import Artifact, save_artifact
from offramp.inference.network.preset import WEIGHT_NAMES
from offramp.inference.refinement.challenger import Weights, norm

MAX_SHARE = 4
"""Greatest weight of one site, in times the middle site's rows (of two the lesser's), whatever it claims."""


def updates_of(base: Artifact, sites: Sequence[Artifact]) -> tuple[list[Weights], list[int]]:
    """Return each site's update of the base's weights, and the rows that it was learned from.

    Raises ArtifactError for an artifact that was not refined from this base, or does not state its rows.
    """
    updates, rows = [], []
    for site in sites:
        refined = site.manifest.get("refined")
        if not isinstance(refined, Mapping) or refined.get("base") != base.sha:
            raise ArtifactError(
                f"model {site.sha[:16]}: was not refined from {base.sha[:16]}; give what --refine made from that model"
            )
        count = refined.get("rows")
        if set(site.weights) != set(base.weights) or type(count) is not int or not 0 < count < 1 << 53:
            raise ArtifactError(f"model {site.sha[:16]}: has other weights than its base, or tells no rows")
        update = {name: site.weights[name] - base.weights[name] for name in WEIGHT_NAMES}
        if not np.isfinite(norm(update)):
            raise ArtifactError(f"model {site.sha[:16]}: has weights that are no numbers")
        updates.append(update)
        rows.append(count)
    return updates, rows


def average(updates: Sequence[Mapping[str, NDArray[np.float32]]], rows: Sequence[int], *, clip: float) -> Weights:
    """Return the weighted mean of updates, each clipped to the length `clip`.

    rows: each site's weight by its own account; at most MAX_SHARE times the middle one counts.
    """
    most = MAX_SHARE * sorted(rows)[(len(rows) - 1) // 2]
    believed = [min(each, most) for each in rows]
    shares = [each / sum(believed) for each in believed]
    out: dict[str, NDArray[np.float64]] = {name: np.zeros(array.shape) for name, array in updates[0].items()}
    for update, share in zip(updates, shares, strict=True):
        length = norm(update)
        factor = share * (min(1.0, clip / length) if length > 0 else 1.0)
        for name, array in update.items():
            out[name] += factor * array
    return {name: total_update.astype(np.float32) for name, total_update in out.items()}


def federate(base: Artifact, sites: Sequence[Artifact], out: Path, *, clip_share: float = 0.1) -> Artifact:
    """Average the sites' refined artifacts to a new one at `out`, and return it.

    clip_share: the longest an update may be, as a share of the base's weights' length.
    Raises ArtifactError as `updates_of` does.
    """
    if not sites:
        raise ConfigError("nothing to average: name the artifacts of the sites")
    updates, rows = updates_of(base, sites)
    clip = clip_share * norm(base.weights)
    mean = average(updates, rows, clip=clip)
    weights = {**base.weights, **{name: base.weights[name] + mean[name] for name in mean}}
    rounds = int(base.manifest.get("federated", {}).get("round", 0)) + 1
    record: dict[str, Any] = {
        "base": base.sha, "sites": len(sites), "rows": sum(rows), "clip_share": clip_share, "round": rounds,
    }  # fmt: skip
    meta = {
        key: value for key, value in base.manifest.items() if key not in ("format", "sha256", "refined", "federated")
    }
    together = hashlib.sha256("".join(sorted(site.manifest["data_fingerprint"] for site in sites)).encode())
    name = str(meta["name"]).removesuffix("-refined").removesuffix("-federated")
    meta |= {
        "name": f"{name}-federated", "metrics": {}, "command": "offramp federate", "federated": record,
        "data_fingerprint": together.hexdigest(),
    }  # fmt: skip
    return save_artifact(out, weights, base.normaliser, meta)
