"""One measurement: what ran, over how many packets, for how long."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Result:
    """A row of the table. seconds: wall clock; cpu_s: processor time of all threads and of child processes."""

    name: str
    packets: int
    seconds: float
    cpu_s: float
    note: str = ""

    @property
    def per_second(self) -> float:
        """Packets per second of wall clock."""
        return self.packets / self.seconds

    @property
    def per_cpu_second(self) -> float:
        """Packets per second of processor time; steadier than wall clock on a busy machine."""
        return self.packets / max(self.cpu_s, 1e-9)

    def as_dict(self) -> dict[str, Any]:
        """Return the row for JSON."""
        return {**asdict(self), "per_second": self.per_second, "per_cpu_second": self.per_cpu_second}


def cpu_seconds() -> float:
    """Return processor seconds used so far by this process and by its finished children."""
    uses = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


def timed(name: str, run: Callable[[], int], *, rounds: int = 3, warm: bool = True, note: str = "") -> Result:
    """Run `run`, which returns its number of packets, and keep the fastest round; `warm` runs it once before."""
    if warm:
        run()
    results = []
    for _ in range(rounds):
        cpu, start = cpu_seconds(), time.perf_counter()
        packets = run()
        results.append(Result(name, packets, time.perf_counter() - start, cpu_seconds() - cpu, note))
    return min(results, key=lambda result: result.seconds)
