"""A source of several interfaces: each packet goes to its link, and what is told of the source once is counted once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from capture.block import Interface, ListSource
from decision.site import Site
from stream.by_link import LinkBatches
from tests.stream.test_live import blocks

SITE = Site.model_validate({
    "name": "lab",
    "links": [{"name": name, "capacity": 1e6, "interface": pattern} for name, pattern in (("a", "x*"), ("b", "y*"))],
})  # fmt: skip


def test_kernel_drops_of_a_source_are_counted_once() -> None:
    found = []
    for block in blocks(3, drops=7):
        interfaces = (Interface("x0", 1), Interface("y0", 1), Interface("x1", 1))
        found.append(replace(block, interface=np.arange(len(block), dtype=np.int32) % 3, interfaces=interfaces))
    batches = LinkBatches(ListSource(found), SITE, "agent")
    rows = {"a": 0, "b": 0}
    for link, batch in batches.read():
        rows[link] += batch.num_rows
    whole = sum(len(block) for block in found)
    assert rows["a"] + rows["b"] == whole == batches.ledger().captured
    assert rows["b"] == sum(int(np.count_nonzero(block.interface == 1)) for block in found) > 0
    assert batches.ledger().kernel_drops == sum(block.kernel_drops for block in found) == 21
