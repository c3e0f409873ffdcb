from __future__ import annotations

from collections.abc import Iterator

import pytest

from offramp.capture.block import PacketBlock
from offramp.capture.dissect.dissector import Dissector
from offramp.capture.sources.file.files import open_captures
from offramp.capture.sources.source import ListSource
from offramp.stream.local.dissecting import dissected
from tests.support.places import DEMO


@pytest.mark.parametrize("profile", ["stream", "full"])
def test_threads_give_the_batches_of_one(profile: str) -> None:
    source = ListSource(list(open_captures([str(DEMO)], block_packets=1_000).read()))
    alone, beside = Dissector(profile, batch_rows=300), Dissector(profile, batch_rows=300)
    expected = [batch for block in source.read() for batch in alone.dissect(block)]
    found = list(dissected((("here", block) for block in source.read()), lambda _: beside))
    assert [name for name, _ in found] == ["here"] * len(expected)
    whole = [batch for _, batch in found if not isinstance(batch, int)]
    assert all(batch.equals(other) for batch, other in zip(whole, expected, strict=True))
    assert beside.ledger == alone.ledger


def test_an_error_of_the_source_reaches_the_reader() -> None:
    def blocks() -> Iterator[tuple[str, PacketBlock]]:
        yield from (("", block) for block in open_captures([str(DEMO)], block_packets=500).read())
        raise ValueError("the end")

    dissector = Dissector("stream")
    with pytest.raises(ValueError, match="the end"):
        list(dissected(blocks(), lambda _: dissector))
    assert dissector.ledger.captured > 20_000
