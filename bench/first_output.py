"""How long a user waits: from the start of `offramp replay` to the first byte of its output, kernels on disk."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from bench.measure import Result, cpu_seconds

ROOT = Path(__file__).resolve().parents[1]
COMMAND = ("replay", "samples/demo.pcap.zst", "--site", "samples/site.toml")


def first_output(rounds: int = 3) -> Result:
    """Measure a warm start; the seconds are those to the first byte, the packets those of the sample."""
    return min((_once() for _ in range(rounds)), key=lambda result: result.seconds)


def _once() -> Result:
    cpu, start = cpu_seconds(), time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "offramp", *COMMAND], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        seconds = time.perf_counter() - start
        process.stdout.read()
        errors = process.stderr.read().decode()
    packets = int(errors.split("packets captured")[1].split()[0].replace(",", ""))
    note = "compiled on the way" if "compiling" in errors else "seconds to the first output"
    return Result("warm start of offramp replay", packets, seconds, cpu_seconds() - cpu, note)
