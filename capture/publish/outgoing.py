"""A feature message to send: what the publisher queues, the spool keeps, and Kafka takes."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, replace
from zlib import crc32

from offramp.capture.ledger import CaptureLedger
from offramp.capture.message.encode import FeatureHeaders
from offramp.errors import OfframpError

RECORD = struct.Struct("<III")
"""A spooled record: bytes of the description (JSON), bytes of the value, CRC-32 of both."""
BEGINNING = b'{"link": '
"""How each description begins: the mark by which the next record behind a damaged one is found."""
_SAMPLE = FeatureHeaders("", "", 0, 0, 0)
_KINDS = {name: type(getattr(_SAMPLE, name)) for name in FeatureHeaders.__dataclass_fields__}
"""What kind of value each header has."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message of a link; value: empty for the one that ends it; segment: of the spool it was read from, or None."""

    link: str
    headers: FeatureHeaders
    value: bytes
    segment: int | None = None

    @property
    def size(self) -> int:
        """Approximate bytes that it takes in memory and on the wire."""
        return len(self.value) + 512

    def shed(self, reason: str) -> CaptureLedger:
        """Return the account of its packets if it is not sent."""
        return CaptureLedger.from_dict(self.headers.ledger).all_shed(reason)

    def to_record(self) -> bytes:
        """Return the message as a record of the spool, no longer marked live, so that it is not shed for being late."""
        members = {name: getattr(self.headers, name) for name in FeatureHeaders.__dataclass_fields__}
        members |= {"live": False, "hops": dict(self.headers.hops)}
        about = json.dumps({"link": self.link, "headers": members}).encode()
        check = crc32(self.value, crc32(about))
        return RECORD.pack(len(about), len(self.value), check) + about + self.value


def from_record(about: bytes, value: bytes, segment: int) -> Outgoing | None:
    """Return the message of a record whose checksum holds; None where it cannot be sent.

    In a record of another version, unknown headers are left out, and missing ones get their defaults.
    """
    try:
        members = json.loads(about)
        given = members["headers"]
        headers = FeatureHeaders(**{name: given[name] for name in _KINDS if name in given})
        message = Outgoing(members["link"], headers, value, segment)
        fit = all(type(getattr(headers, name)) is kind for name, kind in _KINDS.items()) and message.link.encode()
        headers.pairs()
        message.shed("")
    except (OfframpError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
        return None
    return message if fit else None


def numbered(message: Outgoing, sequence: int) -> Outgoing:
    """Return the message with its sequence number in the link."""
    return replace(message, headers=replace(message.headers, sequence=sequence))
