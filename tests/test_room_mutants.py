"""Every room that kernels ask for holds, and taking any one room check out of them fails a check."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

from tests.room_mutants import ROOMS, code_of, mutants
from tests.support.places import ROOT


def interpreted(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with interpreted kernels."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def test_without_any_one_room_check_a_check_fails() -> None:
    done = interpreted("-m", "tests.room_mutants")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.endswith(" mutants, 0 live\n")


def test_a_mutant_that_no_check_meets_lives() -> None:
    code = "import sys; from tests import room_mutants as m; m.room_shares.CHECKS.clear(); sys.exit(m.main())"
    done = interpreted("-c", code)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1 + len(list(mutants()))
    assert "LIVES: offramp.capture.dissect.application.payloads.finish, line " in done.stdout


def test_every_room_has_mutants_and_each_is_another_function() -> None:
    found = list(mutants())
    rooms = {(module, kernel) for module, held in ROOMS.items() for kernel in held}
    assert {(each.module, each.kernel) for each in found} >= rooms
    assert len({ast.dump(each.source) for each in found}) == len(found) > 100
    assert all(code_of(each).co_name == each.kernel for each in found)
