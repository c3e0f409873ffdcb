"""Windows: the part of the pipeline that depends on packets alone: bins, normaliser and spectra in one object.

It knows no model and no policy, so it may run a few batches ahead of them, in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from offramp.capture.block import END_OF_TIME_NS
from offramp.capture.message.encode import sampling_of
from offramp.stream.bins.bins import Bins
from offramp.stream.bins.packets import Packets, packets_from_batch
from offramp.stream.bins.state import BEGUN, SERIES, ClosedBins, LinkConfig
from offramp.stream.channels import BIN_NS
from offramp.stream.windows.loss import Loss, Scale, loss_of
from offramp.stream.windows.normaliser import Normaliser, scaled
from offramp.stream.windows.stft import Spectra

ENDED = 1 << 62
"""The bin that a link has reached whose input has ended: nobody waits for it."""
PORTION_ROWS = 4_096
"""Closed bins go to the model in portions of about this many rows, 4 MB: a sparse batch of 8,192 packets closes half a
million."""


class WindowRows(NamedTuple):
    """Closed bins with the model's input for them: x float32 [n, F] and spectrum float32 [n, K].

    behind_hole: nothing is known of the time between them and the rows before; step: how often before them the link had
    begun anew because its time went back.
    """

    closed: ClosedBins
    x: NDArray[np.float32]
    spectrum: NDArray[np.float32]
    behind_hole: bool = False
    step: int = 0


class Windowed(NamedTuple):
    """The result of one feature batch: the rows of the bins it closed, and the packets it reports as lost.

    missing: packets of messages before it that never came; closed_until: all bins before this one are closed (ENDED:
    the input has ended), 0 where the rows tell; act: what is done, in order, before what follows is decided.
    """

    rows: list[WindowRows]
    loss: Loss | None = None
    missing: int = 0
    closed_until: int = 0
    act: Callable[[], None] | None = None


class Windows:
    """The open bins and newest STFT frames of one link and its devices; rows are on the scale of the artifact."""

    def __init__(
        self, config: LinkConfig, normaliser_state: Mapping[str, NDArray[Any]], lateness_ms: float = 1
    ) -> None:
        self.bins = Bins(config, lateness_ms)
        self.limits = Normaliser.from_state(dict(normaliser_state)).limits()
        self.spectra = Spectra(SERIES)
        self.holes = 0
        self.scale = Scale()
        self._behind_hole = False

    def portions(self, batch: pa.RecordBatch) -> Iterator[Windowed]:
        """Take one feature batch; yield the rows of the bins it closes, at most about PORTION_ROWS at a time.

        Where packets were dropped, those in the batch are scaled up; a hole before it is skipped first. The first
        portion has the loss. Iterate to the end before the next batch. Raises ContractError where the metadata is no
        account of packets, or a column is missing.
        """
        metadata = batch.schema.metadata or {}
        loss, sampling = loss_of(metadata.get(b"ledger")), sampling_of(batch)
        packets, rows = packets_from_batch(batch), list[WindowRows]()
        if loss is not None and (self.scale.take(loss, self._newest_ns(packets)) or loss.in_a_row):
            rows = self.skip().rows
        for each in self._each(self.bins.update(packets, sampling * self.scale.factor)):
            rows.append(each)
            if sum(len(part.x) for part in rows) >= PORTION_ROWS:
                yield Windowed(rows, loss)
                rows, loss = [], None
        yield Windowed(rows, loss, closed_until=self.bins.next_bin)

    def update(self, batch: pa.RecordBatch) -> Windowed:
        """Take one feature batch; return the rows of the bins it closes, all at once."""
        first, *more = self.portions(batch)
        return first._replace(
            rows=[row for part in (first, *more) for row in part.rows], closed_until=self.bins.next_bin
        )

    def advance(self, now_ns: int) -> Windowed:
        """Close the bins that are over by a live link's clock; return their rows."""
        rows = self.rows_of(self.bins.advance(now_ns))
        begun = self.bins.state.clock[BEGUN]
        return Windowed(rows, closed_until=self.bins.next_bin if begun else (now_ns - self.bins.lateness_ns) // BIN_NS)

    def close(self) -> Windowed:
        """Close the open bins at the end of the input; return their rows."""
        return Windowed(self.rows_of(self.bins.close()), closed_until=ENDED)

    def skip(self) -> Windowed:
        """Close the open bins before a hole; return their rows. What follows begins anew."""
        closed = self.close()
        self.bins.forget()
        self.holes += 1
        self._behind_hole = True
        return closed._replace(closed_until=self.bins.next_bin)

    def _newest_ns(self, packets: Packets) -> int:
        """Return the time of the last packet of a batch; where it has none, of the newest before."""
        last_ns = int(packets.time_ns[-1]) if len(packets.time_ns) else -1
        return last_ns if 0 <= last_ns < END_OF_TIME_NS else self.bins.newest_ns

    def rows_of(self, parts: Iterable[ClosedBins]) -> list[WindowRows]:
        """Return the rows of closed bins, each part's to itself."""
        return list(self._each(parts))

    def _each(self, parts: Iterable[ClosedBins]) -> Iterator[WindowRows]:
        """Yield the rows of closed bins in arrays of their own, as the bins reuse theirs."""
        for part in parts:
            x = scaled(part.x, *self.limits)
            spectrum = self.spectra.update(x, part.series, part.fresh)
            behind_hole, self._behind_hole = self._behind_hole, False
            yield WindowRows(own_copy(part), x, spectrum, behind_hole, self.bins.steps)

    def state(self) -> dict[str, Any]:
        """Return everything that the next batch depends on."""
        return {
            "bins": {name: np.array(array) for name, array in self.bins.state._asdict().items()},
            "hitters": {name: np.array(array) for name, array in self.bins.hitters._asdict().items()},
            "held": {name: np.array(array) for name, array in self.bins.held._asdict().items()},
            "history": np.array(self.spectra.history),
            "scale": self.scale.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the same batches give the same rows, to the bit."""
        for name, array in state["bins"].items():
            getattr(self.bins.state, name)[...] = array
        for name, array in state["hitters"].items():
            getattr(self.bins.hitters, name)[...] = array
        for name, array in state["held"].items():
            getattr(self.bins.held, name)[...] = array
        self.spectra.history[...] = state["history"]
        self.scale.restore(state["scale"])


def own_copy(part: ClosedBins) -> ClosedBins:
    """Return closed bins in arrays of their own."""
    return ClosedBins(**{name: getattr(part, name).copy() for name in ClosedBins._fields})
