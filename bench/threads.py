"""Processor time of each thread, by sampling; on a busy machine the wall clock says little."""

from __future__ import annotations

import os
import threading
from pathlib import Path

TASKS = Path("/proc/self/task")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
SAMPLE_S = 0.02


class ThreadTimes:
    """Samples the processor time of this process's threads while its `with` block runs.

    `busiest_s` is then the most that one thread used: with a core for each, the work cannot be done in less.
    """

    def __init__(self) -> None:
        self.busiest_s = 0.0
        self._seconds: dict[str, float] = {}
        self._stop = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="bench-threads", daemon=True)

    def __enter__(self) -> ThreadTimes:
        self._before = self._read()
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._sampler.join()
        self._seconds |= self._read()
        used = [seconds - self._before.get(task, 0.0) for task, seconds in self._seconds.items()]
        self.busiest_s = max(used)

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self._seconds |= self._read()

    def _read(self) -> dict[str, float]:
        """Return user and system time of each thread; one that ends while being read is left out."""
        found = {}
        for task in TASKS.iterdir():
            try:
                words = (task / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
            except OSError:
                continue
            found[task.name] = (int(words[11]) + int(words[12])) * TICK_S
        return found
