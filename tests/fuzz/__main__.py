"""Fuzz the dissector for a time: `python -m tests.fuzz --seconds 60 [--captures DIR]`.

Three workers dissect the same seeded cases: compiled with every array access checked (all cases), compiled as shipped
(every fifth, so that it meets all that grow to the bounds) and interpreted (every tenth, none of those; it is hundreds
of times slower and so gets less far). A crash, an access out of bounds, a hang or a difference between them ends the
run with exit code 1 and the case's number.
"""

from __future__ import annotations

import argparse
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.cases import PACKETS
from tests.fuzz.mutations import read_stock
from tests.support.places import ROOT

HANG_S, FIRST_S = 300.0, 1800.0
"""A case that takes longer is a hang; the first one of a worker compiles the kernels, with all checks for minutes."""

KINDS: dict[str, tuple[dict[str, str], int]] = {
    "checked": ({"OFFRAMP_BOUNDSCHECK": "1"}, 1),
    "compiled": ({}, 5),
    "interpreted": ({"NUMBA_DISABLE_JIT": "1"}, 10),
}
"""A worker's environment, and the step from one of its cases to the next."""


@dataclass
class Worker:
    """One process that works through its cases; lines arrive in a queue."""

    kind: str
    stock: Path
    first: int
    results: dict[int, str] = field(default_factory=dict)
    last: float = field(default_factory=time.monotonic)

    def start(self, lines: queue.Queue[tuple[Worker, str]]) -> None:
        """Start the process and the thread that reads it."""
        environment, step = KINDS[self.kind]
        command = [sys.executable, "-m", "tests.fuzz.cases", str(self.stock)]
        command += ["--first", str(self.first), "--step", str(step)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

        def read() -> None:
            assert self.process.stdout is not None
            for line in self.process.stdout:
                lines.put((self, line))

        threading.Thread(target=read, daemon=True).start()

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def take(worker: Worker, line: str, known: dict[int, tuple[str, str]]) -> str:
    """Enter a worker's line; return what is wrong with it, or nothing."""
    number, _, found = line.strip().partition(" ")
    if not number.isdigit() or found.startswith("FAILED"):
        return f"{worker.kind}: {line.strip()}"
    worker.last = time.monotonic()
    worker.results[int(number)] = found
    kind, digest = known.setdefault(int(number), (worker.kind, found))
    return "" if digest == found else f"case {number}: {worker.kind} gives {found}, {kind} gives {digest}"


def run(seconds: float, first: int, stock: Path) -> tuple[list[str], list[Worker]]:
    """Let the workers run for a time; return what they found wrong, and the workers."""
    lines: queue.Queue[tuple[Worker, str]] = queue.Queue()
    workers = [Worker(kind, stock, first) for kind in KINDS]
    known: dict[int, tuple[str, str]] = {}
    wrong: list[str] = []
    begin = shown = time.monotonic()
    for worker in workers:
        worker.start(lines)
    try:
        while not wrong and time.monotonic() - begin < seconds:
            try:
                worker, line = lines.get(timeout=1.0)
            except queue.Empty:
                pass
            else:
                wrong += filter(None, [take(worker, line, known)])
            wrong += [f"{w.kind}: hangs after case {max(w.results, default=first)}" for w in workers
                      if time.monotonic() - w.last > (HANG_S if w.results else FIRST_S)]  # fmt: skip
            if time.monotonic() - shown > 10:
                shown = time.monotonic()
                print(told(workers, shown - begin), file=sys.stderr, flush=True)
    finally:
        for worker in workers:
            worker.stop()
    return wrong, workers


def told(workers: list[Worker], seconds: float) -> str:
    """Return in one line how far the workers are."""
    parts = [f"{worker.kind} {len(worker.results) * PACKETS:,}" for worker in workers]
    runs = Counter(case for worker in workers for case in worker.results)
    compared = sum(count > 1 for count in runs.values())
    parts += [f"different ones {len(runs) * PACKETS:,}", f"compared {compared * PACKETS:,}"]
    return f"{seconds:6.0f} s, packets: " + ", ".join(parts)


def main() -> int:
    """Fuzz; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="number of the first case")
    parser.add_argument("--captures", type=Path, help="folder of captures to mutate too; the samples otherwise")
    options = parser.parse_args()
    paths = [*ROOT.glob("samples/*.pcap.zst"), *(options.captures.rglob("*.pcap*") if options.captures else ())]
    with tempfile.NamedTemporaryFile(suffix=".stock") as file:
        packets = read_stock(sorted(paths))
        file.write(pickle.dumps(packets))
        file.flush()
        print(f"mutating {len(packets):,} packets for {options.seconds:g} s", file=sys.stderr)
        wrong, workers = run(options.seconds, options.seed, Path(file.name))
    print(told(workers, options.seconds))
    for line in wrong:
        print(line)
    print("nothing found" if not wrong else "the case again: python -m tests.fuzz --seed CASE --seconds 30")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
