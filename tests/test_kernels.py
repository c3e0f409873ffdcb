"""A cold start says that it compiles and how long it took; a warm one says nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CODE = """
import numpy as np
from offramp_kernels import announce_compiling, cache_root
from stream.virtual_queue import fixed_delays
announce_compiling()
announce_compiling()
print(fixed_delays(np.arange(3), np.arange(3), 1.0, 10.0).sum())
"""


def start(cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
    )  # fmt: skip


def test_only_a_cold_start_speaks_of_compiling(tmp_path: Path) -> None:
    cold, warm = start(tmp_path), start(tmp_path)
    lines = cold.stderr.splitlines()
    assert len(lines) == 2
    assert "compiling kernels" in lines[0]
    assert "compiled in" in lines[1]
    assert str(tmp_path) in lines[1]
    assert warm.stderr == ""
    assert warm.stdout == cold.stdout
