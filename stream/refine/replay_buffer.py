"""The replay buffer of refinement: the newest rows the model was shown, labelled once their horizon has passed.

The label needs no human: it is the largest delay of the virtual queue within the horizon after the bin, as in training
(`stream.datasets.labelling`). Memory is bounded by bins and by rows; the oldest go first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.inference.dataset.sequence import TrainingSequence
from offramp.inference.forecast import Prediction
from offramp.inference.refinement.paired_test import Scored
from offramp.stream.pipeline.came_true import came_true_ms
from offramp.stream.windows.windows import WindowRows

MAX_ROWS = 60_000


class BufferRows(NamedTuple):
    """Rows in order of bins, the link first in each: as `bins.ClosedBins`, the model's input, and its output.

    peak_ms, end_ms: float32 [n] largest delay of the bin, and that at its end; label_ms: float32 [n] label, NaN while
    unknown.
    """

    bin_number: NDArray[np.int64]
    series: NDArray[np.int32]
    fresh: NDArray[np.uint8]
    x: NDArray[np.float32]
    spectrum: NDArray[np.float32]
    peak_ms: NDArray[np.float32]
    end_ms: NDArray[np.float32]
    label_ms: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    quantiles_ms: NDArray[np.float32]

    def only(self, which: NDArray[np.bool_] | slice) -> BufferRows:
        """Return some of the rows."""
        return BufferRows._make(array[which] for array in self)


class ReplayBuffer:
    """The replay buffer of one link and its devices."""

    def __init__(self, horizon_bins: int, memory_bins: int, most_rows: int = MAX_ROWS) -> None:
        self._horizon, self._bins, self._most = horizon_bins, memory_bins, most_rows
        self._waiting: list[BufferRows] = []
        self.rows: BufferRows | None = None
        self._labelled_until = 0

    def add(self, rows: WindowRows, prediction: Prediction, peak_ms: NDArray[np.float32]) -> None:
        """Remember rows that were forecast; peak_ms: largest delay of each bin, NaN where it cannot be relied on."""
        closed = rows.closed
        self._waiting.append(
            BufferRows(
                closed.bin_number, closed.series, closed.fresh, rows.x, rows.spectrum, peak_ms,
                np.minimum(closed.queue_ms[:, 0], peak_ms),
                np.full(len(rows.x), np.nan, np.float32), prediction.probabilities, prediction.quantiles_ms,
            )
        )  # fmt: skip

    def label(self, until: int) -> BufferRows | None:
        """Label all rows that can be, bins before `until` being closed; return the rows whose label is new."""
        parts = [*([self.rows] if self.rows else []), *self._waiting]
        if not parts:
            return None
        self._waiting.clear()
        rows = BufferRows._make(np.concatenate(column) for column in zip(*parts, strict=True))
        oldest = until - self._bins
        if len(rows.series) > self._most:
            oldest = max(oldest, int(rows.bin_number[-self._most]))
        rows = rows.only(rows.bin_number >= oldest)
        if not len(rows.series):
            self.rows = None
            return None
        rows = self.rows = rows._replace(label_ms=self.labels(rows, until))
        new = ~np.isnan(rows.label_ms) & (rows.bin_number >= self._labelled_until)
        self._labelled_until = max(self._labelled_until, until - self._horizon)
        return rows.only(new)

    def labels(self, rows: BufferRows, until: int) -> NDArray[np.float32]:
        """Return the labels of rows: NaN where the horizon has not passed; in a silence the queue drains."""
        link = rows.series == 0
        bins = rows.bin_number[link]
        target = came_true_ms(bins, rows.peak_ms[link], rows.end_ms[link], self._horizon, until)
        return target[np.searchsorted(bins, rows.bin_number)]

    def scored(self, first_bin: int, before: int, share: float, *, score_from: int | None = None) -> list[Scored]:
        """Return the series of the bins in [first_bin, before), unbroken; rows from bin `score_from` on are scored.

        share: the most rows that one device may have, as a share of the link's; its oldest are left out.
        """
        if self.rows is None:
            return []
        rows = self.rows.only((self.rows.bin_number >= first_bin) & (self.rows.bin_number < before))
        limit = int(share * np.count_nonzero(rows.series == 0))
        out = []
        for series in np.unique(rows.series):
            own = rows.only(rows.series == series)
            own = own if series == 0 else own.only(slice(max(0, len(own.series) - limit), None))
            out += _unbroken(own, f"series{series}")
        asked = first_bin if score_from is None else score_from
        return [each._replace(first=int(np.searchsorted(each.bins, asked))) for each in out]


def _unbroken(rows: BufferRows, source: str) -> list[Scored]:
    """Return the rows of one series as series, cut at gaps and where it begins anew."""
    cuts = np.flatnonzero((np.diff(rows.bin_number) > 1) | (rows.fresh[1:] > 0)) + 1
    out = []
    for part in np.split(np.arange(len(rows.series)), cuts):
        if len(part):
            own = rows.only(slice(int(part[0]), int(part[-1]) + 1))
            out.append(Scored(TrainingSequence(own.x, own.spectrum, own.label_ms, source), own.bin_number))
    return out


def sequences(scored: Sequence[Scored]) -> list[TrainingSequence]:
    """Return the series alone."""
    return [each.sequence for each in scored]
