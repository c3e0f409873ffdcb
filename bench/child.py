"""A measurement in a process of its own, on as many cores as asked for: `python -m bench.child KIND FILE CORES FACTOR`.

Its speed is not helped by what the bench holds in memory, and its peak memory is its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.measure import Result, cpu_seconds
from bench.threads import ThreadTimes

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3


def replay(capture: Path, factor: int) -> tuple[int, str]:
    """Replay to commands, as `offramp replay` does, without the printing; return packets and a note."""
    from bench.busier import Busier
    from offramp.capture.sources.file.files import open_captures
    from offramp.decision.site import default_site
    from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
    from offramp.inference.serving.table import open_predictor
    from offramp.stream.local.replay import Replay

    source = Busier(open_captures([str(capture)]), factor)
    run = Replay(source, default_site(), load_artifact(DEFAULT_ARTIFACT), open_predictor(DEFAULT_ARTIFACT))
    deque(run.run(), maxlen=0)
    return run.capture_ledger().captured, f"{run.stream_ledger().forecasts:,} forecasts"


def features(capture: Path, profile: str) -> tuple[int, str]:
    """Read and dissect to feature batches, as `offramp features` does, without the writing."""
    from offramp.capture.dissect.dissector import Dissector
    from offramp.capture.sources.file.files import open_captures
    from offramp.stream.local.dissecting import dissected
    from offramp.stream.local.prefetch import prefetch

    dissector = Dissector(profile)
    blocks = (("", block) for block in open_captures([str(capture)]).read())
    deque(prefetch(dissected(blocks, lambda _: dissector)), maxlen=0)
    return dissector.ledger.captured, "reading included"


KINDS: dict[str, Callable[[Path, int], tuple[int, str]]] = {
    "replay": replay,
    "features-stream": lambda capture, _: features(capture, "stream"),
    "features-full": lambda capture, _: features(capture, "full"),
}


def in_child(name: str, kind: str, capture: Path, cores: int, factor: int = 1, rounds: int = ROUNDS) -> Result:
    """Measure `kind` in a child process on `cores` cores; the note has its peak memory."""
    words = [kind, str(capture), str(cores), str(factor), str(rounds)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.child", *words], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    )
    result = json.loads(done.stdout)
    note = f"{result['note']}, peak {result['peak_mb']:,.0f} MB"
    return Result(name, result["packets"], result["seconds"], result["cpu_s"], note)


def measure(kind: str, capture: Path, cores: int, factor: int, rounds: int) -> dict[str, Any]:
    """Run `kind` some times on `cores` cores, after a warming round where there are several; return the fastest."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    best: dict[str, Any] = {}
    for number in range(rounds + (rounds > 1)):
        cpu, start = cpu_seconds(), time.perf_counter()
        with ThreadTimes() as threads:
            packets, note = KINDS[kind](capture, factor)
        seconds = time.perf_counter() - start
        note = f"{note}, busiest thread {threads.busiest_s:.2f} s"
        found = {"packets": packets, "seconds": seconds, "cpu_s": cpu_seconds() - cpu, "note": note}
        if rounds == 1 or (number and seconds < best.get("seconds", float("inf"))):
            best = found
    return best | {"peak_mb": peak_mb()}


def peak_mb() -> float:
    """Return the most memory that this process had (getrusage would tell that of the process it was started from)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    kind, capture, cores, factor, rounds = sys.argv[1:]
    print(json.dumps(measure(kind, Path(capture), int(cores), int(factor), int(rounds))))
