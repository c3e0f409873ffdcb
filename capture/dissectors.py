"""The dissectors by name: one interface, three ways from packets to the same columns. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from offramp.extras import require

if TYPE_CHECKING:
    import pyarrow as pa

    from offramp.capture.block import PacketBlock
    from offramp.capture.ledger import CaptureLedger

NAMES = ("fast", "reference", "scapy")


class PacketDissector(Protocol):
    """Turns packet blocks into feature batches of `schema`; numbers and conversations run on across blocks."""

    schema: pa.Schema
    ledger: CaptureLedger

    def dissect(self, block: PacketBlock) -> list[pa.RecordBatch]:
        """Return the block's packets as feature batches, one row a packet, in order."""
        ...


@contextmanager
def open_dissector(
    name: str, profile: str, *, site: str = "", link: str = "", agent: str = "", batch_rows: int = 8192
) -> Iterator[PacketDissector]:
    """Give the dissector `fast`, `reference` or `scapy` for a profile, and close it at the end.

    site, link, agent: what the metadata of its batches say.

    Raises ConfigError where what it needs (tshark, an extra) is not installed.
    """
    if name == "fast":
        from offramp.capture.dissect.dissector import Dissector

        yield Dissector(profile, site=site, link=link, agent=agent, batch_rows=batch_rows)
    elif name == "reference":
        require("--dissector reference", "pyshark")
        from offramp.capture.reference.tshark import ReferenceDissector

        reference = ReferenceDissector(profile, site=site, link=link, agent=agent, batch_rows=batch_rows)
        try:
            yield reference
        finally:
            reference.close()
    elif name == "scapy":
        require("--dissector scapy", "scapy")
        from offramp.capture.reference.scapy import ScapyDissector

        yield ScapyDissector(profile, site=site, link=link, agent=agent, batch_rows=batch_rows)
    else:
        raise ValueError(f"there is no dissector {name!r}; there are {', '.join(NAMES)}")
