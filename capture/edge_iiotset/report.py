"""The account of reading Edge-IIoTset's files: every row is whole, repaired or dropped, by reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class EdgeReport:
    """rows = whole + repaired + dropped; the other counts are of rows that were kept."""

    files: int = 0
    rows: int = 0
    whole: int = 0
    repaired: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    """Rows equal to an earlier one in all cells; they are not removed."""

    undated: int = 0
    """Kept rows whose frame.time lost month and day."""

    timeless: int = 0
    """Kept rows whose frame.time was lost."""

    unreadable: Counter[str] = field(default_factory=Counter)
    """Cells that cannot stand in their column, by column; they are null."""

    @property
    def kept(self) -> int:
        """Rows that were kept."""
        return self.whole + self.repaired.total()

    def balances(self) -> bool:
        """Return whether the account adds up."""
        return self.rows == self.kept + self.dropped.total()

    def __str__(self) -> str:
        """Return the report as one block of lines."""
        lines = [
            f"files                     {self.files:>12,}",
            f"rows read                 {self.rows:>12,}",
            f"  whole                   {self.whole:>12,}",
            f"  repaired                {self.repaired.total():>12,}",
            *(f"    {count:>12,}  {reason}" for reason, count in self.repaired.most_common()),
            f"  dropped                 {self.dropped.total():>12,}",
            *(f"    {count:>12,}  {reason}" for reason, count in self.dropped.most_common()),
            f"rows written              {self.kept:>12,}",
            f"  duplicates of earlier   {self.duplicates:>12,}  (counted, not removed)",
            f"  without month and day   {self.undated:>12,}  (frame.time is null, frame.time_of_day is there)",
            f"  without any time        {self.timeless:>12,}",
            f"cells that are unreadable {self.unreadable.total():>12,}",
            *(f"    {count:>12,}  {column}" for column, count in self.unreadable.most_common()),
        ]
        return "\n".join(lines)
