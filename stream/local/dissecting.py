"""Dissect packet blocks on several cores: reading, filling tables and building batches, a thread each.

Compiled kernels release the interpreter lock, each thread works in order, and the queues between them are short: the
batches are those of one thread, in their order, a few blocks ahead of their reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pyarrow as pa

from offramp.capture.block import PacketBlock
from offramp.capture.dissect.dissector import Dissector
from offramp.capture.dissectors import PacketDissector
from offramp.stream.local.prefetch import prefetch

READ_AHEAD, FILL_AHEAD = 2, 1
"""Blocks read, and tables filled, that may wait for the next thread."""


def dissected(
    blocks: Iterator[tuple[str, PacketBlock | int]], dissector_of: Callable[[str], PacketDissector]
) -> Iterator[tuple[str, pa.RecordBatch | int]]:
    """Yield the feature batches of named blocks in order, each with its name; numbers as they are.

    Whoever iterates builds the batches; reading and filling run in threads of their own beside it.
    """
    for name, build in prefetch(_filled(prefetch(blocks, READ_AHEAD), dissector_of), FILL_AHEAD):
        yield name, build()


def _filled(
    blocks: Iterator[tuple[str, PacketBlock | int]], dissector_of: Callable[[str], PacketDissector]
) -> Iterator[tuple[str, Callable[[], pa.RecordBatch | int]]]:
    """Yield for each batch its name and what builds it; other dissectors than the fast one have no two steps."""
    for name, block in blocks:
        if isinstance(block, int):
            yield name, partial(_same, block)
            continue
        dissector = dissector_of(name)
        if isinstance(dissector, Dissector):
            for part in dissector.fill(block):
                yield name, partial(dissector.build, part)
        else:
            for batch in dissector.dissect(block):
                yield name, partial(_same, batch)


def _same(item: pa.RecordBatch | int) -> pa.RecordBatch | int:
    return item
