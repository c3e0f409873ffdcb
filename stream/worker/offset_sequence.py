"""Check that a partition's messages come from the committed offset on, each once, none left out.

After a rebalance the group client may deliver a message that it had fetched before; taking that would skip those
between.
"""

from __future__ import annotations

from enum import Enum


class OffsetAction(Enum):
    """What to do with a message: take it, drop it, or drop it and rewind to the one that is due."""

    TAKE = "take"
    DROP = "drop"
    REWIND = "rewind"


class OffsetSequence:
    """Checks offsets against the one that is due; `due` moves on with each message taken."""

    def __init__(self, due: int) -> None:
        self.due = due
        self._asked_for = -1
        self._dropped = -1

    def check(self, offset: int) -> OffsetAction:
        """Return what to do with the next message.

        The first offset ahead of the one due causes a rewind; further ones ahead are dropped, until the offsets go
        back: then the one due no longer exists (the broker has deleted it), and the next one is taken.
        """
        if offset < self.due:
            return OffsetAction.DROP
        if offset > self.due:
            if self._asked_for != self.due:
                self._asked_for, self._dropped = self.due, offset
                return OffsetAction.REWIND
            if offset > self._dropped:
                self._dropped = offset
                return OffsetAction.DROP
        self.due = offset + 1
        return OffsetAction.TAKE
