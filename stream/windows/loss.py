"""Lost packets, as messages report them: whether the rest can be scaled up for them, or they leave a hole in time.

Packets that the kernel dropped were lost evenly among the rest, as in flow sampling: the rest is scaled up. Packets
that were shed in a row, as blocks or messages, leave a time of which nothing is known: a hole, behind which windows
begin anew. So does a drop of nearly everything (docs/decisions/0013).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from offramp.capture.ledger import CaptureLedger
from offramp.errors import ContractError
from offramp.stream.channels import BIN_NS, WINDOW_BINS

SAMPLED = "flow_sampling"
"""The one reason for shedding that leaves no hole: flows are chosen by their addresses, and `sampling` scales them."""

SLOT_NS = WINDOW_BINS * BIN_NS
"""Drops count half after this long: the load of a forecast's window is right, whichever bin of it a packet is
counted in."""

MAX_SCALED = 16
"""Packets that one may stand for. A bin of a full link of 100 Mbit/s has about 100 packets of ordinary size: of one in
16 six are left, which tell a full bin from a half full one three times of four; fewer show nothing."""


class Loss(NamedTuple):
    """What became of the packets since the message before; in_a_row: those shed together with their neighbours."""

    captured: int = 0
    decoded: int = 0
    shed: int = 0
    dropped: int = 0
    in_a_row: int = 0


class Scale:
    """How many of the packets that reached the kernel each captured one stands for: `factor`, 1 without drops.

    Drops are spread over the packets of the SLOT_NS around them: the kernel drops in runs, of a ring block or more, and
    reports them some ms later. Whole numbers of packets and of slots, so that all machines agree.
    """

    def __init__(self) -> None:
        self.factor = 1.0
        self._slot = self._captured = self._dropped = 0

    def take(self, loss: Loss, time_ns: int) -> bool:
        """Take a batch's loss and the time of its newest packet; return whether nearly all was dropped: a hole.

        A batch that reports no packet is a further part of the block before it, and has its factor.
        """
        if not (loss.captured or loss.dropped):
            return False
        slot = time_ns // SLOT_NS
        passed = slot - self._slot if self._slot <= slot < self._slot + 64 else 64
        self._slot = slot
        self._captured = (self._captured >> passed) + loss.captured
        self._dropped = (self._dropped >> passed) + loss.dropped
        is_hole = self._dropped > (MAX_SCALED - 1) * self._captured
        if is_hole:
            self._dropped = 0
        self.factor = (self._captured + self._dropped) / (self._captured or 1) if self._dropped else 1.0
        return is_hole

    def state(self) -> list[float]:
        """Return the state as plain values, for JSON."""
        return [self.factor, self._slot, self._captured, self._dropped]

    def restore(self, state: Sequence[float]) -> None:
        """Go on from what `state` returned."""
        factor, self._slot, self._captured, self._dropped = float(state[0]), *(max(0, int(each)) for each in state[1:])
        self.factor = min(max(factor, 1.0), float(MAX_SCALED))


def loss_of(value: bytes | None) -> Loss | None:
    """Return the loss in the ledger of a batch's metadata; None where there is none. Raises ContractError."""
    if not value:
        return None
    try:
        ledger = CaptureLedger.from_dict(json.loads(value))
    except (ValueError, RecursionError) as error:
        raise ContractError(f"a batch's ledger is no JSON: {error}") from error
    return loss_in(ledger)


def loss_in(ledger: CaptureLedger) -> Loss:
    """Return the loss that a ledger reports."""
    shed = ledger.shed.total()
    return Loss(ledger.captured, ledger.decoded, shed, ledger.kernel_drops, shed - ledger.shed[SAMPLED])
