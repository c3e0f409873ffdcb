"""Data quality: the share of the last seconds' packets that a decision rests on. It falls at once, and recovers.

By event time, in whole packets: the same messages give the same quality, however they are cut into batches, and after a
checkpoint too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.decision.traffic import Quality
from offramp.errors import ContractError
from offramp.stream.channels import WINDOW_BINS
from offramp.stream.windows.loss import Loss

SLOT_BINS = 16
"""Packets are counted by slots of 0.16 s: a window is longer than asked for by less than that."""

NEAR, FAR = WINDOW_BINS // SLOT_BINS + 1, 64
"""Slots of the two windows; the worse one counts. The near one holds the 0.64 s that a forecast names as its window,
wherever in a slot it ends, so that a loss is not hidden by ten good seconds before it: of an even stream two bins with
80 % dropped are below the usual floor, and an onset needs five. The far one, 10.24 s, is twice the longest time
constant that the model carries (queue_history, 5.12 s): until then its state has a part of what was lost."""

COUNTS = ("captured", "decoded", "shed", "dropped")


class DataQuality:
    """Counts what became of packets; `at` returns the quality at a bin.

    The counts of a message hold for all bins that it closes, and age from the last of them on. totals: all counts ever;
    its `dropped` holds what the kernel dropped and what is missing between agent and here.
    """

    def __init__(self) -> None:
        self.totals = dict.fromkeys(COUNTS, 0)
        self._slots: dict[int, list[int]] = {}
        self._open = [0, 0, 0, 0]
        self._bin = -1
        self._closing = False
        self._known: tuple[int, Quality] | None = None

    def note(self, loss: Loss, missing: int = 0) -> None:
        """Add a message's loss; missing: packets of messages before it, of which nothing else is known."""
        counts = [loss.captured, loss.decoded, loss.shed, loss.dropped + missing]
        if not any(counts):
            return
        if self._closing:
            self._age()
        for place, name in enumerate(COUNTS):
            self._open[place] += counts[place]
            self.totals[name] += counts[place]
        self._known = None

    def reached(self, bin_number: int) -> None:
        """Note that the bins up to this one have been decided."""
        self._bin, self._closing = bin_number, True

    def at(self, bin_number: int) -> Quality:
        """Return the quality of what a decision at a bin rests on."""
        slot = bin_number // SLOT_BINS
        if self._known is None or self._known[0] != slot:
            windows = (self._share(slot, length) for length in (FAR, NEAR))
            self._known = slot, min(windows, key=lambda quality: quality.share)
        return self._known[1]

    def shares(self, bin_number: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the share of packets that can be vouched for at each of some bins, in order: float32 [n]."""
        if len(bin_number) and bin_number[0] // SLOT_BINS == bin_number[-1] // SLOT_BINS:  # a live link's
            return np.full(len(bin_number), self.at(int(bin_number[0])).share, np.float32)
        slots, of = np.unique(bin_number // SLOT_BINS, return_inverse=True)
        return np.array([self.at(slot * SLOT_BINS).share for slot in slots.tolist()], np.float32)[of]

    @property
    def now(self) -> Quality:
        """The quality at the newest bin that was decided."""
        return self.at(self._bin)

    def _age(self) -> None:
        """Enter the open counts in the slot of the newest bin; forget slots too old for any window."""
        slot = self._bin // SLOT_BINS
        kept = self._slots.setdefault(slot, [0, 0, 0, 0])
        self._slots[slot] = [before + more for before, more in zip(kept, self._open, strict=True)]
        self._slots = {each: counts for each, counts in self._slots.items() if slot - FAR < each <= slot}
        self._open, self._closing = [0, 0, 0, 0], False

    def _share(self, slot: int, length: int) -> Quality:
        """Return the quality over the open counts and the `length` slots up to `slot`."""
        rows = [self._open, *(counts for each, counts in self._slots.items() if slot - length < each <= slot)]
        captured, decoded, shed, dropped = (sum(column) for column in zip(*rows, strict=True))
        whole = captured + dropped
        if not whole:
            return Quality()
        return Quality(*(round(count / whole, 6) for count in (decoded, shed, dropped)))

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, for JSON."""
        slots = [[slot, *counts] for slot, counts in sorted(self._slots.items())]
        return {**self.totals, "slots": slots, "open": list(self._open), "bin": self._bin, "closing": self._closing}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state. Raises ContractError where it is none."""
        rows = [*(counts for _, *counts in state["slots"]), state["open"]]
        if len(rows) > FAR + 2 or any(len(row) != 4 or min(row) < 0 for row in rows):
            raise ContractError("checkpoint: the counts of the data quality are none")
        self.totals = {name: int(state[name]) for name in COUNTS}
        self._slots = {int(slot): [int(count) for count in counts] for slot, *counts in state["slots"]}
        self._open = [int(count) for count in state["open"]]
        self._bin, self._closing = int(state["bin"]), bool(state["closing"])
        self._known = None
