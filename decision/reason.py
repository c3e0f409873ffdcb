"""The reason of a command: the forecast and the data it rests on, as plain values."""

from __future__ import annotations

from typing import Any

from offramp.decision.command import rfc3339
from offramp.decision.traffic import Quality
from offramp.inference.forecast import CLASSES, Forecast


def reason(forecast: Forecast, quality: Quality, rule: str, policy_version: str) -> dict[str, Any]:
    """Return why a command was given. Figures are rounded, so that they print alike on every machine."""
    delays = zip(("q50", "q90", "q99"), forecast.quantiles_ms, strict=True)
    return {
        "probabilities": {
            name: round(float(share), 4) for name, share in zip(CLASSES, forecast.probabilities, strict=True)
        },
        "delay_ms": {name: round(float(delay), 3) for name, delay in delays},
        "delay_now_ms": round(float(forecast.bin_end_ms), 3),
        "horizon_ms": forecast.horizon_ms,
        "rule": rule,
        "window_start": rfc3339(forecast.window_start_ns),
        "window_end": rfc3339(forecast.window_end_ns),
        "quality": quality.as_dict(),
        "model": forecast.model,
        "model_sha": forecast.model_sha,
        "policy_version": policy_version,
    }
