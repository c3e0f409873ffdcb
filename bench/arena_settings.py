"""What each number of the optimiser is worth: halved and doubled, on scenarios that it was not tuned on.

`python -m bench.arena_settings samples/arena/{access,narrow,gone,tiers,satellite,plant}.toml` prints a table: the mean
delay under each, of that as set.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from offramp.decision.policies import assignment, memory, optimiser, ways
from offramp.decision.rules import PACES
from offramp.stream.arena.contest import Contest
from offramp.stream.arena.scenario import load_scenario

POLICY = "optimiser-reactive"
EVEN = PACES["even"]._asdict()
SETTINGS: dict[str, float] = {**EVEN, "min_share": 0.01, "base_ms": 1.0}
CONSTANTS: dict[str, tuple[Any, str]] = {
    "FURTHER": (assignment, "FURTHER"),
    "LOST_MS": (assignment, "LOST_MS"),
    "MOST_WAITING": (assignment, "MOST_WAITING"),
    "PATH_BUFFER_MS": (ways, "PATH_BUFFER_MS"),
    "WAKE_MS": (optimiser, "WAKE_MS"),
    "ENDED_NS": (optimiser, "ENDED_NS"),
    "DEVICE_PRICE": (optimiser, "DEVICE_PRICE"),
    "FITS": (memory, "FITS"),
    "FAILED_NS": (memory, "FAILED_NS"),
}


@contextmanager
def constant(name: str, factor: float) -> Iterator[None]:
    """Let a constant be so many times what it is."""
    module, key = CONSTANTS[name]
    before = getattr(module, key)
    setattr(module, key, type(before)(before * factor))
    try:
        yield
    finally:
        setattr(module, key, before)


def main() -> None:
    """Play all scenarios with each number halved and doubled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="+", type=Path)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--seeds", type=int, default=6)
    args = parser.parse_args()
    contests = [
        Contest(load_scenario(path), (POLICY,), args.seeds, here=path.parent, root=args.root) for path in args.scenarios
    ]

    def means(settings: dict[str, Any]) -> np.ndarray:
        return np.array([contest.play(POLICY, settings).measures.mean_ms for contest in contests])

    plain = means({})
    print("| number | halved: worst, mean | doubled: worst, mean |\n|---|---|---|")
    for name in (*SETTINGS, *CONSTANTS):
        cells = []
        for factor in (0.5, 2.0):
            if name in SETTINGS:
                value = SETTINGS[name] * factor
                ratio = means({name: max(1, round(value)) if name == "every_bins" else value}) / plain
            else:
                with constant(name, factor):
                    ratio = means({}) / plain
            cells.append(f"{ratio.max():.2f} ({contests[int(ratio.argmax())].scenario.name}), {ratio.mean():.2f}")
        print(f"| `{name}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
