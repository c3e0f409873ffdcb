"""Federated averaging: sites send refined artifacts, never rows; their updates are clipped, weighted, summed.

Source: FedAvg (McMahan et al. 2017). Privacy: each update's length is clipped, and Gaussian noise of `noise` times what
one site can change is added to the sum (McMahan et al. 2018). That is rho = rounds / (2 noise^2) of zero-concentrated
differential privacy, whose epsilon is rho + 2 sqrt(rho ln(1 / delta)) (Bun and Steinke 2016, propositions 1.3, 1.6),
with every site taking part in every round. Hidden is whether a site's update was there; not how many rows it weighs.
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

MOST_SHARE = 4
"""Times the middle site's rows (of two the lesser's) that one site weighs at most: who says more is not the average."""

DELTA = 1e-5
"""Chance with which the privacy's bound may not hold."""


def updates_of(base: Artifact, sites: Sequence[Artifact]) -> tuple[list[Weights], list[int]]:
    """Return each site's update of the base's weights, and the rows that it was learned from.

    Raises ArtifactError for an artifact that was not refined from this base, or tells no rows.
    """
    updates, rows = [], []
    for site in sites:
        told = site.manifest.get("refined")
        if not isinstance(told, Mapping) or told.get("base") != base.sha:
            raise ArtifactError(
                f"model {site.sha[:16]}: was not refined from {base.sha[:16]}; give what --refine made from that model"
            )
        count = told.get("rows")
        if set(site.weights) != set(base.weights) or type(count) is not int or not 0 < count < 1 << 53:
            raise ArtifactError(f"model {site.sha[:16]}: has other weights than its base, or tells no rows")
        update = {name: site.weights[name] - base.weights[name] for name in WEIGHT_NAMES}
        if not np.isfinite(norm(update)):
            raise ArtifactError(f"model {site.sha[:16]}: has weights that are no numbers")
        updates.append(update)
        rows.append(count)
    return updates, rows


def average(
    updates: Sequence[Mapping[str, NDArray[np.float32]]], rows: Sequence[int], *, clip: float, noise: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Weights:  # fmt: skip
    """Return the weighted mean of updates, each clipped to the length `clip`, with noise where asked for.

    rows: what each weighs, as it says itself; more than MOST_SHARE times the middle one is not believed.
    noise: deviation of the Gaussian as a multiple of the most that one site can change, `clip` times its weight.
    """
    most = MOST_SHARE * sorted(rows)[(len(rows) - 1) // 2]
    believed = [min(each, most) for each in rows]
    shares = [each / sum(believed) for each in believed]
    out: dict[str, NDArray[np.float64]] = {name: np.zeros(array.shape) for name, array in updates[0].items()}
    for update, share in zip(updates, shares, strict=True):
        length = norm(update)
        factor = share * (min(1.0, clip / length) if length > 0 else 1.0)
        for name, array in update.items():
            out[name] += factor * array
    if noise:
        rng = rng or np.random.default_rng()
        deviation = noise * clip * max(shares)
        for total_update in out.values():
            total_update += rng.normal(0.0, deviation, total_update.shape)
    return {name: total_update.astype(np.float32) for name, total_update in out.items()}


def epsilon(noise: float, rounds: int, delta: float = DELTA) -> float:
    """Return the epsilon of `rounds` rounds at a noise multiplier, infinite without noise; the module says why."""
    if noise <= 0:
        return float("inf")
    rho = rounds / (2 * noise * noise)
    return float(rho + 2 * np.sqrt(rho * np.log(1 / delta)))


def federate(
    base: Artifact, sites: Sequence[Artifact], out: Path, *, clip_share: float = 0.1, noise: float = 0.0,
    seed: int | None = None,
) -> Artifact:  # fmt: skip
    """Average the sites' refined artifacts to a new one at `out`, and return it.

    clip_share: the longest an update may be, as a share of the base's weights' length; noise: see `average`; seed: of
    the noise, for tests: who knows it can take the noise off again. Raises ArtifactError as `updates_of` does.
    """
    if not sites:
        raise ConfigError("nothing to average: name the artifacts of the sites")
    updates, rows = updates_of(base, sites)
    clip = clip_share * norm(base.weights)
    mean = average(updates, rows, clip=clip, noise=noise, rng=np.random.default_rng(seed))
    weights = {**base.weights, **{name: base.weights[name] + mean[name] for name in mean}}
    rounds = int(base.manifest.get("federated", {}).get("round", 0)) + 1
    told: dict[str, Any] = {
        "base": base.sha, "sites": len(sites), "rows": sum(rows), "clip_share": clip_share, "noise": noise,
        "round": rounds, "epsilon": epsilon(noise, rounds) if noise else None, "delta": DELTA if noise else None,
    }  # fmt: skip
    meta = {
        key: value for key, value in base.manifest.items() if key not in ("format", "sha256", "refined", "federated")
    }
    together = hashlib.sha256("".join(sorted(site.manifest["data_fingerprint"] for site in sites)).encode())
    name = str(meta["name"]).removesuffix("-refined").removesuffix("-federated")
    meta |= {
        "name": f"{name}-federated", "metrics": {}, "command": "offramp federate", "federated": told,
        "data_fingerprint": together.hexdigest(),
    }  # fmt: skip
    return save_artifact(out, weights, base.normaliser, meta)
