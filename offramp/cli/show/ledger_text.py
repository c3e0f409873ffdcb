"""The ledger as text: how many packets came in, what became of them, every drop with its reason."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

from offramp.errors import OfframpError
from offramp.stream.local.link_choice import unlinked_lines

if TYPE_CHECKING:
    from offramp.capture.ledger import CaptureLedger
    from offramp.capture.sources.source import PacketSource


def capture_lines(ledger: CaptureLedger, unlinked: Counter[str] | None = None) -> list[str]:
    """Return the packets' part of the account, a line each; unlinked: packets of no link, by interface."""
    none = unlinked or Counter()
    lines = [
        f"  packets captured    {ledger.captured + none.total():>12,}",
        f"    decoded           {ledger.decoded:>12,}",
    ]
    for title, reasons in (("undecodable", ledger.undecodable), ("shed", ledger.shed)):
        lines.append(f"    {title:<17} {reasons.total():>12,}")
        lines += [f"      {reason:<24} {count:>8,}" for reason, count in sorted(reasons.items())]
    lines += unlinked_lines(none)
    lines.append(f"  dropped by kernel   {ledger.kernel_drops:>12,}")
    lines += [f"    note: {reason:<24} {count:>8,}" for reason, count in sorted(ledger.notes.items())]
    lines += [
        f"    note: {count:,} packets of {kind.replace('_', ' ')} not looked into"
        for kind, count in ledger.unfollowed.most_common()
    ]
    return lines


def warn(text: str) -> None:
    """Print a warning on standard error, beside the data."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def hold_strict(source: PacketSource, unlinked: int = 0) -> None:
    """Raise OfframpError for what `--strict` forbids: damage in the input, and packets that belong to no link."""
    if source.faults:
        raise OfframpError(f"{len(source.faults)} damaged place(s) in the input, and --strict was asked for")
    if unlinked:
        raise OfframpError(f"{unlinked:,} packets belong to no link, and --strict was asked for")
