"""The ledger of capture: counts every packet as decoded, undecodable or shed, each by reason, and kernel drops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from offramp.counts import Counts
from offramp.errors import ContractError

MAX_COUNT = 1 << 53
"""Counts are below this: exact in any JSON reader."""


@dataclass(slots=True)
class CaptureLedger(Counts):
    """captured = decoded + undecodable + shed; kernel drops never reached us and are counted beside.

    Reasons are short snake_case words, the same in metrics, headers and printed ledgers.
    """

    captured: int = 0
    decoded: int = 0
    undecodable: Counter[str] = field(default_factory=Counter)
    shed: Counter[str] = field(default_factory=Counter)
    kernel_drops: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    """What was not understood inside decoded packets (an unknown ether type, a cut header), by reason."""
    unfollowed: Counter[str] = field(default_factory=Counter)
    """Decoded packets that name a protocol which is not followed, by its kind: `ether_type_0x88e5`."""

    def balances(self) -> bool:
        """Return whether the account adds up."""
        return self.captured == self.decoded + self.undecodable.total() + self.shed.total()

    def all_shed(self, reason: str) -> CaptureLedger:
        """Return the account of the same packets with all of them shed for `reason`."""
        shed = self.shed + Counter({reason: self.captured - self.shed.total()})
        return replace(
            self,
            decoded=0,
            undecodable=Counter(),
            shed=shed,
            notes=Counter(self.notes),
            unfollowed=Counter(self.unfollowed),
        )

    @classmethod
    def from_dict(cls, members: object) -> CaptureLedger:
        """Return the ledger of an untrusted mapping from `as_dict`; unknown names are left out.

        Raises ContractError where a value is no count, or where more packets are accounted for than were captured.
        """
        if not isinstance(members, Mapping):
            raise ContractError(f"expected counts by name, found a {type(members).__name__}")
        captured, decoded, drops = (
            _count(name, members.get(name, 0)) for name in ("captured", "decoded", "kernel_drops")
        )
        undecodable, shed, notes, unfollowed = (
            _counts(name, members.get(name, {})) for name in ("undecodable", "shed", "notes", "unfollowed")
        )
        ledger = cls(captured, decoded, undecodable, shed, drops, notes, unfollowed)
        known = ledger.decoded + ledger.undecodable.total() + ledger.shed.total()
        if known > ledger.captured:
            raise ContractError(f"{known} packets decoded, undecodable or shed of {ledger.captured} captured")
        return ledger


def _count(name: str, value: object) -> int:
    """Return a count. Raises ContractError for a fraction, a negative or too large number, a bool, anything else."""
    if type(value) is not int or not 0 <= value < MAX_COUNT:
        found = f"{value.bit_length()} bits" if isinstance(value, int) else f"{value!r:.60}"
        raise ContractError(f"{name}: expected a whole number of packets, 0 to 2^53, found {found}")
    return value


def _counts(name: str, value: object) -> Counter[str]:
    """Return counts by reason. Raises ContractError."""
    if not isinstance(value, Mapping):
        raise ContractError(f"{name}: expected counts by reason, found a {type(value).__name__}")
    return Counter({str(reason): _count(f"{name}.{reason!s:.60}", count) for reason, count in value.items()})
