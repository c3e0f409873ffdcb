"""One case of the fuzzer: a seeded run of hostile blocks through one dissector, and what it gave as a digest."""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import random
import sys
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from offramp.capture.block import PacketBlock
from offramp.capture.dissect.dissector import Dissector
from offramp.stream.bins.bins import Bins
from offramp.stream.bins.packets import packets_from_batch
from offramp.stream.bins.state import LinkConfig
from tests.fuzz.growth import BOUNDS, grown
from tests.fuzz.mutations import Mutator, block_of, odd_times
from tests.fuzz.regressions import REGRESSIONS

PACKETS = 4096
BLOCKS = 4
POISONED = 2 << 20  # bytes of each buffer
PROFILES = ("full", "stream")
LARGE_STEP, LARGE = 10, 5
"""Of ten cases the sixth grows to the bounds; interpreted kernels, which take every tenth, do not meet it."""

SHAPE = LinkConfig(1e7, 1e7, None, ("10.0.0.0/8",), device_share=0.0)
MAX_TIMES = 12
"""Packets of a large case whose times are odd; each may close thousands of bins."""


def is_large(case: int) -> bool:
    """Return whether a case grows to the bounds."""
    return case % LARGE_STEP == LARGE


def blocks_of(case: int, stock: list[bytes], packets: int = PACKETS) -> Iterator[PacketBlock]:
    """Yield the blocks of a case: the same for the same number and stock."""
    if is_large(case):
        yield from large_blocks(random.Random(case))
        return
    mutator = Mutator(stock, case)
    size = packets // BLOCKS
    for number in range(BLOCKS):
        yield mutator.block(size, 1 + number * size)


def large_blocks(rng: random.Random) -> Iterator[PacketBlock]:
    """Yield the blocks of a case that grows to the bounds, cut anywhere, and one whose times are odd."""
    made = grown(rng)
    cut = rng.randrange(len(made.packets) + 1)
    number = 1
    for part in (made.packets[:cut], made.packets[cut:]):
        if part:
            yield block_of(part, linktype=made.linktype, first_number=number)
        number += len(part)
    few = made.packets[:MAX_TIMES]
    block = block_of(few, linktype=made.linktype, first_number=number)
    yield replace(block, time_ns=odd_times(rng, len(few)))


def run_case(case: int, stock: list[bytes], packets: int = PACKETS) -> str:
    """Dissect a case; return the digest of all batches and of the ledger, which must close."""
    dissector = Dissector(PROFILES[case % 5 == 0], batch_rows=(512, 1000, 4096)[case % 3], max_flows=1024)
    poison(dissector)
    return digest_of(dissector, blocks_of(case, stock, packets), binned=is_large(case))


def poison(dissector: Dissector) -> None:
    """Fill unwritten buffers with a byte of this process, so that reading them shows as a difference."""
    for buffer in (dissector._spare[0].text, dissector._applications.arena, dissector._fragments.bytes):
        buffer.reshape(-1)[:POISONED] = os.getpid() % 251 + 1


def digest_of(dissector: Dissector, blocks: Iterator[PacketBlock], *, binned: bool = False) -> str:
    """Return the digest of what a dissector makes of blocks; binned: and of the bins that their packets close."""
    digest = hashlib.sha256()
    link = Bins(SHAPE)
    rows = expected = 0
    for block in blocks:
        expected += len(block)
        for batch in dissector.dissect(block):
            rows += batch.num_rows
            for column in batch.columns:
                digest.update(repr(column.to_pylist()).encode())
            for closed in link.update(packets_from_batch(batch)) if binned else ():
                digest.update(closed.bin_number.tobytes() + closed.series.tobytes())
    for closed in link.close() if binned else ():
        digest.update(closed.bin_number.tobytes() + closed.series.tobytes())
    if rows != expected or not dissector.ledger.balances():
        raise AssertionError(f"{expected} packets, {rows} rows, ledger {dissector.ledger.as_dict()}")
    digest.update(repr(dissector.ledger.as_dict()).encode())
    return digest.hexdigest()[:16]


def run_regressions() -> list[str]:
    """Return a line for each regression: its name and digest."""
    lines = []
    for name, packets in REGRESSIONS.items():
        dissector = Dissector("full")
        poison(dissector)
        lines.append(f"{name}: {digest_of(dissector, iter([block_of(packets)]))}")
    return lines


def run_bounds() -> list[str]:
    """Return a line for each block that reaches a bound: its name and digest, and what was cut."""
    lines = []
    for name, make in BOUNDS.items():
        dissector, made = Dissector("full"), make()
        poison(dissector)
        found = digest_of(dissector, iter([block_of(made.packets, linktype=made.linktype)]))
        cut = {reason: count for reason, count in dissector.ledger.notes.items() if reason.endswith("_cut")}
        lines.append(f"{name}: {found} {cut}")
    return lines


def main() -> None:
    """Run the cases asked for, a line each: `number digest`, or `number FAILED` and the error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stock", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--count", type=int, default=1 << 60)
    parser.add_argument("--regressions", action="store_true", help="run the regressions first")
    parser.add_argument("--bounds", action="store_true", help="run the blocks that reach a bound first")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "overflow encountered")  # interpreted kernels wrap around as compiled ones do
    if options.regressions:
        print("\n".join(run_regressions()), flush=True)
    if options.bounds:
        print("\n".join(run_bounds()), flush=True)
    stock: list[bytes] = pickle.loads(options.stock.read_bytes())  # noqa: S301 - our own file
    for turn in range(options.count):
        case = options.first + turn * options.step
        try:
            print(case, run_case(case, stock), flush=True)
        except Exception:
            print(case, "FAILED", traceback.format_exc().replace("\n", " | "), flush=True)
            sys.exit(1)


if __name__ == "__main__":
    main()
