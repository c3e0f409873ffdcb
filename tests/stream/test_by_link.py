"""A source of several interfaces: each packet goes to its link, and what is told of the source once is counted once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from capture.block import Interface, ListSource
from decision.site import Site
from stream import by_link
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


def test_the_link_of_an_interface_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Counter[str] = Counter()
    look_up = by_link.link_of

    def counted(site: Site, interface: str) -> str:
        asked[interface] += 1
        return look_up(site, interface)

    monkeypatch.setattr(by_link, "link_of", counted)
    found = []
    for number, block in enumerate(blocks(6)):
        interfaces = tuple(Interface(f"{'xy'[at % 2]}{at}", 1) for at in range(4 + number // 2))
        which = np.arange(len(block), dtype=np.int32) % len(interfaces)
        found.append(replace(block, interface=which, interfaces=interfaces))
    batches = LinkBatches(ListSource(found), SITE, "agent")
    assert {link for link, _ in batches.read()} == {"a", "b"}
    assert asked == {f"{'xy'[at % 2]}{at}": 1 for at in range(6)}
