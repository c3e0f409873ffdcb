"""Base of the dissectors that make an object per packet: profile, schema, ledger, link types, batches."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyarrow as pa

from offramp.capture.block import PacketBlock
from offramp.capture.dissect.link.link_types import LINK_TYPE_NAMES, PPP_HDLC, PPP_SERIAL
from offramp.capture.features.arrow_schema import told_schema
from offramp.capture.features.row_batches import Row, rows_to_batches
from offramp.capture.ledger import CaptureLedger
from offramp.errors import InputError

_NAMES = LINK_TYPE_NAMES | {PPP_SERIAL: "PPP", PPP_HDLC: "PPP_HDLC"}


class RowDissector(ABC):
    """Dissects packet blocks into feature batches of one profile, with the interface of `dissect.dissector.Dissector`.

    A packet that cannot be read still gives a row, with its time and length, and a reason in the ledger.
    """

    title = "this dissector"
    link_types: frozenset[int] = frozenset()
    """The libpcap link types that are understood."""

    def __init__(
        self, profile: str, *, site: str = "", link: str = "", agent: str = "", batch_rows: int = 8192
    ) -> None:
        self.ledger = CaptureLedger()
        self.schema = told_schema(profile, site=site, link=link, agent=agent)
        self._batch_rows = batch_rows

    def dissect(self, block: PacketBlock) -> list[pa.RecordBatch]:
        """Return the block's packets as feature batches of at most `batch_rows` rows, in order.

        Raises InputError where no interface of the source has a link type that is understood.
        """
        self._refuse_unknown(block)
        undecodable = self.ledger.undecodable.total()
        rows = self.rows(block)
        self.ledger.captured += len(block)
        self.ledger.decoded += len(block) - (self.ledger.undecodable.total() - undecodable)
        self.ledger.kernel_drops += block.kernel_drops
        return rows_to_batches(rows, self.schema, self._batch_rows)

    @abstractmethod
    def rows(self, block: PacketBlock) -> list[Row]:
        """Return a row for each packet of a block, and count in the ledger what cannot be decoded, by reason."""

    def _refuse_unknown(self, block: PacketBlock) -> None:
        """Say which link type is unknown where all of them are."""
        kinds = [interface.linktype for interface in block.interfaces]
        if kinds and not any(kind in self.link_types for kind in kinds):
            raise InputError(
                f"link type {kinds[0]} ({_NAMES.get(kinds[0], 'unknown')}) is not understood by {self.title}; "
                "capture on an Ethernet, cooked (SLL), loopback or raw IP interface"
            )
