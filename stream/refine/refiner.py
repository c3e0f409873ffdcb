"""Online refinement of one link's model: a challenger must beat the serving champion on the newest labelled windows.

Everything happens at ticks of event time (a second), whatever the batches: labels become known, drift is tested, and
every `every_s` a challenger is trained on what is older than the holdout, and scored on the holdout, which it never
saw. It serves only where it is better by a margin, with significance, and no worse than a bound on older windows kept
back and on the reference set, which no packet can change. After a swap the former champion is scored beside it, and
restored where it is better in the same way, or after a drift better at all. With `wait` the stream waits for training,
so that the same packets give the same swaps; without, it goes on, and the swap comes when training is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.errors import OfframpError
from offramp.inference.artifact import Artifact
from offramp.inference.forecast import BINS_PER_S, Prediction
from offramp.inference.refinement.challenger import ChallengerJob, Weights, blended, refined_artifact
from offramp.inference.refinement.drift import DriftWatch
from offramp.inference.refinement.paired_test import MIN_BLOCKS, PairedResult, Scored, block_losses, compare, row_losses
from offramp.inference.serving.compiled import CompiledPredictor
from offramp.stream.bins.state import SERIES, ClosedBins
from offramp.stream.channels import BIN_MS, CHANNELS, WINDOW_BINS
from offramp.stream.refine.events import RefineEvents
from offramp.stream.refine.reference_set import reference_set
from offramp.stream.refine.replay_buffer import BufferRows, ReplayBuffer, sequences
from offramp.stream.windows.normaliser import Normaliser
from offramp.stream.windows.windows import WindowRows

TICK = BINS_PER_S
"""Bins of a tick: a second."""

INPUTS = ("load_up", "load_down", "delay_peak")
"""Channels of the link that are watched for drift."""

_SEEN = [CHANNELS.index(name) for name in INPUTS]
_PEAK = CHANNELS.index("delay_peak")
PLAUSIBLE = 1e-3
"""How far the two computations of the same delay may differ, on the model's scale."""

BLENDS = (1.0, 0.7, 0.5)
"""Shares of the way from champion to refined weights: the largest that the reference set allows is taken."""

KEPT_BACK = 12
"""Pieces of older holdouts that are kept back."""


@dataclass(frozen=True, slots=True)
class RefineSettings:
    """How a model is refined. Seconds are of event time; shares are of losses, rows or lengths, as they say."""

    every_s: int = 60
    memory_s: int = 240
    least_s: int = 40
    holdout: float = 0.25
    margin: float = 0.02
    alpha: float = 0.05
    bound: float = 0.1
    device_share: float = 0.2
    watch_s: int = 10
    epochs: int = 3
    learning_rate: float = 5e-4
    update_share: float = 0.1


class Trainer(Protocol):
    """What makes challengers; see inference.refinement.challenger."""

    def submit(self, job: ChallengerJob) -> Any:
        """Begin to refine; return work with `ready()` and `get()`."""
        ...


@dataclass(slots=True)
class Running:
    """A challenger in training: its work, the first bin of its holdout, what it learns from, its seed."""

    work: Any
    holdout_from: int
    own: list[Any]
    seed: int


