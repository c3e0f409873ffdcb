"""What a forecast costs: processor time of many at once, waiting time of one window, and the energy of both."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from offramp.inference.baselines.forecaster import HISTORY_BINS, Forecaster, Series

MAX_BINS = 8_192
WINDOWS = 15
RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")


def cost_of(forecaster: Forecaster, series: Sequence[Series], bin_ms: int, watts: float) -> dict[str, float | str]:
    """Measure on the longest series: `cpu_us` of one forecast among many, `window_ms` to wait for one window alone.

    Energy in mJ a forecast: of the processor package where Linux lets it be read (RAPL, of everything that runs on
    it), otherwise CPU seconds times `watts`; `energy_source` says which.
    """
    longest = max(series, key=lambda each: len(each.x)).cut(0, MAX_BINS, bin_ms)
    window = longest.cut(0, HISTORY_BINS, bin_ms)
    forecaster.predict(longest), forecaster.predict(window)  # warmed: what is compiled once is no part of a forecast
    joules, cpu = rapl_joules(), time.process_time()
    forecaster.predict(longest)
    cpu, after = time.process_time() - cpu, rapl_joules()
    waits = []
    for _ in range(WINDOWS):
        begin = time.perf_counter()
        forecaster.predict(window)
        waits.append(time.perf_counter() - begin)
    out: dict[str, float | str] = {
        "cpu_us": cpu / len(longest.x) * 1e6, "window_ms": float(np.median(waits)) * 1e3, "bins": len(longest.x)
    }  # fmt: skip
    if joules is not None and after is not None and after > joules:
        return out | {"energy_mj": (after - joules) / len(longest.x) * 1e3, "energy_source": "RAPL package counter"}
    return out | {"energy_mj": cpu * watts / len(longest.x) * 1e3, "energy_source": f"CPU seconds x {watts:g} W"}


def rapl_joules() -> float | None:
    """Return the package's energy counter in J; None where there is none or it may not be read."""
    try:
        return int(RAPL.read_text()) / 1e6
    except (OSError, ValueError):
        return None
