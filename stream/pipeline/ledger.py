"""The ledger of the stream: counts what became of every row, bin, forecast and command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from offramp.counts import Counts
from offramp.errors import ContractError


@dataclass(slots=True)
class StreamLedger(Counts):
    """rows = binned + late + ahead + untimed. A row of a device for which there was no place still counts for its link.

    late: came when its bin was closed; ahead: so far ahead of all others that a second had to confirm it, and none did
    (one that is held still counts as binned); untimed: without a possible time; time_steps: how often the packets' time
    went back and stayed, so that the link began anew.

    bins: closed bins of the link; windows: rows given to the model (link and devices), each with a forecast; holes:
    times of which nothing is known, as packets were lost in a row: windows begin anew behind each; decided: bins of the
    link that the policy was asked at; behind: bins that came when the other links of the bundle had been decided beyond
    them, and cause no command.
    """

    rows: int = 0
    late: int = 0
    ahead: int = 0
    untimed: int = 0
    time_steps: int = 0
    untracked: int = 0
    devices_evicted: int = 0
    bins: int = 0
    windows: int = 0
    forecasts: int = 0
    series_begun: int = 0
    holes: int = 0
    decided: int = 0
    behind: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    """Commands by action."""

    @property
    def binned(self) -> int:
        """Rows that were counted in a bin."""
        return self.rows - self.late - self.ahead - self.untimed

    def balances(self) -> bool:
        """Return whether the account adds up."""
        return self.binned >= 0 and self.windows == self.forecasts and self.bins <= self.windows

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> StreamLedger:
        """Restore from `as_dict()`. Raises ContractError where a value is no count."""
        counts, commands = {each.name: state[each.name] for each in fields(cls)}, dict(state["commands"])
        del counts["commands"]
        if not all(type(each) is int and each >= 0 for each in (*counts.values(), *commands.values())):
            raise ContractError("ledger: has what are no counts")
        return cls(**counts, commands=Counter(commands))

    def lines(self) -> list[str]:
        """Return the ledger as lines of text for a reader."""
        lines = [
            f"  rows binned         {self.binned:>12,}",
            f"    late, not counted {self.late:>12,}",
            *self._lines_of_time(),
            f"    device not tracked{self.untracked:>12,}",
            f"  bins of the link    {self.bins:>12,}",
            *([f"  holes               {self.holes:>12,}   windows begin anew behind each"] if self.holes else []),
            *(
                [f"  bins behind         {self.behind:>12,}   other links were decided beyond them"]
                if self.behind
                else []
            ),
            f"  windows forecast    {self.forecasts:>12,}",
            f"  commands            {self.commands.total():>12,}",
        ]
        return lines + [f"    {action:<18}{count:>12,}" for action, count in sorted(self.commands.items())]

    def _lines_of_time(self) -> list[str]:
        """Return lines on packets with wrong times, where there were any."""
        counted = (
            (self.ahead, "far ahead, not counted", "no second packet bore their time out"),
            (self.untimed, "no time, not counted", "without a time, or before 1970, or after 2116"),
            (self.time_steps, "time went back", "the link began anew each time; is the clock set, are files in order?"),
        )
        return [f"    {what:<22}{count:>8,}   {why}" for count, what, why in counted if count]
