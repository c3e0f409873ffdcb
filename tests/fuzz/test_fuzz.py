"""A short run of the fuzzer: interpreted and compiled kernels agree on hostile packets and on all regressions."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

from tests.fuzz.cases import PACKETS, blocks_of, is_large
from tests.fuzz.growth import BOUNDS, WIRELESS
from tests.fuzz.mutations import read_stock
from tests.fuzz.regressions import REGRESSIONS
from tests.support.places import ROOT


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


CUT = {
    "an UNSUBSCRIBE of a million empty topics": {"occurrences_cut"},
    "160,000 topics of 100 bytes": {"occurrences_cut"},
    "a packet of 256 kB of 2-byte messages": {"occurrences_cut"},
    "65,535 questions of a long name, over TCP": {"dns_names_cut"},
    "two messages of 16 MB that end in one frame, behind a third": {"text_cut"},
}
"""What is cut of the blocks that reach a bound; the others lie below it, or another bound ends them first."""


def test_blocks_that_grow_to_the_bounds_are_cut_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "stock"
    file.write_bytes(pickle.dumps([b"none"]))
    command = [sys.executable, "-m", "tests.fuzz.cases", str(file), "--bounds", "--first", "5", "--step", "10"]
    done = subprocess.run([*command, "--count", "2"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == len(BOUNDS) + 2
    for line in lines[: len(BOUNDS)]:
        assert set(re.findall(r"'(\w+_cut)'", line)) == CUT.get(line.split(":")[0], set()), line


def test_some_cases_grow_to_the_bounds_and_have_odd_times() -> None:
    blocks = list(blocks_of(15, []))
    assert [block.data.tobytes() for block in blocks] == [block.data.tobytes() for block in blocks_of(15, [])]
    assert min(int(block.time_ns.min()) for block in blocks) <= 0
    largest = [sum(int(block.caplen.sum()) for block in blocks_of(case, [])) for case in range(5, 205, 10)]
    assert max(largest) > 12_000_000
    assert not is_large(10)
    kinds = {block.interfaces[0].linktype for case in range(5, 205, 10) for block in blocks_of(case, [])}
    assert kinds == {1, WIRELESS}


def test_a_case_is_the_same_every_time_and_as_long_as_it_says() -> None:
    stock = [bytes(range(64)), bytes(100)]
    first, second = (list(blocks_of(6, stock)) for _ in range(2))
    assert sum(len(block) for block in first) == PACKETS
    assert [block.data.tobytes() for block in first] == [block.data.tobytes() for block in second]
