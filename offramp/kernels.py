"""Decorators that compile functions with Numba (kernels), and the notice of a cold start.

Numba keys its cache on the file of the outermost function only, so a change in a callee of another file, or in a
constant, would go unseen; kernel_cache takes its place. A cold start, which compiles for a minute or two, says so where
`announce_compiling` was called; a warm one says nothing.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

import numba
from numba.core import config, event, types
from numba.extending import intrinsic

from offramp.kernel_cache import KernelCache
from offramp.kernel_places import places

F = TypeVar("F", bound=Callable[..., Any])

LEAN = {"_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}

BOUNDSCHECK = os.environ.get("OFFRAMP_BOUNDSCHECK", "") == "1"
"""Set OFFRAMP_BOUNDSCHECK=1 to have every array access of every kernel checked (fuzzing, debugging)."""

KERNELS: list[Any] = []
"""The kernels of all modules that were loaded; see offramp.kernel_set."""


def kernel(function: F) -> F:
    """Compile `function` with Numba: no interpreter lock, cached on disk, bounds checked when asked for.

    Under NUMBA_DISABLE_JIT=1 the same code runs interpreted.
    """
    return _compile(function, {})


def kernel_entry(function: F) -> F:
    """Compile as `kernel` does, without reference counts: for entries from Python into per-packet work.

    Numba counts references to every array of every argument at every call, which made dissection eight times slower.
    Such a function may read and write arrays but not create any; it may call other kernels of either sort.
    """
    return _compile(function, {"_nrt": False})


def kernel_lean(function: F) -> F:
    """Compile as `kernel_entry` does, for functions that only kernels call: no entry from Python is compiled."""
    return _compile(function, LEAN)


def kernel_inline(function: F) -> F:
    """Compile as `kernel_lean` does, inlined into its caller: for what a single place calls, for every packet.

    A call copies every array of every argument, 2 kB for the tables of a dissection, which took 40 % of the time; but a
    chain of inlined calls is compiled once for every caller above it.
    """
    return _compile(function, LEAN | {"inline": "always"})


@intrinsic  # type: ignore[untyped-decorator]
def _read_only(_: Any, array: Any) -> Any:
    """Type an array as one that is not written to; its bytes and its machine code are the same."""
    return array.copy(readonly=True)(array), lambda context, builder, signature, args: args[0]


def _as_it_is(array: Any) -> Any:
    return array


read_only: Callable[[Any], Any] = _as_it_is if config.DISABLE_JIT else _read_only
"""Within kernels: hands an array of this process to what is compiled for a block's bytes, which nobody may write to.

What is called with arrays of both kinds is compiled twice, with all that it calls.
"""


class CompilingNotice(event.Listener):  # type: ignore[misc]
    """Reports on standard error that kernels are compiled, once, and at the process's end how long that took.

    Numba calls it only where the disk cache has no kernel; kernels that others call are compiled within theirs.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0
        self._begin = 0.0

    def on_start(self, event: Any) -> None:
        """Note that a kernel is being compiled."""
        if self._depth == 0:
            self._begin = time.monotonic()
            if self.seconds == 0.0:
                once = "once, " if places().lasting else ""
                why = places().unfit()
                print(
                    f"offramp: {why}compiling kernels for this machine; {once}one to two minutes ...", file=sys.stderr
                )
        self._depth += 1

    def on_end(self, event: Any) -> None:
        """Add the time of a kernel to the total."""
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.monotonic() - self._begin

    def report(self) -> None:
        """Say how long it took, where anything was compiled."""
        if self.seconds:
            places().tidy()
            kept = places().writable
            where = f"kept in {kept}" if kept is not None else "not kept"
            print(f"offramp: compiled in {self.seconds:.0f} s, {where}", file=sys.stderr)


@lru_cache
def announce_compiling() -> CompilingNotice:
    """Have this process say when it compiles kernels; what a command calls before its work."""
    notice = CompilingNotice()
    event.register("numba:compile", notice)
    atexit.register(notice.report)
    return notice


def _compile(function: F, options: Mapping[str, bool | str]) -> F:
    """Compile `function` with the options that all kernels share and `options`."""
    if config.DISABLE_JIT:
        return function
    whole = {"nogil": True, "boundscheck": BOUNDSCHECK, "error_model": "numpy", **options}
    compiled: F = numba.njit(**whole)(function)
    compiled._cache = KernelCache(function, repr(sorted(whole.items())))  # type: ignore[attr-defined]
    _take_literals_as_numbers(compiled)
    KERNELS.append(compiled)
    return compiled


def _take_literals_as_numbers(compiled: Any) -> None:
    """Have a kernel compiled once for all constants that kernels call it with, not once for each.

    Numba gives the 3 of `put(out, row, 3, value)` a type of its own. LLVM, which sees the whole program, still inlines
    what is small, constants and all.
    """
    chosen, plain = compiled.get_call_template, types.unliteral  # type: ignore[attr-defined]

    def get_call_template(args: Any, kws: Any) -> Any:
        return chosen(tuple(map(plain, args)), {name: plain(each) for name, each in kws.items()})

    compiled.get_call_template = get_call_template
