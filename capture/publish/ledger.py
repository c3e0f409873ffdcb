"""What became of the messages of an agent, and what of them waits where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from offramp.counts import Counts


@dataclass(slots=True)
class PublishLedger(Counts):
    """rows + earlier_rows = rows acknowledged + rows shed + what is still queued or under way.

    What is still in the spool is of the rows; earlier_rows: found in the spool, of an earlier life of the agent.
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
    """Bytes that wait in the queue, are under way to the broker, and are on disk; fill: of the queue, 0 to 1."""

    queued: int
    fill: float
    under_way: int
    spooled: int
