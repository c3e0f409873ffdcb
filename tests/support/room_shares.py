"""Shares so small that interpreted kernels reach them at once, and the checks of what holds of them (room_checks*).

Run by `python -m tests.room_mutants` under NUMBA_DISABLE_JIT=1, first as they are, then with each room check of the
sources taken out in turn. Interpreted, a store beyond an array raises; all else that a missing check does is asserted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from offramp.capture.dissect import dissector
from offramp.capture.dissect.conversation import reassembly
from offramp.capture.dissect.conversation import state as application_state
from offramp.capture.dissect.conversation.flow_table import FREE
from offramp.capture.dissect.dissector import Dissector
from offramp.capture.dissect.network import fragments
from offramp.capture.dissect.packet import table as emit
from offramp.capture.dissect.packet.table import TEXT
from tests.fuzz.growth import Grown
from tests.fuzz.mutations import block_of

SMALL = {
    emit: {"MAX_OCCURRENCES": 20, "MAX_TEXT": 600, "MAX_SHOWN": 200, "BATCH_OCCURRENCES": 30, "BATCH_TEXT": 700,
           "BATCH_SHOWN": 300},
    fragments: {"SCRATCH_RESERVE": 2500},
    dissector: {"SCRATCH_RESERVE": 2500},
    reassembly: {"MAX_MESSAGE": 5000},
    application_state: {"CHUNKS": 4},
}  # fmt: skip
Check = Callable[[], None]
CHECKS: list[tuple[str, Check]] = []


def check(module: str) -> Callable[[Check], Check]:
    """Enter a check, with the module whose rooms it is about first of all."""

    def enter(function: Check) -> Check:
        CHECKS.append((module, function))
        return function

    return enter


@contextmanager
def constants(changes: dict[Any, dict[str, int]]) -> Iterator[None]:
    """Change constants of modules for a while; interpreted kernels read them at each call."""
    before = {module: {name: getattr(module, name) for name in names} for module, names in changes.items()}
    try:
        for module, names in changes.items():
            for name, value in names.items():
                setattr(module, name, value)
        yield
    finally:
        for module, names in before.items():
            for name, value in names.items():
                setattr(module, name, value)


class Found:
    """What a dissector with small shares makes of packets: per row its cells and occurrences, and what was counted."""

    def __init__(self, grown: Grown, *, separately: bool = False) -> None:
        self.rows: list[dict[str, Any]] = []
        self.batches = 0
        self.texts: list[int] = []
        worker = Dissector("full", max_flows=1024)
        worker._spare[0].text[:] = 65
        parts = [[each] for each in grown.packets] if separately else [grown.packets]
        for number, part in enumerate(parts):
            for filled in worker.fill(block_of(part, linktype=grown.linktype, first_number=number + 1)):
                self.batches += 1
                assert self.batches <= 2 * len(grown.packets) + 2, "a batch without rows, again and again"
                self.texts.append(int(filled.table.cursor[TEXT]))
                self.rows += worker.build(filled).to_pylist()
        self.notes = worker.ledger.notes
        self.free = int(worker._flows.counters[FREE])

    def counts(self) -> list[int]:
        """Return the number of further occurrences of each row."""
        return [len(row["occurrences"] or ()) for row in self.rows]

    def cells(self, name: str) -> list[Any]:
        """Return the cells of a column that are there."""
        return [row[name] for row in self.rows if row[name] is not None]


def grant(out: emit.Table) -> emit.Table:
    """Begin a row, which has room."""
    assert emit.begin_row(out)
    return out


def run(first: str = "") -> str:
    """Run all checks on small shares, those of a module first; return which one failed and how, or nothing."""
    with constants(SMALL):
        for _, function in sorted(CHECKS, key=lambda each: each[0] != first):
            try:
                function()
            except Exception as error:
                return f"{function.__name__}: {type(error).__name__}: {error}"
    return ""
