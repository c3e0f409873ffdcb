"""A feature message on its way out: what the publisher queues, the spool keeps, and Kafka takes."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

from capture.ledger import CaptureLedger
from capture.wire import FeatureHeaders

RECORD = struct.Struct("<III")
"""A spooled record: bytes of the description (JSON), bytes of the value, CRC-32 of both."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message of a link; value: empty for the one that ends it; segment: of the spool it was read from, or None."""

    link: str
    headers: FeatureHeaders
    value: bytes
    segment: int | None = None

    @property
    def size(self) -> int:
        """Bytes that it takes in memory and on the wire, nearly."""
        return len(self.value) + 512

    def shed(self, reason: str) -> CaptureLedger:
        """Return the account of its packets when they are not sent after all."""
        return CaptureLedger.from_dict(self.headers.ledger).all_shed(reason)

    def to_record(self) -> bytes:
        """Return the message as a record of the spool: what is kept is not to be shed later, as being late."""
        told = {name: getattr(self.headers, name) for name in FeatureHeaders.__dataclass_fields__}
        told |= {"live": False, "hops": dict(self.headers.hops)}
        about = json.dumps({"link": self.link, "headers": told}).encode()
        check = crc32(self.value, crc32(about))
        return RECORD.pack(len(about), len(self.value), check) + about + self.value


def read_record(data: Any, segment: int) -> Outgoing | None:
    """Read the next record of an open segment; None where it ends or the next record is not whole."""
    head = data.read(RECORD.size)
    if len(head) < RECORD.size:
        return None
    about_size, size, check = RECORD.unpack(head)
    about, value = data.read(about_size), data.read(size)
    if len(value) < size or crc32(value, crc32(about)) != check:
        return None
    told = json.loads(about)
    return Outgoing(told["link"], FeatureHeaders(**told["headers"]), value, segment)


def numbered(message: Outgoing, sequence: int) -> Outgoing:
    """Return the message with its place in the link's order."""
    return replace(message, headers=replace(message.headers, sequence=sequence))
