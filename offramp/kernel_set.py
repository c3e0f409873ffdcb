"""Compile the whole set of kernels ahead of time, on all processors: for this machine, or to go into a wheel.

One process per processor takes kernels in the order in which one calls the other (offramp.kernel_plan) and finds those
called already on disk. What is there is not compiled again, so that a second run takes seconds.
"""

from __future__ import annotations

import heapq
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offramp.errors import ConfigError, OfframpError
from offramp.kernel_places import MANIFEST
from offramp.kernel_places import MEND as FIX

if TYPE_CHECKING:
    from offramp.kernel_plan import Task

NATIVE = "native"
ASK = """
import sys
from llvmlite import binding
binding.initialize_native_target()
binding.Target.from_default_triple().create_target_machine(cpu=sys.argv[1])
"""
SHOWN_EVERY_S = 5.0
"""Seconds between two lines of progress, where standard error is a file."""


def build(processor: str, out: Path | None, jobs: int) -> None:
    """Compile all kernels for a processor, into the cache or a folder of their own.

    processor: native, x86-64-v3, or another name of LLVM's. Must come before anything loads Numba, which reads what is
    set here when it is loaded. Raises ConfigError where it has been.
    """
    if "numba" in sys.modules:
        raise ConfigError("offramp kernels: Numba was loaded before its processor was chosen; start it on its own")
    if processor != NATIVE:
        require_known(processor)
        os.environ |= {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": ""}
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OfframpError(f"{out}: {error.strerror}; name a folder that can be made") from error
        os.environ |= {"CACHE_DIRECTORY": str(out.absolute()), "XDG_CACHE_HOME": os.devnull}
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a process that has threads is not to be forked
    begun = time.monotonic()
    from offramp.kernel_places import places

    found = places()
    if found.writable is None or (out is not None and found.writable != out.absolute()):
        raise OfframpError(f"{found.where()}; {FIX}")
    count = compile_all(jobs or len(os.sched_getaffinity(0)))
    found.tidy()
    if out is not None:
        (out / MANIFEST).write_text(json.dumps(made_with(processor), indent=1) + "\n", encoding="utf-8")
    print(f"offramp: {count} kernels are compiled ({time.monotonic() - begun:.0f} s); {found.where()}", file=sys.stderr)


def require_known(processor: str) -> None:
    """Raise ConfigError for a processor that LLVM does not know: it says so itself, and compiles for none."""
    asked = subprocess.run([sys.executable, "-c", ASK, processor], capture_output=True, text=True, check=False)
    if "not a recognized processor" in asked.stderr:
        raise ConfigError(
            f"--processor {processor!r}: LLVM knows none of that name; such as x86-64-v3, znver3, haswell"
        )


def made_with(processor: str) -> dict[str, str]:
    """Return what a set of kernels is for, as shown in a wheel's name and by the doctor."""
    import llvmlite
    import numba
    import numpy as np

    numpy = ".".join(np.__version__.split(".")[:2])
    versions = {
        "numba": f"numba {numba.__version__}",
        "llvmlite": f"llvmlite {llvmlite.__version__}",
        "numpy": f"numpy {numpy}",
    }
    return {"processor": processor, "python": sys.implementation.cache_tag or "", **versions}


def compile_all(jobs: int) -> int:
    """Compile what is not yet kept; return how many kernels, each for its types, there are.

    What is found is compiled while more is looked for.
    """
    import offramp.stream.local.every_kernel  # noqa: F401 - so that each process has it loaded

    context = get_context("fork")
    ours: list[Any] = []
    for work in (_plan, *[_work] * jobs):
        ours.append(_start(context, work, ours))
    planner, *workers = ours
    order, progress = Order(), Progress()
    idle, planning = list(workers), True
    while planning or order.left:
        while idle and (task := order.take()) is not None:
            idle.pop().send(task)
        for connection in wait([*({planner} if planning else ()), *(set(workers) - set(idle))]):
            got = _received(connection)
            if connection is not planner:
                order.done(got)
                idle.append(connection)
            elif got is None:
                planning = False
            else:
                order.add(got)
        progress.tell(order.found - order.left, order.found, planning)
    for connection in ours:
        connection.close()
    return order.found


class Order:
    """Which task next: of those that wait for none, the one found first: long chains begin early."""

    def __init__(self) -> None:
        self.found = self.left = 0
        self._done: set[int] = set()
        self._waits: dict[int, tuple[Task, set[int]]] = {}
        self._callers: defaultdict[int, list[int]] = defaultdict(list)
        self._ready: list[tuple[int, Task]] = []

    def add(self, task: Task) -> None:
        """Take a task that was found."""
        self.found += 1
        self.left += 1
        needs = set(task.needs) - self._done
        if not needs:
            heapq.heappush(self._ready, (task.number, task))
            return
        self._waits[task.number] = task, needs
        for needed in needs:
            self._callers[needed].append(task.number)

    def take(self) -> Task | None:
        """Return a task to be done now; None where all that are left wait."""
        return heapq.heappop(self._ready)[1] if self._ready else None

    def done(self, number: int) -> None:
        """Take note that a task is done."""
        self.left -= 1
        self._done.add(number)
        for caller in self._callers.pop(number, ()):
            task, needs = self._waits[caller]
            needs.discard(number)
            if not needs:
                del self._waits[caller]
                heapq.heappush(self._ready, (caller, task))


class Progress:
    """Tells on standard error how many kernels are compiled: in place on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._begun = self._told = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def tell(self, done: int, found: int, more: bool) -> None:
        """Take note of how many are done of those that were found; more: others are being looked for."""
        now, ends = time.monotonic(), done == found and not more
        if not ends and now - self._told < (0.2 if self._terminal else SHOWN_EVERY_S):
            return
        self._told = now
        text = f"offramp: compiling kernels, once: {done} of {found}{'+' if more else ''}, {now - self._begun:.0f} s"
        begin, end = ("\r", "\n" if ends else "") if self._terminal else ("", "\n")
        print(begin + text, end=end, file=sys.stderr, flush=True)


def _start(context: Any, work: Callable[[Any], None], others: Sequence[Any]) -> Any:
    """Start work in another process; return the connection for its tasks and answers.

    It closes our ends of all connections, `others` among them: so it sees when this process is gone, and ends.
    """
    ours, its = context.Pipe()

    def child() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is reported once, by this process
        for each in (ours, *others):
            each.close()
        with suppress(EOFError, OSError):  # whoever began it is gone
            work(its)

    context.Process(target=child, daemon=True).start()
    its.close()
    return ours


def _received(connection: Any) -> Any:
    try:
        return connection.recv()
    except EOFError:
        raise OfframpError("compiling kernels: a process ended before its time; is there memory enough?") from None


def _plan(connection: Any) -> None:
    """Answer the tasks as they are found, and None at the end."""
    from offramp.kernel_plan import plan
    from offramp.stream.local.every_kernel import use_every_kernel

    warnings.simplefilter("ignore", RuntimeWarning)  # numbers that wrap around as they should, in Python
    plan(use_every_kernel, connection.send)
    connection.send(None)


def _work(connection: Any) -> None:
    """Do the tasks that come, until no more can; answer the number of each."""
    from offramp.kernels import KERNELS

    while True:
        task = connection.recv()
        KERNELS[task.kernel].compile(task.types)
        connection.send(task.number)