class Refiner:
    """Refines the model of one link; `predictor` is the champion, which the link's pipeline uses."""

    def __init__(
        self, artifact: Artifact, folder: Path, events: RefineEvents, trainer: Trainer, *,
        settings: RefineSettings | None = None, wait: bool = True,
    ) -> None:  # fmt: skip
        self.settings = settings or RefineSettings()
        self.artifact, self._folder, self.events, self._trainer, self._wait = artifact, folder, events, trainer, wait
        self.predictor = CompiledPredictor(artifact)
        self._horizon = self.predictor.horizon_ms // BIN_MS
        self.memory = ReplayBuffer(self._horizon, self.settings.memory_s * 1000 // BIN_MS)
        self._inputs, self._errors = DriftWatch(INPUTS), DriftWatch(("error",))
        self.rehearsal, self.reference = reference_set(artifact)
        self._allowed = (1 + self.settings.bound) * self._reference_loss(self.predictor)
        self._kept_back: list[Scored] = []
        self._former: tuple[Artifact, CompiledPredictor] | None = None
        self._tick = self._begun = self._swapped_at = self._rounds = 0
        self._due = 0
        self._running: Running | None = None
        self._mistrusted = 0
        limits = Normaliser.from_state(dict(artifact.normaliser)).limits()
        self._low, self._high = float(limits.low[_PEAK]), float(limits.high[_PEAK])
        self._width = max(self._high - self._low, 1e-9)
        self._fresh_rows: list[NDArray[np.float32]] = []

    def parts(self, rows: WindowRows) -> Iterator[WindowRows]:
        """Yield rows cut at ticks; what is due at a tick is done before the rows after it are yielded."""
        ticks = rows.closed.bin_number // TICK
        for part in np.split(np.arange(len(ticks)), np.flatnonzero(np.diff(ticks)) + 1):
            where = slice(int(part[0]), int(part[-1]) + 1)
            if int(ticks[where.start]) > self._tick:
                self._tick = int(ticks[where.start])
                self._on_tick(self._tick * TICK)
            cut = ClosedBins._make(array[where] for array in rows.closed)
            first = rows.behind_hole and where.start == 0
            yield rows._replace(closed=cut, x=rows.x[where], spectrum=rows.spectrum[where], behind_hole=first)

    def observe(self, rows: WindowRows, prediction: Prediction) -> None:
        """Remember rows and their forecasts; a delay that is not the one the model was shown gives no label."""
        peak = np.where(self.plausible(rows), rows.closed.queue_ms[:, 1], np.float32(np.nan))
        self._mistrusted += int(np.count_nonzero(np.isnan(peak)))
        self.memory.add(rows, prediction, peak)
        self._fresh_rows.append(rows.x[rows.closed.series == 0][:, _SEEN])

    def plausible(self, rows: WindowRows) -> NDArray[np.bool_]:
        """Return for each row whether the delay that labels are made from is the delay among the model's inputs.

        Both come from the virtual queue, by different ways; altering one to mislead training does not alter the other.
        """
        scaled = (np.clip(np.log1p(rows.closed.queue_ms[:, 1]), self._low, self._high) - self._low) / self._width
        return np.abs(scaled - rows.x[:, _PEAK]) < PLAUSIBLE

    def carried(self) -> NDArray[np.float32]:
        """Return the champion's state of every series, from the rows remembered: float32 [SERIES, state_size]."""
        state = np.zeros((SERIES, self.predictor.state_size), np.float32)
        rows = self.memory.rows
        if rows is not None:
            for series in np.unique(rows.series):
                own = np.flatnonzero(rows.series == series)
                begins = np.flatnonzero(rows.fresh[own])
                own = own[begins[-1] :] if len(begins) else own
                place = np.full(len(own), series, np.int32)
                self.predictor.predict(rows.x[own], rows.spectrum[own], place, state)
        return state

    def take_up(self, artifact: Artifact) -> None:
        """Let a model from elsewhere serve; in service the former one is watched beside it, as after a swap.

        The bound on the reference set stays that of the model which service began with.
        """
        self._former = (self.artifact, self.predictor) if self._begun else None
        self.artifact, self.predictor = artifact, CompiledPredictor(artifact)
        self._swapped_at, self._running, self._errors = self._tick * TICK, None, DriftWatch(("error",))

    def forget(self) -> None:
        """Start over with another recording, whose times may lie before: rows are forgotten, the champion stays."""
        self.memory = ReplayBuffer(self._horizon, self.settings.memory_s * 1000 // BIN_MS)
        self._inputs, self._errors = DriftWatch(INPUTS), DriftWatch(("error",))
        self._tick = self._begun = self._swapped_at = self._due = self._mistrusted = 0
        self._former = self._running = None
        self._fresh_rows.clear()

    def _on_tick(self, now: int) -> None:
        """Do what is due when all bins before `now` are closed."""
        new = self.memory.label(now)
        if self._mistrusted:
            self.events.record("mistrusted", now, {"rows": self._mistrusted, "model": self.artifact.sha})
            self._mistrusted = 0
        if new is None:
            return
        if not self._begun:
            self._begun = int(new.bin_number[0]) if len(new.series) else now
            self._due = self._begun + self.settings.least_s * 1000 // BIN_MS
        drifted = self._look_for_drift(now, new)
        if self._former is not None:
            self._watch_former(now, drifted, *self._former)
        if self._running is not None and self._running.work.ready():
            self._decide(now, self._running)
        if self._running is None and (now >= self._due or (drifted and self._remembered(now) >= self._least)):
            self._running = self._challenge(now)
            if self._wait and self._running is not None:
                self._decide(now, self._running)

    def _look_for_drift(self, now: int, new: BufferRows) -> bool:
        """Record drifts; return whether the errors drifted upwards, or an input did."""
        link = new.only(new.series == 0)
        errors = row_losses(
            link.label_ms, Prediction(link.probabilities, link.quantiles_ms), self.predictor.thresholds_ms
        )
        inputs = np.concatenate(self._fresh_rows) if self._fresh_rows else np.empty((0, len(INPUTS)), np.float32)
        self._fresh_rows.clear()
        worse = False
        for drift in (*self._inputs.update(inputs), *self._errors.update(errors[:, None])):
            data = {"signal": drift.signal, "before": round(drift.before, 6), "after": round(drift.after, 6)}
            self.events.record("drifted", now, data | {"model": self.artifact.sha})
            worse |= drift.signal != "error" or drift.after > drift.before
        return worse

    @property
    def _least(self) -> int:
        return self.settings.least_s * 1000 // BIN_MS

    def _remembered(self, now: int) -> int:
        """Return how many bins are remembered."""
        rows = self.memory.rows
        return now - int(rows.bin_number[0]) if rows is not None else 0

    def _challenge(self, now: int) -> Running | None:
        """Begin to train a challenger on enough data older than the holdout, without what was kept back."""
        settings, known = self.settings, now - self._horizon
        self._due = now + settings.every_s * 1000 // BIN_MS
        begin = max(now - self._remembered(now), self._begun)
        holdout_from = known - int(settings.holdout * (known - begin))
        before = holdout_from - self._horizon - WINDOW_BINS
        own = [
            each for each in self.memory.scored(begin, before, settings.device_share)
            if len(each.bins) >= WINDOW_BINS
        ]  # fmt: skip
        for each in own:
            for kept in self._kept_back:
                each.sequence.label_ms[np.isin(each.bins, kept.bins)] = np.nan
        rows = sum(int(np.count_nonzero(~np.isnan(each.sequence.label_ms))) for each in own)
        if rows < self._least // 2:
            return None
        self._rounds += 1
        job = ChallengerJob(
            self.artifact.weights, self.artifact.manifest, sequences(own), self.rehearsal, self._rounds,
            settings.epochs, settings.learning_rate, settings.update_share,
        )  # fmt: skip
        return Running(self._trainer.submit(job), holdout_from, sequences(own), self._rounds)

    def _decide(self, now: int, running: Running) -> None:
        """Score a trained challenger; let it serve, or record why not."""
        settings, self._running = self.settings, None
        record: dict[str, Any] = {"from": self.artifact.sha, "round": running.seed}
        weights, challenger = self._restrained(running.work.get(), record)
        holdout = self._holdout(running.holdout_from, now)
        verdict = compare(
            block_losses(self.predictor, holdout), block_losses(challenger, holdout),
            margin=settings.margin, alpha=settings.alpha,
        )  # fmt: skip
        record["newest"] = verdict.as_dict()
        why = self._objection(challenger, verdict, record)
        self._keep_back(holdout)
        if why:
            self.events.record("refused", now, record | {"reason": why})
            return
        try:
            artifact, folder = refined_artifact(
                self.artifact, weights, self._folder / "models", running.own, running.seed, {**record}
            )
        except (OfframpError, OSError) as error:  # what cannot be saved does not serve: it could not be restored
            self.events.record("refused", now, record | {"reason": f"cannot be written: {error}"})
            return
        self._former = (self.artifact, self.predictor)
        self.artifact, self.predictor, self._swapped_at = artifact, CompiledPredictor(artifact), now
        self._errors = DriftWatch(("error",))
        self.events.record("swapped", now, record | {"to": artifact.sha, "artifact": folder.name})

    def _restrained(self, weights: Weights, record: dict[str, Any]) -> tuple[Weights, CompiledPredictor]:
        """Return the challenger as far from the champion as the reference set allows; record how far, and its loss."""
        for share in BLENDS:
            blend = blended(self.artifact.weights, weights, share)
            challenger = CompiledPredictor(replace(self.artifact, weights=blend))
            reference = self._reference_loss(challenger)
            if reference <= self._allowed:
                break
        record["reference"] = {"challenger": round(reference, 6), "allowed": round(self._allowed, 6)}
        record["blend"] = share
        return blend, challenger

    def _objection(self, challenger: CompiledPredictor, verdict: PairedResult, record: dict[str, Any]) -> str:
        """Return why the challenger may not serve; empty where it may. Adds the scores to `record`."""
        if verdict.blocks < MIN_BLOCKS:
            return "too few blocks in the holdout"
        if not verdict.better:
            return "not better on the newest windows"
        if not record["reference"]["challenger"] <= record["reference"]["allowed"]:
            return "worse on the reference set"
        if self._kept_back:
            older = compare(block_losses(self.predictor, self._kept_back), block_losses(challenger, self._kept_back))
            record["older"] = older.as_dict()
            if older.challenger > (1 + self.settings.bound) * older.champion:
                return "worse on older windows"
        return ""

    def _watch_former(self, now: int, drifted: bool, artifact: Artifact, predictor: CompiledPredictor) -> None:
        """Restore the former champion where it is better since the swap; drop it at the end of its time."""
        settings, since = self.settings, now - self._swapped_at
        if not drifted and since % (settings.watch_s * 1000 // BIN_MS):
            return
        scored = self._holdout(self._swapped_at, now)
        served, former = (block_losses(one, scored) for one in (self.predictor, predictor))
        verdict = compare(served, former, margin=settings.margin, alpha=settings.alpha)
        harm = verdict.better
        if harm or (drifted and verdict.blocks >= MIN_BLOCKS and verdict.challenger < verdict.champion):
            reason = "harm" if harm else "drift"
            data = {"from": self.artifact.sha, "to": artifact.sha, "reason": reason, "newest": verdict.as_dict()}
            self.artifact, self.predictor, self._former = artifact, predictor, None
            self._due = now + 2 * settings.every_s * 1000 // BIN_MS
            self.events.record("rolled_back", now, data)
        elif since >= 2 * settings.every_s * 1000 // BIN_MS:
            self._former = None

    def _holdout(self, first_bin: int, now: int) -> list[Scored]:
        """Return the remembered series, of which rows from `first_bin` on are scored."""
        begin = now - self._remembered(now)
        return self.memory.scored(begin, now, self.settings.device_share, score_from=first_bin)

    def _keep_back(self, holdout: list[Scored]) -> None:
        """Keep a piece of the link's holdout back from all training, for later challengers."""
        for each in holdout[:1]:
            last = slice(max(0, len(each.bins) - 4 * TICK - self._horizon), len(each.bins) - self._horizon)
            sequence = each.sequence
            cut = type(sequence)(sequence.x[last], sequence.spectrum[last], sequence.label_ms[last].copy(), "kept")
            if len(cut.x) > 2 * WINDOW_BINS:
                self._kept_back.append(Scored(cut, each.bins[last], WINDOW_BINS))
        del self._kept_back[:-KEPT_BACK]

    def _reference_loss(self, predictor: CompiledPredictor) -> float:
        return float(block_losses(predictor, self.reference).mean())
