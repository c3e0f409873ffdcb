"""A worker with a share of the machine, so that a test can feed it more than it can take; and what memory it holds."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SLICE_S = 0.05


@contextmanager
def throttled(pid: int, share: float) -> Iterator[None]:
    """Let a process run for a share of the time only: stopped and continued in turn."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(SLICE_S * share):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(SLICE_S * (1 - share))
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        os.kill(pid, signal.SIGCONT)


def memory_of(pid: int, name: str = "VmRSS") -> int:
    """Bytes of a process: `VmRSS` what is resident now, `VmHWM` the most there ever was."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise ValueError(name)


class Watch:
    """Samples a process's resident memory in a thread; `most` is the largest sample."""

    def __init__(self, pid: int, every_s: float = 0.2) -> None:
        self.samples: list[tuple[float, int]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(pid, every_s))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self, pid: int, every_s: float) -> None:
        while not self._over.wait(every_s):
            self.samples.append((time.monotonic(), memory_of(pid)))

    @property
    def most(self) -> int:
        return max(size for _, size in self.samples)
