"""The timeline of a link: its load, forecasts and commands bin by bin, for tables and figures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.decision.command import Command


class Lost(NamedTuple):
    """Packets reported with some bins: captured, of those shed, and dropped by the kernel or missing."""

    captured: int = 0
    shed: int = 0
    dropped: int = 0


class BinContext(NamedTuple):
    """What stands beside closed bins of a link, a number each.

    largest_ms: float32 [n] largest delay of the bin; quality: float32 [n] share of the packets that can be vouched for;
    open_moves: int32 [n] flows and devices that are moved once the bin is decided; moved_bps: float32 [n] their rate
    when they were chosen. supposed_...: float32 [n] each, the link as it would be if these were carried out: loads, the
    virtual queue's delay at the end of the bin, the longest one of the paths and nodes that they go to.
    """

    largest_ms: NDArray[np.float32]
    quality: NDArray[np.float32]
    open_moves: NDArray[np.int32]
    moved_bps: NDArray[np.float32]
    supposed_up: NDArray[np.float32]
    supposed_down: NDArray[np.float32]
    supposed_ms: NDArray[np.float32]
    supposed_path_ms: NDArray[np.float32]


class ActedMark(NamedTuple):
    """A mark that was acted on: the end of the link's first bin for which it counts, ns, and its JSON."""

    time_ns: int
    mark: str


class LinkTimeline(NamedTuple):
    """Closed bins of one link, in order of time.

    time_ns: int64 [n] end of the bin; load_up, load_down: float32 [n] share of the capacity; bin_end_ms: float32 [n]
    virtual queue's delay at the end of the bin; probabilities: float32 [n, 3]; quantiles_ms: float32 [n, 3] quantiles;
    commands: those that these bins caused; lost: packets reported lost with them; behind_hole: nothing is known of the
    time between them and the bins before; step: how often the link's time had gone back before them; marks: those that
    count from one of these bins on.
    """

    link: str
    time_ns: NDArray[np.int64]
    load_up: NDArray[np.float32]
    load_down: NDArray[np.float32]
    bin_end_ms: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    quantiles_ms: NDArray[np.float32]
    commands: tuple[Command, ...] = ()
    lost: Lost = Lost()
    behind_hole: bool = False
    step: int = 0
    context: BinContext | None = None
    marks: tuple[ActedMark, ...] = ()

    def bins(self, start: int, end: int) -> LinkTimeline:
        """Return some of the bins, without the commands and the context."""
        some = slice(start, end)
        return LinkTimeline(
            self.link, self.time_ns[some], self.load_up[some], self.load_down[some], self.bin_end_ms[some],
            self.probabilities[some], self.quantiles_ms[some],
        )  # fmt: skip
