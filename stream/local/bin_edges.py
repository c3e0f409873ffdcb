"""Join the blocks of a live link until they close a bin, so that about one message is sent per bin."""

from __future__ import annotations

from collections.abc import Iterator

from offramp.capture.block import PacketBlock, joined
from offramp.capture.intake.intake import BLOCK_ROWS
from offramp.stream.bins.event_time import FAR_NS
from offramp.stream.channels import BIN_NS


def until_bins_close(blocks: Iterator[PacketBlock], lateness_ms: float, bins: int = 1) -> Iterator[PacketBlock]:
    """Yield the blocks, joined up to the one with the first packet past a bin's end by the lateness.

    bins: past the end of so many bins; this makes fewer messages, whose first bins wait for the last.

    A block also ends the wait where it is large enough, of another sampling, behind a hole, or goes back in time, as by
    a clock that was set; with bins = 1 one that brings the clock does, too.
    """
    lateness_ns, passed = int(lateness_ms * 1_000_000), 0
    held: list[PacketBlock] = []
    for block in blocks:
        if held and (block.sampling != held[0].sampling or block.shed_before):
            yield joined(held)
            held = []
        held.append(block)
        newest_ns = max(int(block.time_ns.max()) if len(block) else 0, block.clock_ns)
        reached = (newest_ns - lateness_ns) // (bins * BIN_NS)
        ticks = bins == 1 and block.clock_ns
        back = reached < passed - FAR_NS // BIN_NS
        if reached > passed or back or ticks or sum(map(len, held)) >= BLOCK_ROWS:
            passed = reached if back else max(passed, reached)
            yield joined(held)
            held = []
    if held:
        yield joined(held)
