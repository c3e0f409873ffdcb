"""`make system` with stand-ins for apt: whatever becomes of it, no service is left forbidden to start."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.places import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")


def tools(folder: Path, apt_get: str) -> dict[str, str]:
    """Programs of a machine that lacks one package, and what apt-get does there; `id` says root."""
    folder.mkdir()
    for name, text in (("apt-get", apt_get), ("apt-cache", "exit 0"), ("id", "echo 0")):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def make(tmp_path: Path, apt_get: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["make", "-s", "system", f"POLICY={tmp_path / 'policy'}", "PROGRAMS=a-program-that-nobody-has"], cwd=ROOT,
        env=tools(tmp_path / "bin", apt_get), stderr=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("code", [0, 100])
def test_the_ban_on_starting_services_is_lifted(tmp_path: Path, code: int) -> None:
    policy, seen = tmp_path / "policy", tmp_path / "seen"
    done = make(tmp_path, f"cp -p {policy} {seen}; exit {code}")
    assert (done.wait(60) == 0) == (code == 0)
    assert "exit 101" in seen.read_text()
    assert os.access(seen, os.X_OK)
    assert not policy.exists()


def test_one_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "policy").write_text("mine")
    assert make(tmp_path, "exit 100").wait(60) != 0
    assert (tmp_path / "policy").read_text() == "mine"


def test_a_signal_lifts_it_too(tmp_path: Path) -> None:
    policy, begun = tmp_path / "policy", tmp_path / "begun"
    done = make(tmp_path, f"touch {begun}; sleep 2")
    while not begun.exists():
        time.sleep(0.05)
    assert policy.exists()
    done.send_signal(signal.SIGTERM)
    done.wait(60)
    while policy.exists():  # the shell takes the signal when its command has ended
        time.sleep(0.05)


def test_no_name_in_a_folder_of_all_is_used() -> None:
    assert "/tmp/" not in (ROOT / "Makefile").read_text()  # noqa: S108 - that none is there
