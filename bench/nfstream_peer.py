"""NFStream 6.6 (LGPL) as a peer, in an environment of its own in the cache folder.

Its metadata names another pandas for PyPy, so no lock for all platforms can hold it beside ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.capture_file import cut
from bench.measure import Result
from offramp.kernel_places import cache_root

NAMED = "nfstream==6.6.0"
PACKETS = 200_000
CODE = """
import json, resource, sys, time
from nfstream import NFStreamer

if __name__ == "__main__":
    start = time.perf_counter()
    packets = sum(flow.bidirectional_packets for flow in NFStreamer(source=sys.argv[1], statistical_analysis=False))
    seconds = time.perf_counter() - start
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps([packets, seconds, sum(use.ru_utime + use.ru_stime for use in uses)]))
"""


def nfstream(capture: Path) -> Result | str:
    """Measure NFStream's flows without statistics (packets to flows with nDPI's protocols), or say why it cannot be."""
    folder = cache_root() / "nfstream-6.6.0"
    python = folder / "bin/python"
    try:
        if not (folder / "ready").exists():
            _install(folder, python)
        script = folder / "measure.py"
        script.write_text(CODE, encoding="utf-8")
        file = cut(capture, PACKETS)
        done = subprocess.run([python, script, file], capture_output=True, text=True, check=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        return f"nfstream cannot run here: {reason[-1] if reason else error}"
    packets, seconds, cpu_s = json.loads(done.stdout.splitlines()[-1])
    return Result("NFStream 6.6, statistics off", packets, seconds, cpu_s, f"first {PACKETS:,}; IP packets in flows")


def _install(folder: Path, python: Path) -> None:
    """Make the environment, from wheels only."""
    print(f"installing {NAMED} for the bench into {folder} (once)", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, text=True)
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
        NAMED,
    ]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    (folder / "ready").touch()
