"""One serving backend, measured in a process of its own: `python -m bench.serving_child NAME`. Prints JSON lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bench.numpy_reference import reference_forecasts
from offramp.errors import ArtifactError
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.fixed_shapes import SHAPES, WINDOW, wide_windows
from offramp.inference.serving.predictor import Backend, Floats
from offramp.inference.serving.table import open_backend

TOLERANCE = 1e-4
"""Largest difference from the reference, of probabilities and of log1p of the delay, with which a backend agrees."""
CHECKED, BINS = 16, 12
"""Series compared with the reference, and bins of the carried steps."""
ROUND_S, ROUNDS = 0.12, 4


def inputs(backend: Backend, n: int, bins: int) -> tuple[Floats, Floats]:
    """Return seeded rows in [0, 1]: [n, bins, F] and [n, bins, K]."""
    rng = np.random.default_rng(n)
    return (
        rng.random((n, bins, len(backend.channels)), np.float32),
        rng.random((n, bins, backend.spectrum_size), np.float32),
    )


def difference(found: tuple[Floats, Floats], expected: tuple[Any, Any]) -> float:
    """Return the largest difference of probabilities and of log1p of the delay; infinite where a number is none."""
    probabilities, delay_ms = found
    gaps = (np.abs(probabilities - expected[0]).max(), np.abs(np.log1p(delay_ms) - expected[1]).max())
    return float(max(gaps)) if np.isfinite(gaps).all() else float("inf")


def spent(run: Callable[[], object]) -> tuple[float, float]:
    """Return CPU seconds (of all threads) and wall seconds of a call: the least of some rounds."""
    start = time.perf_counter()
    run()
    calls = max(1, int(ROUND_S / max(time.perf_counter() - start, 1e-7)))
    best = (float("inf"), float("inf"))
    for _ in range(ROUNDS if calls > 1 else 2):
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(calls):
            run()
        best = min(best, ((time.process_time() - cpu) / calls, (time.perf_counter() - wall) / calls))
    return best


def steps(backend: Backend, weights: Any, n: int) -> dict[str, Any]:
    """Measure one bin of n series with carried state, and check a dozen bins in a row."""
    x, frames = inputs(backend, n, BINS)
    series, state = np.arange(n, dtype=np.int32), np.zeros((n, backend.state_size), np.float32)
    rows = [(np.ascontiguousarray(x[:, t]), np.ascontiguousarray(frames[:, t])) for t in range(BINS)]
    found = [backend.predict(*row, series, state) for row in rows]
    some = np.linspace(0, n - 1, min(n, CHECKED)).astype(int)
    expected = reference_forecasts(weights, wide_windows(backend, x[some]), frames[some])
    gap = max(
        difference((each.probabilities[some], each.quantiles_ms[some]), (expected[0][:, t], expected[1][:, t]))
        for t, each in enumerate(found)
    )
    traces = backend.traces
    cpu, wall = spent(lambda: backend.predict(*rows[0], series, state))
    return _row(backend, "step", n, cpu, wall, gap, backend.traces - traces)


def windows(backend: Backend, weights: Any, n: int) -> dict[str, Any]:
    """Measure and check the forecasts of n whole windows."""
    x, frames = inputs(backend, n, WINDOW)
    found = backend.predict_windows(x, frames)
    some = np.linspace(0, n - 1, min(n, CHECKED)).astype(int)
    expected = reference_forecasts(weights, wide_windows(backend, x[some]), frames[some])
    gap = difference((found.probabilities[some], found.quantiles_ms[some]), (expected[0][:, -1], expected[1][:, -1]))
    traces = backend.traces
    cpu, wall = spent(lambda: backend.predict_windows(x, frames))
    return _row(backend, "window", n, cpu, wall, gap, backend.traces - traces)


def _row(backend: Backend, kind: str, n: int, cpu: float, wall: float, gap: float, traces: int) -> dict[str, Any]:
    return {
        "kind": kind, "batch": n, "cpu_us": cpu / n * 1e6, "wall_us": wall / n * 1e6, "difference": gap,
        "agrees": gap <= TOLERANCE, "traces_after_start": traces, "device": backend.device,
    }  # fmt: skip


def measured(name: str, kinds: tuple[str, ...], on: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a backend, or one row that says why there is none."""
    artifact = load_artifact(DEFAULT_ARTIFACT)
    start = time.perf_counter()
    try:
        backend = open_backend(name, artifact)
    except ArtifactError as error:
        yield {"skipped": str(error)}
        return
    if backend.device != on:
        yield {"skipped": f"serving backend {name}: computes on a {backend.device}, not on a {on}"}
        return
    yield {"started_s": time.perf_counter() - start}
    for n in SHAPES if "step" in kinds else ():
        yield steps(backend, artifact.weights, n)
    for n in SHAPES if "window" in kinds else ():
        yield windows(backend, artifact.weights, n)


def main() -> None:
    """Print the rows of the backend named first; then the kinds, comma between, and the device."""
    name, kinds, on = sys.argv[1:4]
    for row in measured(name, tuple(kinds.split(",")), on):
        print(json.dumps({"backend": name, **row}), flush=True)


if __name__ == "__main__":
    main()
