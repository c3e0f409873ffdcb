"""`python -m bench.serving`: the serving backends side by side: CPU and wall time a forecast, and whether they agree.

Each backend runs in a process of its own with one thread, over the shipped model: one bin with carried state (`step`)
and whole windows of 64 bins (`window`), in batches of 1 to 4,096. Every row is compared with the network in double
precision in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from offramp.inference.serving.table import TABLE

HEAD = f"{'backend':<16} {'':<7} {'batch':>6} {'CPU us':>9} {'wall us':>9} {'difference':>11}  (of one forecast)"
ONE_THREAD = {
    "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3",
}  # fmt: skip
RELEVANT = 64
"""Batch at which backends are ranked: what some links close together."""
GOAL_US = 40.0


def rows_of(name: str, kinds: Sequence[str], on: str = "CPU") -> Iterator[dict[str, Any]]:
    """Yield the rows of one backend as they come; one that ends badly gives a row that says so."""
    environment = {**os.environ, **ONE_THREAD}
    if on == "CPU":
        environment["CUDA_VISIBLE_DEVICES"] = "-1"
    command = [sys.executable, "-m", "bench.serving_child", name, ",".join(kinds), on]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        for text in child.stdout:
            yield json.loads(text)
        why = child.stderr.read() if child.stderr else ""
    if child.returncode:
        yield {"backend": name, "skipped": f"serving backend {name}: failed: {(why.strip().splitlines() or ['?'])[-1]}"}


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    mark = "" if row["agrees"] else "  DISAGREES"
    if row["traces_after_start"] and row["kind"] == "step":
        mark += f"  compiled {row['traces_after_start']} x after start"
    return (
        f"{row['backend']:<16} {row['kind']:<7} {row['batch']:>6,} {row['cpu_us']:>9.2f} {row['wall_us']:>9.2f} "
        f"{row['difference']:>11.1e}{mark}"
    )


def verdict(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return what follows: the fastest step that agrees at each batch, and whether the goal is met."""
    out = []
    for batch in sorted({row["batch"] for row in rows}):
        good = [row for row in rows if row["batch"] == batch and row["agrees"] and row["kind"] == "step"]
        if good:
            best = min(good, key=lambda row: row["cpu_us"])
            out.append(f"fastest step at batch {batch:,}: {best['backend']}, {best['cpu_us']:.1f} us of CPU time")
    worst = [row["cpu_us"] for row in rows if row["backend"] == "compiled" and row["kind"] == "step"
             and row["batch"] >= RELEVANT]  # fmt: skip
    if worst:
        met = "met" if max(worst) <= GOAL_US else "missed"
        out.append(f"goal of {GOAL_US:g} us at batch {RELEVANT} and more, by what serves: {met} ({max(worst):.1f} us)")
    return out


def run(names: Sequence[str], kinds: Sequence[str], on: str, file: Path | None) -> list[dict[str, Any]]:
    """Measure and print; return the rows."""
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} before\n{HEAD}", flush=True)
    rows, skipped = [], []
    for name in names:
        for row in rows_of(name, kinds, on):
            if "skipped" in row:
                skipped.append(row["skipped"])
            elif "kind" in row:
                rows.append(row)
                print(line(row), flush=True)
    print("\n".join([*verdict(rows), *(f"left out: {why}" for why in skipped)]))
    if file:
        file.write_text(json.dumps({"device": on, "rows": rows, "left_out": skipped}, indent=1) + "\n")
    return rows


def arguments(name: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description="Serving backends side by side.")
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    parser.add_argument("--backends", default=",".join(TABLE), help="which, comma between (default all)")
    parser.add_argument("--kinds", default="step,window", help="step, window, or both (default)")
    return parser.parse_args()


def main() -> int:
    """Run the bench; a backend that disagrees is an error."""
    asked = arguments("serving")
    rows = run(asked.backends.split(","), asked.kinds.split(","), "CPU", asked.json)
    return 0 if rows and all(row["agrees"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
