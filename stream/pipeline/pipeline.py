"""The pipeline: feature batches in, commands out. Replay, tap and the Kafka worker run this same object.

windows (bins -> normalise -> spectrum) -> model (one step per bin with carried state) -> policy. What comes out depends
on the packets alone: not on the cut into batches, not on the clock, not on how far the windows run ahead of the model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from offramp.decision.command import Command
from offramp.decision.policies.policy import Policy
from offramp.decision.site import Bundle, Link, Site
from offramp.decision.traffic import Quality
from offramp.errors import ArtifactError
from offramp.inference.forecast import BINS_PER_S
from offramp.stream.bins.state import (
    AHEAD,
    EVICTED,
    LATE,
    ROWS,
    SERIES,
    STEPS,
    UNTIMED,
    UNTRACKED,
    ClosedBins,
    LinkConfig,
)
from offramp.stream.channels import BIN_MS, CHANNELS, SPECTRUM_SIZE
from offramp.stream.pipeline.carried_state import Ask, CarriedState, predict_together
from offramp.stream.pipeline.data_quality import SLOT_BINS, DataQuality
from offramp.stream.pipeline.ledger import StreamLedger
from offramp.stream.pipeline.meeting import Meeting, Seat, Sink
from offramp.stream.pipeline.part import ModelName, Part, worth_asking
from offramp.stream.pipeline.timeline import Lost
from offramp.stream.windows.loss import Loss
from offramp.stream.windows.windows import Windowed, WindowRows, Windows

if TYPE_CHECKING:
    from offramp.inference.forecast import Prediction
    from offramp.inference.serving.predictor import Predictor
    from offramp.stream.refine.refiner import Refiner

log = logging.getLogger("offramp.stream")


class Pipeline:
    """Turns the feature batches of one link into commands.

    Built inert; `update` takes batches in order and returns the commands they cause, `close` ends the input. Its two
    halves may run in a thread each: `windows.update` on the batches, `decide` on what that returns, both in order.
    """

    def __init__(
        self,
        site: Site,
        link: str,
        predictor: Predictor,
        normaliser_state: Mapping[str, NDArray[Any]],
        meeting: Meeting | None = None,
        *,
        sink: Sink | None = None,
        carried: CarriedState | None = None,
        refiner: Refiner | None = None,
        watched: Callable[[Predictor], Predictor] = lambda predictor: predictor,
    ) -> None:
        """Build the way of a link.

        meeting: of the link's bundle; without one the link is decided about by itself, by the site's policy; carried:
        where its states stand, if together with those of other links; watched: put around the predictor, and around
        those that a refiner brings into service.
        """
        check_predictor(predictor)
        self.refiner, self._watched, predictor = refiner, watched, watched(predictor)
        self.link, self.predictor, self.sink = site.link(link), predictor, sink
        self._alone = meeting is None
        if meeting is None:
            alone = Bundle(link, (self.link,))
            meeting = Meeting(site, alone)
        self.meeting = meeting
        self.windows = Windows(config_of(self.link), normaliser_state, self.link.lateness_ms)
        self.carried = carried or CarriedState(SERIES, predictor.state_size)
        self._quality = DataQuality()
        self._lost = [0, 0, 0]
        self._ledger = StreamLedger()
        self._step, self._last_bin = 0, 0
        self._seat: Seat | None = None

    @property
    def policy(self) -> Policy:
        """Who decides for the link's bundle."""
        return self.meeting.policy

    @property
    def ledger(self) -> StreamLedger:
        """The account of what came in and what became of it."""
        clock = self.windows.bins.state.clock
        self._ledger.rows, self._ledger.late = int(clock[ROWS]), int(clock[LATE])
        self._ledger.holes = self.windows.holes
        self._ledger.ahead, self._ledger.untimed = int(clock[AHEAD]), int(clock[UNTIMED])
        self._ledger.time_steps = int(clock[STEPS])
        self._ledger.untracked, self._ledger.devices_evicted = int(clock[UNTRACKED]), int(clock[EVICTED])
        return self._ledger

    @property
    def newest_ns(self) -> int:
        """The newest packet's time, 0 before the first."""
        return self.windows.bins.newest_ns

    @property
    def reached_ns(self) -> int:
        """The newest time of packet or clock, 0 before the first packet."""
        return self.windows.bins.reached_ns

    def update(self, batch: pa.RecordBatch) -> list[Command]:
        """Take one feature batch; return the commands that its closed bins cause."""
        return self.decide(self.windows.update(batch))

    def advance(self, now_ns: int) -> list[Command]:
        """Close the bins that are over by a live link's clock, though no packet came; return the commands they cause.

        Never called in a replay, which knows no time but the packets'.
        """
        return self.decide(self.windows.advance(now_ns))

    def close(self) -> list[Command]:
        """Close the open bins at the end of the input; return the commands they cause."""
        return self.decide(self.windows.close())

    def decide(self, windowed: Windowed) -> list[Command]:
        """Forecast the windows of one batch; return the commands that they cause, of other links of the bundle too."""
        if self.refiner is not None:
            return self._decide_refined(windowed, self.refiner)
        return self.conclude(windowed, predictions_of([Step(self, windowed)])[0])

    def conclude(self, windowed: Windowed, predictions: Sequence[Prediction]) -> list[Command]:
        """Return the commands that the windows of one batch cause with the predictions for them."""
        commands = self._note(windowed, predictions)
        return commands + self.meeting.decide()

    def _note(self, windowed: Windowed, predictions: Sequence[Prediction]) -> list[Command]:
        """Bring forecast windows to the meeting; return the commands of what waited where the link begins anew."""
        commands: list[Command] = []
        if self._seat is None:
            self._seat, commands = self.meeting.sit(self.link.name, self._ledger, self.sink)
        self._seat.sink = self.sink
        self._note_loss(windowed)
        for rows, prediction in zip(windowed.rows, predictions, strict=True):
            commands += self._follow(rows, self._seat)
            self._count(rows.closed)
            self.meeting.add(self._seat, self._part(rows, prediction))
            self._quality.reached(int(rows.closed.bin_number[-1]))
        if windowed.act is not None:
            windowed.act()
        if windowed.closed_until:
            self._seat.reached = windowed.closed_until
        return commands

    def _part(self, rows: WindowRows, prediction: Prediction) -> Part:
        """Return forecast windows as what is to be decided."""
        triggers = self.policy.may_trigger(self.link.name, prediction.probabilities, prediction.quantiles_ms)
        slots = np.unique(rows.closed.bin_number // SLOT_BINS).tolist()
        lost, self._lost = Lost(*self._lost), [0, 0, 0]
        model = ModelName(self.predictor.name, self.predictor.sha, self.predictor.horizon_ms)
        quality = {slot: self._quality.at(slot * SLOT_BINS) for slot in slots}
        asked = worth_asking(rows.closed, self.link) & triggers
        return Part(rows.closed, prediction, model, asked, quality, lost, rows.behind_hole, rows.step)

    def _decide_refined(self, windowed: Windowed, refiner: Refiner) -> list[Command]:
        """Decide as `decide` does, the rows cut where another model may begin to serve, and that model taken up."""
        commands = self._note(windowed._replace(rows=[], closed_until=0, act=None), [])
        for rows in windowed.rows:
            commands += self._follow(rows, self._seat)
            for part in refiner.parts(rows):
                if refiner.predictor.sha != self.predictor.sha:
                    self.predictor = self._watched(refiner.predictor)
                    self.carried.state[...] = refiner.carried()
                one = Windowed([part])
                predictions = predictions_of([Step(self, one)])[0]
                refiner.observe(part, predictions[0])
                commands += self._note(one, predictions)
        commands += self._note(Windowed([], closed_until=windowed.closed_until, act=windowed.act), [])
        return commands + self.meeting.decide()

    def _follow(self, rows: WindowRows, seat: Seat | None) -> list[Command]:
        """Begin anew where time went back before these rows: open moves, and labels, are of another time."""
        commands: list[Command] = []
        begins = int(rows.closed.bin_number[0])
        if rows.step != self._step:
            back_s = (self._last_bin - begins) / BINS_PER_S
            if not self._step:
                text = "link %s: the packets' time goes back by %.1f s and stays: the link begins anew (told once)"
                log.warning(text, self.link.name, back_s)
            self._step = rows.step
            if seat is not None:
                commands = self.meeting.begin_anew(seat)
            if self.refiner is not None:
                self.refiner.forget()
        self._last_bin = int(rows.closed.bin_number[-1])
        return commands

    def _count(self, closed: ClosedBins) -> None:
        self._ledger.bins += int(np.count_nonzero(closed.series == 0))
        self._ledger.series_begun += int(np.count_nonzero(closed.fresh))
        self._ledger.windows += len(closed.series)
        self._ledger.forecasts += len(closed.series)

    @property
    def quality(self) -> Quality:
        """The shares of packets decoded, shed, and dropped or missing, of the last seconds that were decided."""
        return self._quality.now

    @property
    def quality_counts(self) -> dict[str, int]:
        """All packets reported so far, by what became of them."""
        return dict(self._quality.totals)

    def _note_loss(self, windowed: Windowed) -> None:
        loss = windowed.loss or Loss()
        self._quality.note(loss, windowed.missing)
        if self.sink is not None:
            for place, count in enumerate((loss.captured, loss.shed, loss.dropped + windowed.missing)):
                self._lost[place] += count

    def state(self) -> dict[str, Any]:
        """Return everything that the next batch depends on: arrays and plain values, for a checkpoint.

        Ask for it between batches: when all that the windows returned has been decided.
        """
        return {
            **self.windows.state(),
            "carried": np.array(self.carried.state),
            "time": [self._step, self._last_bin],
            "seated": self._seat is not None,
            "quality": self._quality.state(),
            "ledger": self.ledger.as_dict(),
            **({"meeting": self.meeting.state()} if self._alone else {}),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the same batches give the same commands, to the byte."""
        self.windows.restore(state)
        self.carried.state[...] = state["carried"]
        self._step, self._last_bin = (int(each) for each in state["time"])
        self._quality.restore(state["quality"])
        self._ledger = StreamLedger.from_dict(state["ledger"])
        if state["seated"]:  # else it begins with its first bins, as where another recording follows an ended one
            self._seat, _ = self.meeting.sit(self.link.name, self._ledger, self.sink)
        self.windows.holes = self._ledger.holes
        if self._alone:
            self.meeting.restore(state["meeting"])


def config_of(link: Link) -> LinkConfig:
    """Return what the bins need of a link of a site."""
    networks = tuple(str(network) for network in link.devices)
    return LinkConfig(link.capacity_bps, link.capacity_down_bps, link.buffer_bytes, networks, buffer_ms=link.buffer_ms)


class Step(NamedTuple):
    """What is to be decided: the windows of one batch of a link."""

    pipeline: Pipeline
    windowed: Windowed

    @property
    def rows(self) -> int:
        """How many rows the model is to be asked for."""
        return sum(len(rows.x) for rows in self.windowed.rows)


def predictions_of(steps: Sequence[Step]) -> list[list[Prediction]]:
    """Return the predictions of each step, for `Pipeline.conclude`: of all links together, in as few calls as may be.

    The pipelines have the same predictor; the steps of one link stand in their order.
    """
    asks = [
        Ask(step.pipeline.carried, rows.x, rows.spectrum, rows.closed.series, rows.closed.fresh)
        for step in steps
        for rows in step.windowed.rows
    ]
    found = iter(predict_together(steps[0].pipeline.predictor, asks) if asks else ())
    return [list(islice(found, len(step.windowed.rows))) for step in steps]


def check_predictor(predictor: Predictor) -> None:
    """Refuse a model that was trained on other channels or bins than the stream makes. Raises ArtifactError."""
    for what, found, expected in (
        ("channels", tuple(predictor.channels), CHANNELS),
        ("spectrum size", predictor.spectrum_size, SPECTRUM_SIZE),
        ("bin length in ms", predictor.bin_ms, BIN_MS),
    ):
        if found != expected:
            raise ArtifactError(
                f"model {predictor.name}: {what} {found}, the stream makes {expected}; train the model again"
            )
