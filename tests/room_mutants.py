"""Take each room check of the kernels out in turn, and see that a check fails: `python -m tests.room_mutants`.

A mutant is a kernel in which one comparison is always true or always false, one `min` has lost a bound, or one call
that asks for room is answered yes or no. They are made from the sources: of the functions below every condition, and
of all kernels every call of one of `ASKED`. Kernels run interpreted (with NUMBA_DISABLE_JIT=1), where the code of a
function can be replaced in place. Exit code 1: a mutant lives, or the checks fail without one.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import NamedTuple

from tests.support import room_checks, room_checks_arrays, room_shares
from tests.support.kernel_stores import kernels
from tests.support.places import ROOT

PACKAGES = ("capture", "stream")
ENTERED = (room_checks, room_checks_arrays)
"""The modules whose checks are run."""

ROOMS: dict[str, dict[str, str]] = {
    "offramp.capture.dissect.packet.table": {
        "begin_row": "", "row_full": "", "append": "", "show": "", "put_text": "EXTRAS", "take_text": "",
        "drop_text": "", "set_text": "", "copy_text": "", "copy_bytes": "", "span": "",
    },
    "offramp.capture.dissect.network.fragments": {"scratch_room": "", "add_fragment": "MAX_DATAGRAM|SCRATCH_END"},
    "offramp.capture.dissect.conversation.flow_table": {"flows_room": "FREE"},
    "offramp.capture.dissect.conversation.reassembly": {
        "store": "MAX_MESSAGE", "account": "MAX_STRETCHES", "take_chunk": "FREE_CHUNKS",
        "copy_in": "chunk >= 0", "peek": "LINE", "assemble": "take_text",
    },
    "offramp.capture.dissect.application.payloads": {"go_on": "start < 0", "finish": "start >= 0"},
    "offramp.capture.dissect.application.mqtt": {"keep_alias": ""},
    "offramp.capture.dissect.batches": {"pack_lengths": "_MAX_OFFSET"},
    "offramp.capture.sources.file.record_scan": {"scan_pcap": "", "scan_pcapng": "total|kept|which|rows|end|shape"},
    "offramp.stream.bins.closing": {"bin_room": ""},
    "offramp.stream.bins.bins": {"count": "RTT_SUM"},
    "offramp.stream.windows.normaliser": {"learn": "BUCKETS"},
}  # fmt: skip
"""Kernels that hold a bound, and which of their conditions do (a pattern; empty: all)."""

ASKED = {"begin_row", "row_full", "show", "flows_room", "scratch_room", "bin_room", "close_until"}
"""Kernels that return whether there is room."""

HANG_S = 5
"""Seconds of processor time; all checks take half of one. A mutant that never ends is found out."""


class Mutant(NamedTuple):
    """A kernel's source with one change, told in words."""

    module: str
    kernel: str
    words: str
    source: ast.FunctionDef


class _Replace(ast.NodeTransformer):
    """Puts an expression in the place of a node."""

    def __init__(self, old: ast.AST, new: ast.expr) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return ast.copy_location(self.new, node) if node is self.old else self.generic_visit(node)


def changes(node: ast.AST, pattern: str | None) -> Iterator[tuple[str, ast.expr]]:
    """Yield what may stand in the place of an expression, in words and as code."""
    if not isinstance(node, (ast.Compare, ast.Call)):
        return
    text = ast.unparse(node)
    called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
    bounds = pattern is not None and re.search(pattern, text)
    if called in ASKED or (bounds and isinstance(node, ast.Compare)):
        for value in (True, False):
            yield f"`{text}` is {value}", ast.Constant(value)
    elif bounds and isinstance(node, ast.Call) and called == "min":
        for out in node.args:
            rest = [each for each in node.args if each is not out]
            new = rest[0] if len(rest) == 1 else ast.Call(node.func, rest, [])
            yield f"`{text}` without `{ast.unparse(out)}`", copy.deepcopy(new)


def mutants() -> Iterator[Mutant]:
    """Yield all mutants."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(("offramp", *path.relative_to(ROOT).with_suffix("").parts))
            for kernel in kernels(ast.parse(path.read_text())):
                pattern = ROOMS.get(module, {}).get(kernel.name)
                for node in (each for each in ast.walk(kernel) if isinstance(each, ast.expr)):
                    for words, new in changes(node, pattern):
                        words = f"{module}.{kernel.name}, line {node.lineno}: {words}"
                        yield Mutant(module, kernel.name, words, replaced(kernel, node, new))


def replaced(kernel: ast.FunctionDef, old: ast.AST, new: ast.expr) -> ast.FunctionDef:
    """Return a copy of a kernel, without its decorator, in which `new` stands in the place of `old`."""
    old.marked = True  # type: ignore[attr-defined]
    twin = copy.deepcopy(kernel)
    del old.marked  # type: ignore[attr-defined]
    twin.decorator_list = []
    marked = next(node for node in ast.walk(twin) if hasattr(node, "marked"))
    _Replace(marked, new).visit(twin)
    return ast.fix_missing_locations(twin)


def code_of(mutant: Mutant) -> CodeType:
    """Return the code of a mutant's function."""
    future = ast.parse("from __future__ import annotations").body
    module = compile(ast.Module([*future, mutant.source], []), mutant.module, "exec")
    return next(each for each in module.co_consts if isinstance(each, CodeType))


def on_alarm(number: int, frame: FrameType | None) -> None:
    raise TimeoutError("hangs")


def verdict(mutant: Mutant) -> str:
    """Return how a mutant is found out, or nothing where it lives."""
    function = getattr(importlib.import_module(mutant.module), mutant.kernel)
    before = function.__code__
    function.__code__ = code_of(mutant)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)
    try:
        return room_shares.run(mutant.module)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        function.__code__ = before


def main() -> int:
    """Run the checks, then with every mutant; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verbose", action="store_true", help="tell how each mutant was found out")
    options = parser.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)  # interpreted kernels wrap around as compiled ones do
    signal.signal(signal.SIGVTALRM, on_alarm)
    if failed := room_shares.run():
        print(f"without a mutant: {failed}")
        return 1
    found = [(mutant, verdict(mutant)) for mutant in mutants()]
    for mutant, how in found:
        if options.verbose and how:
            print(f"found out: {mutant.words}\n    {how[:150]}")
    living = {mutant.words for mutant, how in found if not how}
    for words in sorted(living):
        print(f"LIVES: {words}")
    print(f"{len(found)} mutants, {len(living)} live")
    return int(bool(living))


if __name__ == "__main__":
    sys.exit(main())
