"""Base of the ledgers: a record of counts, whole numbers or `Counter`s by reason. Field names are contracts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(slots=True)
class Counts:
    """A record whose fields are all an int or a Counter."""

    def add(self, other: Self) -> None:
        """Add another's counts to this one."""
        for each in fields(self):
            own, theirs = getattr(self, each.name), getattr(other, each.name)
            if isinstance(own, Counter):
                own.update(theirs)
            else:
                setattr(self, each.name, own + theirs)

    def since(self, before: Self) -> Self:
        """Return what was counted after `before`, an earlier reading of this one."""
        return type(self)(**{each.name: getattr(self, each.name) - getattr(before, each.name) for each in fields(self)})

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as plain values by name, reasons in order, for JSON."""
        members = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: dict(sorted(value.items())) if isinstance(value, Counter) else value for name, value in members}
