"""Blocks of a live link joined until they can close a bin: then they go on at once, and nothing is sent in between."""

from __future__ import annotations

from collections.abc import Iterator

from capture.block import PacketBlock, joined
from capture.intake import BLOCK_ROWS
from stream.channels import BIN_NS


def until_bins_close(blocks: Iterator[PacketBlock], lateness_ms: float) -> Iterator[PacketBlock]:
    """Yield the blocks, joined up to the one with the first packet past a bin's end by the lateness.

    A block that is large enough, or brings the clock, or is of another sampling, does not wait either. So about one
    message travels a bin, and a bin's last rows wait for nothing.
    """
    lateness_ns, passed = int(lateness_ms * 1_000_000), 0
    held: list[PacketBlock] = []
    for block in blocks:
        if held and block.sampling != held[0].sampling:
            yield joined(held)
            held = []
        held.append(block)
        newest_ns = int(block.time_ns.max()) if len(block) else 0
        reached = (newest_ns - lateness_ns) // BIN_NS
        if reached > passed or block.clock_ns or sum(map(len, held)) >= BLOCK_ROWS:
            passed = max(passed, reached)
            yield joined(held)
            held = []
    if held:
        yield joined(held)
