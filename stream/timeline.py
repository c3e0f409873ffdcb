"""The timeline of a link: what the pipeline saw, foresaw and decided, bin by bin, for tables and pictures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from decision.command import Command


class LinkTimeline(NamedTuple):
    """Closed bins of one link, in order of time.

    time_ns: int64 [n] end of the bin; load_up, load_down: float32 [n] share of the capacity; delay_now_ms: float32 [n]
    virtual queue's delay at the end of the bin; probabilities: float32 [n, 3]; delay_ms: float32 [n, 3] quantiles;
    commands: those that these bins caused.
    """

    link: str
    time_ns: NDArray[np.int64]
    load_up: NDArray[np.float32]
    load_down: NDArray[np.float32]
    delay_now_ms: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    delay_ms: NDArray[np.float32]
    commands: tuple[Command, ...] = ()

    def bins(self, start: int, end: int) -> LinkTimeline:
        """Return some of the bins, without the commands."""
        part = slice(start, end)
        return LinkTimeline(
            self.link, self.time_ns[part], self.load_up[part], self.load_down[part], self.delay_now_ms[part],
            self.probabilities[part], self.delay_ms[part],
        )  # fmt: skip
