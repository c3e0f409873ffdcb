"""A short run of the fuzzer: interpreted and compiled kernels agree on hostile packets and on all regressions."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

from tests.fuzz.cases import PACKETS, blocks_of
from tests.fuzz.mutations import read_stock
from tests.fuzz.regressions import REGRESSIONS

ROOT = Path(__file__).resolve().parents[2]


def test_interpreted_and_compiled_kernels_agree(tmp_path: Path) -> None:
    stock = read_stock(sorted(ROOT.glob("samples/*.pcap.zst")))
    assert len(stock) > 10_000
    file = tmp_path / "stock"
    file.write_bytes(pickle.dumps(stock))
    command = [sys.executable, "-m", "tests.fuzz.cases", str(file), "--regressions", "--count", "4"]
    found = []
    for environment in ({"NUMBA_DISABLE_JIT": "1"}, {}):  # the interpreter checks every access
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        found.append(done.stdout.splitlines())
    assert len(found[0]) == len(REGRESSIONS) + 4
    assert found[0] == found[1]


def test_a_case_is_the_same_every_time_and_as_long_as_it_says() -> None:
    stock = [bytes(range(64)), bytes(100)]
    first, second = (list(blocks_of(5, stock)) for _ in range(2))
    assert sum(len(block) for block in first) == PACKETS
    assert [block.data.tobytes() for block in first] == [block.data.tobytes() for block in second]
