"""A tap that runs as a process in a network namespace, what it says, and what rights it has left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from bench.namespace import Namespace
from tests.support.live import until
from tests.support.places import ROOT, SITE

TAP = [sys.executable, "-m", "offramp", "tap"]


class Running:
    """A tap that runs: `err` holds its lines as they come."""

    command = (*TAP, "v1")

    def __init__(self, namespace: Namespace, *arguments: object, before: list[str] | None = None) -> None:
        command = [*(before or []), *self.command, "--site", SITE, *arguments]
        self.process = namespace.start([str(each) for each in command], cwd=ROOT)
        self.err: list[str] = []
        self.out: list[str] = []
        self._threads = [
            threading.Thread(target=lambda pipe=pipe, lines=lines: lines.extend(pipe))
            for pipe, lines in ((self.process.stderr, self.err), (self.process.stdout, self.out))
        ]
        for thread in self._threads:
            thread.start()

    def told(self, word: str) -> None:
        """Wait until a line on standard error holds a word."""
        until(lambda: any(word in line for line in self.err) or self.process.poll() is not None, 200)
        assert any(word in line for line in self.err), self.err

    def end(self, number: int | None = signal.SIGINT) -> str:
        """Send a signal, or wait for the end; return standard error."""
        if number is not None:
            self.process.send_signal(number)
        self.process.wait(60)
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stderr, self.process.stdout):
            pipe.close()  # type: ignore[union-attr]
        return "".join(self.err)


def no_rights(process: subprocess.Popen[str]) -> None:
    """Hold that no thread of a process has a capability, nor a way to one, nor is root's that root started."""
    rights = [path.read_text() for path in Path(f"/proc/{process.pid}/task").glob("*/status")]
    assert len(rights) > 1
    if os.geteuid() == 0:
        assert all("\nUid:\t65534\t65534\t65534\t65534\n" in each for each in rights)
    for name, value in (("CapEff", "0+"), ("CapPrm", "0+"), ("CapInh", "0+"), ("CapAmb", "0+"), ("NoNewPrivs", "1")):
        assert all(re.search(rf"^{name}:\t{value}$", each, re.M) for each in rights), name


def number_of(text: str, name: str) -> int:
    found = re.search(rf"{name} +([\d,]+)", text)
    assert found, text
    return int(found[1].replace(",", ""))
