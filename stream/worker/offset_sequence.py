"""The sequence of offsets: a partition's messages from the committed offset on, each once, none left out.

The group client may hand over, after a rebalance, a message that it had fetched before: taken, it would hide those
between.
"""

from __future__ import annotations

from enum import Enum


class OffsetAction(Enum):
    """What to do with a message: take it, drop it, or drop it and ask for the one that is due."""

    TAKE = "take"
    DROP = "drop"
    REWIND = "rewind"


class OffsetSequence:
    """Checks offsets against the one that is due; `due` moves on with each that is taken."""

    def __init__(self, due: int) -> None:
        self.due = due
        self._asked_for = -1
        self._dropped = -1

    def check(self, offset: int) -> OffsetAction:
        """Check the next offset that came.

        Ahead of what is due, that is asked for once; what still comes ahead is dropped, until the offsets go back: then
        what is due is there no more (the broker has let it go), and the next there is is taken.
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
