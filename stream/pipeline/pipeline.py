"""The pipeline: feature batches in, commands out. Replay, tap and the Kafka worker run this same object.

windows (bins -> normalise -> spectrum) -> model (one step per bin with carried state) -> policy. What comes out depends
on the packets alone: not on the cut into batches, not on the clock, not on how far the windows run ahead of the model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from offramp.decision.command import Command
from offramp.decision.policies.policy import Policy
from offramp.decision.reroute import MIN_SHARE
from offramp.decision.site import Link, Site
from offramp.decision.traffic import Quality
from offramp.errors import ArtifactError
from offramp.inference.forecast import BINS_PER_S, Forecast
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
from offramp.stream.channels import BIN_MS, BIN_NS, CHANNELS, SPECTRUM_SIZE, WINDOW_BINS
from offramp.stream.pipeline.carried_state import Ask, CarriedState, predict_together
from offramp.stream.pipeline.data_quality import DataQuality
from offramp.stream.pipeline.ledger import StreamLedger
from offramp.stream.pipeline.timeline import BinContext, LinkTimeline, Lost
from offramp.stream.pipeline.traffic import address_text, traffic_of
from offramp.stream.windows.loss import Loss
from offramp.stream.windows.windows import Windowed, WindowRows, Windows

if TYPE_CHECKING:
    from offramp.inference.forecast import Prediction
    from offramp.inference.serving.predictor import Predictor
    from offramp.stream.refine.refiner import Refiner

log = logging.getLogger("offramp.stream")

Sink = Callable[[LinkTimeline], None]

Moved = tuple[int, int, float]
"""From a row on: how many flows and devices are moved, and the bits per second that they had when they were chosen."""


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
        policy: Policy,
        *,
        sink: Sink | None = None,
        carried: CarriedState | None = None,
        refiner: Refiner | None = None,
        watched: Callable[[Predictor], Predictor] = lambda predictor: predictor,
    ) -> None:
        """Build the way of a link.

        carried: where its states stand, if together with those of other links; watched: put around the predictor, and
        around those that a refiner brings into service.
        """
        check_predictor(predictor)
        self.refiner, self._watched, predictor = refiner, watched, watched(predictor)
        self.link, self.policy, self.sink, self.predictor = site.link(link), policy, sink, predictor
        self.windows = Windows(config_of(self.link), normaliser_state, self.link.lateness_ms)
        self.carried = carried or CarriedState(SERIES, predictor.state_size)
        self._quality = DataQuality()
        self._lost = [0, 0, 0]
        self._ledger = StreamLedger()
        self._step, self._last_bin = 0, 0
        self._unmoved = policy.state()

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
        """Forecast the windows of one batch; return the commands that they cause."""
        if self.refiner is not None:
            return self._decide_refined(windowed, self.refiner)
        return self.conclude(windowed, predictions_of([Step(self, windowed)])[0])

    def conclude(self, windowed: Windowed, predictions: Sequence[Prediction]) -> list[Command]:
        """Return the commands that the windows of one batch cause with the predictions for them."""
        self._note_loss(windowed)
        commands: list[Command] = []
        for rows, prediction in zip(windowed.rows, predictions, strict=True):
            self._follow(rows)
            self._count(rows.closed)
            moved: list[Moved] = [(0, *self.policy.moved)]
            found = self._commands(rows.closed, prediction, moved)
            self._quality.reached(int(rows.closed.bin_number[-1]))
            self._tell(rows, prediction, found, moved)
            commands += found
        for command in commands:
            self._ledger.commands[str(command.action["type"])] += 1
        return commands

    def _decide_refined(self, windowed: Windowed, refiner: Refiner) -> list[Command]:
        """Decide as `decide` does, the rows cut where another model may begin to serve, and that model taken up."""
        commands = self.conclude(windowed._replace(rows=[]), [])
        for rows in windowed.rows:
            self._follow(rows)
            for part in refiner.parts(rows):
                if refiner.predictor.sha != self.predictor.sha:
                    self.predictor = self._watched(refiner.predictor)
                    self.carried.state[...] = refiner.carried()
                one = Windowed([part])
                predictions = predictions_of([Step(self, one)])[0]
                refiner.observe(part, predictions[0])
                commands += self.conclude(one, predictions)
        return commands

    def _follow(self, rows: WindowRows) -> None:
        """Begin anew where time went back before these rows: open moves, and labels, are of another time."""
        begins = int(rows.closed.bin_number[0])
        if rows.step != self._step:
            back_s = (self._last_bin - begins) / BINS_PER_S
            if not self._step:
                text = "link %s: the packets' time goes back by %.1f s and stays: the link begins anew (told once)"
                log.warning(text, self.link.name, back_s)
            self._step = rows.step
            self.policy.restore(self._unmoved)
            if self.refiner is not None:
                self.refiner.forget()
        self._last_bin = int(rows.closed.bin_number[-1])

    def _count(self, closed: ClosedBins) -> None:
        self._ledger.bins += int(np.count_nonzero(closed.series == 0))
        self._ledger.series_begun += int(np.count_nonzero(closed.fresh))
        self._ledger.windows += len(closed.series)
        self._ledger.forecasts += len(closed.series)

    def _tell(self, windowed: WindowRows, prediction: Prediction, commands: list[Command], moved: list[Moved]) -> None:
        if self.sink is None:
            return
        rows, link = windowed.closed, windowed.closed.series == 0
        context = BinContext(
            rows.queue_ms[link, 1], self._quality.shares(rows.bin_number[link]), *moved_at(link, moved)
        )
        lost, self._lost = Lost(*self._lost), [0, 0, 0]
        self.sink(
            LinkTimeline(
                self.link.name,
                (rows.bin_number[link] + 1) * BIN_NS,
                rows.load[link, 0],
                rows.load[link, 1],
                rows.queue_ms[link, 0],
                prediction.probabilities[link],
                prediction.quantiles_ms[link],
                tuple(commands),
                lost,
                windowed.behind_hole,
                windowed.step,
                context,
            )
        )

    def _commands(self, rows: ClosedBins, prediction: Prediction, moved: list[Moved]) -> list[Command]:
        """Ask the policy where something can change: a forecast that may open a move, a scope that has one open.

        moved: takes what is moved from each row on that was asked for.
        """
        worth = (rows.series == 0) | (rows.rate_bps >= MIN_SHARE * self.link.capacity_bps)
        asked = worth & self.policy.may_trigger(prediction.probabilities, prediction.quantiles_ms)
        commands: list[Command] = []
        if not (self.policy.open_scopes or asked.any()):
            return commands
        forecast_rows = ForecastRows.of(rows, prediction)
        start = 0
        while start < len(asked):
            row = self._next_row(asked, start)
            if row < 0:
                break
            start = row + 1
            scope = self._scope(forecast_rows, row)
            if not asked[row] and scope not in self.policy.open_scopes:
                continue
            self._ledger.decided += 1
            forecast, quality = (
                self._forecast(forecast_rows, row, scope),
                self._quality.at(forecast_rows.bin_number[row]),
            )
            commands += self.policy.decide(forecast, partial(traffic_of, rows, row, self.link), quality)
            moved.append((row, *self.policy.moved))
        return commands

    def _next_row(self, asked: NDArray[np.bool_], start: int) -> int:
        """Return the next row to look at: every row while moves are open, else the next that is asked for; or -1."""
        if self.policy.open_scopes:
            return start
        ahead = int(np.argmax(asked[start:]))
        return start + ahead if asked[start + ahead] else -1

    def _scope(self, forecast_rows: ForecastRows, row: int) -> str:
        if forecast_rows.series[row] == 0:
            return self.policy.scope
        return f"device:{self.link.name}/{address_text(forecast_rows.key[2 * row], forecast_rows.key[2 * row + 1])}"

    def _forecast(self, forecast_rows: ForecastRows, row: int, scope: str) -> Forecast:
        end_ns = (forecast_rows.bin_number[row] + 1) * BIN_NS
        normal, medium, high = forecast_rows.probabilities[3 * row : 3 * row + 3]
        middle, most, nearly_all = forecast_rows.quantiles_ms[3 * row : 3 * row + 3]
        return Forecast(
            scope=scope,
            window_start_ns=end_ns - WINDOW_BINS * BIN_NS,
            window_end_ns=end_ns,
            horizon_ms=self.predictor.horizon_ms,
            probabilities=(normal, medium, high),
            quantiles_ms=(middle, most, nearly_all),
            bin_end_ms=forecast_rows.bin_end_ms[row],
            model=self.predictor.name,
            model_sha=self.predictor.sha,
        )

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
            "policy": self.policy.state(),
            "time": [self._step, self._last_bin],
            "quality": self._quality.state(),
            "ledger": self.ledger.as_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the same batches give the same commands, to the byte."""
        self.windows.restore(state)
        self.carried.state[...] = state["carried"]
        self.policy.restore(state["policy"])
        self._step, self._last_bin = (int(each) for each in state["time"])
        self._quality.restore(state["quality"])
        self._ledger = StreamLedger.from_dict(state["ledger"])
        self.windows.holes = self._ledger.holes


