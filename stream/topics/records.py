"""Messages of topics: what is read of one, and what is to be sent."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from offramp.decision.command import Headers
from offramp.hops import NONE, Hops


class Record(Protocol):
    """A message of the feature topic as Faust hands it over."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Any


class OutgoingMessage(NamedTuple):
    """A message to send: topic without prefix and version, key, value, headers, and hops, sent as one more header.

    partition: -1: by the key; packet_ns: of a command, the time of the last packet of the message that caused it.
    """

    topic: str
    key: bytes
    value: bytes
    headers: Headers
    hops: Hops = NONE
    partition: int = -1
    packet_ns: int = 0


def pairs_of(headers: Any) -> list[tuple[str, bytes]]:
    """Return headers as pairs, however the client gives them."""
    return list(headers.items()) if hasattr(headers, "items") else list(headers or ())
