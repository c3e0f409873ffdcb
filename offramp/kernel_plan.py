"""Plan the compilation of kernels: which ones, for which types of arguments, in which order, found without compiling.

The work that needs them is run once as plain Python: each kernel that Python calls reports the types of its arguments,
and Numba's type inference, which makes no machine code, finds those of all that it calls in turn. That takes a tenth of
what compiling takes, and shows which kernel must wait for which.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from numba.core import typing
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, PassManager, register_pass
from numba.core.typed_passes import NopythonTypeInference

from offramp.kernels import KERNELS


class Task(NamedTuple):
    """A kernel to compile: its number, its place in KERNELS, types of arguments, and the lower numbers it waits for."""

    number: int
    kernel: int
    types: tuple[Any, ...]
    needs: frozenset[int]


class Plan:
    """Finds the kernels to compile, and reports each after all those that it calls."""

    def __init__(self, tell: Callable[[Task], None]) -> None:
        self._tell = tell
        self._known: dict[tuple[int, tuple[Any, ...]], int] = {}
        self._needs: list[set[int]] = []
        self._inside = threading.local()
        self._lock = threading.RLock()

    def take(self, number: int, compiled: Any) -> None:
        """Make a kernel report its calls to this plan, and run as Python meanwhile."""
        compiled._compiler.pipeline_class = Typed
        compiled.compile = lambda signature: self._add(number, compiled, tuple(signature))

        def run(*args: Any) -> Any:
            inside = getattr(self._inside, "now", False)
            if not inside:
                self._add(number, compiled, tuple(compiled.typeof_pyval(each) for each in args))
            self._inside.now = True
            try:
                return compiled.py_func(*args)
            finally:
                self._inside.now = inside

        compiled._compile_for_args = lambda *_: run

    def _add(self, number: int, compiled: Any, args: tuple[Any, ...]) -> None:
        with self._lock:
            key = number, args
            if key not in self._known:
                self._needs.append(set())
                typed = compiled._compiler.compile(args, None)
                compiled.overloads[args] = typed
                self._known[key] = len(self._known)
                self._tell(Task(self._known[key], number, args, frozenset(self._needs.pop())))
            if self._needs:
                self._needs[-1].add(self._known[key])


class TypedOnly(NamedTuple):
    """Stands for a compiled kernel where only types are asked for."""

    signature: Any
    objectmode: bool = False
    typing_error: None = None


@register_pass(mutates_CFG=False, analysis_only=True)
class _End(FunctionPass):  # type: ignore[misc]
    """Ends a compilation after type inference."""

    _name = "offramp_types_only"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        state.cr = TypedOnly(typing.signature(state.return_type, *state.args))
        return False


class Typed(CompilerBase):  # type: ignore[misc]
    """Numba's compiler as far as its type inference."""

    def define_pipelines(self) -> list[Any]:
        """Return the passes: as for a compilation, and an end."""
        passes: PassManager = DefaultPassBuilder.define_untyped_pipeline(self.state)
        passes.add_pass(NopythonTypeInference, "types")
        passes.add_pass(_End, "no machine code")
        passes.finalize()
        return [passes]


def plan(work: Callable[[], None], tell: Callable[[Task], None]) -> None:
    """Report the tasks that `work` needs; the process can compile nothing afterwards. All kernels must be loaded."""
    found = Plan(tell)
    for number, compiled in enumerate(KERNELS):
        found.take(number, compiled)
    work()
