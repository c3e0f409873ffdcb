"""Counts of what became of an agent's messages, and the bytes that are not acknowledged yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from offramp.counts import Counts


@dataclass(slots=True)
class PublishLedger(Counts):
    """rows + earlier_rows = rows acknowledged + rows shed + rows still queued, in flight or spooled.

    earlier_rows: rows found in the spool, from an earlier session of the agent.
    """

    messages: int = 0
    rows: int = 0
    bytes: int = 0
    acknowledged: int = 0
    rows_acknowledged: int = 0
    shed: int = 0
    rows_shed: int = 0
    spooled: int = 0
    earlier_rows: int = 0
    links_ended: int = 0


class PublisherBacklog(NamedTuple):
    """Bytes in the queue, in flight to the broker, and on disk; fill: how full the queue is, 0 to 1."""

    queued: int
    fill: float
    under_way: int
    spooled: int
