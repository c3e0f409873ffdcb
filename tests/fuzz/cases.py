"""One case of the fuzzer: a seeded run of hostile blocks through one dissector, and what it gave as a digest."""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

from capture.block import PacketBlock
from capture.dissector import Dissector
from tests.fuzz.mutations import Mutator, block_of
from tests.fuzz.regressions import REGRESSIONS

PACKETS = 4096
BLOCKS = 4
POISONED = 2 << 20  # bytes of each buffer
PROFILES = ("full", "stream")


def blocks_of(case: int, stock: list[bytes], packets: int = PACKETS) -> Iterator[PacketBlock]:
    """Yield the blocks of a case: the same for the same number and stock."""
    mutator = Mutator(stock, case)
    size = packets // BLOCKS
    for number in range(BLOCKS):
        yield mutator.block(size, 1 + number * size)


def run_case(case: int, stock: list[bytes], packets: int = PACKETS) -> str:
    """Dissect a case; return the digest of all batches and of the ledger, which must close."""
    dissector = Dissector(PROFILES[case % 5 == 0], batch_rows=(512, 1000, 4096)[case % 3], max_flows=1024)
    poison(dissector)
    return digest_of(dissector, blocks_of(case, stock, packets))


def poison(dissector: Dissector) -> None:
    """Fill unwritten buffers with a byte of this process, so that reading them shows as a difference."""
    for buffer in (dissector._spare[0].text, dissector._applications.arena, dissector._fragments.bytes):
        buffer.reshape(-1)[:POISONED] = os.getpid() % 251 + 1


def digest_of(dissector: Dissector, blocks: Iterator[PacketBlock]) -> str:
    """Return the digest of what a dissector makes of blocks."""
    digest = hashlib.sha256()
    rows = expected = 0
    for block in blocks:
        expected += len(block)
        for batch in dissector.dissect(block):
            rows += batch.num_rows
            for column in batch.columns:
                digest.update(repr(column.to_pylist()).encode())
    if rows != expected or not dissector.ledger.closes():
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


def main() -> None:
    """Run the cases asked for, a line each: `number digest`, or `number FAILED` and the error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stock", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--count", type=int, default=1 << 60)
    parser.add_argument("--regressions", action="store_true", help="run the regressions first")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "overflow encountered")  # interpreted kernels wrap around as compiled ones do
    if options.regressions:
        print("\n".join(run_regressions()), flush=True)
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
