"""IP fragments of any size, order and overlap: what is shown of a datagram is its own bytes and nothing else."""

from __future__ import annotations

import random

from offramp.capture.dissect.dissector import Dissector
from tests.fuzz.mutations import block_of, datagram, ethernet, ipv4

MORE = 0x2000
HEAD = b"NOTIFY * HTTP/1.1\r\n\r\n"
BODY = bytes(1 + at % 250 for at in range(160))
WHOLE = datagram(HEAD + BODY, 1900, 4000)
UNWRITTEN = 251
"""A byte that BODY does not have, in what the store of fragments has not written."""


def pieces(rng: random.Random, name: int) -> list[bytes]:
    """Return pieces of WHOLE that overlap, some of odd sizes in the middle, and some that say to be the last ones."""
    made = []
    for _ in range(rng.randrange(3, 12)):
        unit = rng.choice((0, 0, rng.randrange(len(WHOLE) // 8)))
        size = rng.choice((8 * rng.randrange(1, 12), rng.randrange(1, 100)))
        part = WHOLE[8 * unit : 8 * unit + size]
        last = rng.random() < 0.3 or 8 * unit + size >= len(WHOLE)
        made.append(ethernet(ipv4(part, 17, offset=unit | (0 if last else MORE), name=name)))
    return made


def test_nothing_is_shown_but_what_the_fragments_hold() -> None:
    rng = random.Random(7)
    dissector = Dissector("full")
    dissector._fragments.bytes[:] = UNWRITTEN
    shown = []
    for name in range(1500):
        for batch in dissector.dissect(block_of(pieces(rng, name))):
            shown += [body for body in batch.column("http.file_data").to_pylist() if body]
    wrong = [body for body in shown if body not in WHOLE]
    assert not wrong
    assert len(set(map(len, shown))) > 10, "several datagrams are completed, of several lengths"
    assert dissector.ledger.notes["ip_reassembled"] > 100