def config_of(link: Link) -> LinkConfig:
    """Return what the bins need of a link of a site."""
    networks = tuple(str(network) for network in link.devices)
    return LinkConfig(link.capacity_bps, link.capacity_down_bps, link.buffer_bytes, networks, buffer_ms=link.buffer_ms)


class ForecastRows(NamedTuple):
    """Forecasts of closed bins as plain numbers: reading them from an array takes ten times as long.

    A row has two numbers of `key`, three of `probabilities` and of `quantiles_ms`, one of the others.
    """

    bin_number: list[int]
    series: list[int]
    key: list[int]
    probabilities: list[float]
    quantiles_ms: list[float]
    bin_end_ms: list[float]

    @classmethod
    def of(cls, rows: ClosedBins, prediction: Prediction) -> ForecastRows:
        """Return the numbers of rows and of the predictions for them."""
        return cls(
            rows.bin_number.tolist(), rows.series.tolist(), rows.key.ravel().tolist(),
            prediction.probabilities.ravel().tolist(), prediction.quantiles_ms.ravel().tolist(),
            rows.queue_ms[:, 0].tolist(),
        )  # fmt: skip


def moved_at(which: NDArray[np.bool_], moved: Sequence[Moved]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return at the rows of a mask what is moved once each is decided: int32 [n] how much, float32 [n] its rate."""
    since, counts, rates = zip(*moved, strict=True)
    if len(moved) == 1:
        n = np.count_nonzero(which)
        return np.full(n, counts[0], np.int32), np.full(n, rates[0], np.float32)
    at = np.searchsorted(np.array(since), np.flatnonzero(which), "right") - 1
    return np.array(counts, np.int32)[at], np.array(rates, np.float32)[at]


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
