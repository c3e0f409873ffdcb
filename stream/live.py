"""A live link: batches and pipeline over an open source; a signal, a limit or the interface ends it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from capture.block import PacketSource
from capture.dissector import Dissector
from decision.command import Command
from decision.policy import Policy
from decision.site import Site, default_site, load_site
from inference.artifact import DEFAULT_ARTIFACT, load_artifact
from inference.serve import Predictor, open_predictor
from offramp_errors import OfframpError
from offramp_kernels import announce_compiling
from stream.channels import BIN_NS
from stream.live_batches import LiveBatches, ended_by_signals, listening, one_packet, say
from stream.metric_table import Observe, unobserved
from stream.metrics import Metrics
from stream.pipeline import Pipeline, Sink
from stream.prefetch import prefetch
from stream.readings import info, live_readings, pipeline_readings
from stream.table import Table
from stream.tap import TapOptions
from stream.timed_predictor import TimedPredictor
from stream.windows import Windowed

if TYPE_CHECKING:
    from stream.refiner import Refiner
    from stream.refining import Refining


class OutputError(OfframpError):
    """Where the data goes takes no more."""


@dataclass(slots=True)
class Tap:
    """One live interface's way to commands. `tick`, where set, is called with the clock in ns when no packet comes."""

    batches: LiveBatches
    pipeline: Pipeline
    tick: Callable[[int], None] | None = None
    refining: Refining | None = None
    observe: Observe = unobserved

    def run(self) -> Iterator[Command]:
        """Yield every command of the link's packets, as they are decided."""
        newest_ns = 0
        for windowed, clock_ns, newest_ns in prefetch(self._windowed()):
            yield from self._timed(self.pipeline.decide(windowed), clock_ns or newest_ns)
            if clock_ns and self.tick is not None:
                self.tick(clock_ns)
        yield from self._timed(self.pipeline.close(), newest_ns)

    def _timed(self, commands: list[Command], packet_ns: int) -> Iterator[Command]:
        """Yield commands, and take note of when whoever takes them is done with each."""
        for command in commands:
            yield command
            self.observe("offramp_packet_to_decision_seconds", time.time() - packet_ns / 1e9)

    def _windowed(self) -> Iterator[tuple[Windowed, int, int]]:
        """Yield what the model is shown, in a thread beside it; the believed clock, or 0 with packets; the newest."""
        windows = self.pipeline.windows
        for item in prefetch(self.batches.read()):
            if isinstance(item, int):
                windowed = windows.advance(item)
                yield windowed, min(item, windows.bins.reached_ns), windows.bins.newest_ns
                continue
            for windowed in windows.portions(item):
                yield windowed, 0, windows.bins.newest_ns


def watch(source: PacketSource, options: TapOptions, out: TextIO, metrics: Metrics | None = None) -> None:
    """Run an opened interface through the pipeline until it is told to end; raise OfframpError where it failed."""
    announce_compiling()
    site = load_site(options.site) if options.site else default_site()
    if options.site is None:
        say(
            "no --site: the assumed link is 100 Mbit/s; what is foreseen is only as true as the capacity (docs/site.md)"
        )
    table = Table(lambda text: line(out, text), int(options.every_s * 1e9), BIN_NS)

    def level(factor: int) -> None:
        table.note = f"  1/{factor} of flows" if factor > 1 else ""

    with ExitStack() as stack:
        batches = stack.enter_context(listening(source, options.listen, site, "tap", level))
        observe = metrics.observe if metrics else unobserved
        told = table.update if options.form == "table" else None
        tap = assembled(
            batches, site, options.model, told, observe, refine=options.refine, refine_every_s=options.refine_every_s
        )
        if tap.refining is not None:
            stack.callback(tap.refining.close)
        if metrics is not None:
            metrics.read_from(
                info("tap", site.name), partial(live_readings, batches), partial(pipeline_readings, tap.pipeline)
            )
        stack.enter_context(ended_by_signals(batches.intake))
        failures = written(tap, out, None if options.form == "jsonl" else table)
    refined = tap.refining.lines() if tap.refining else []
    say("\n".join([*batches.account(), *tap.pipeline.ledger.lines(), *refined]))
    failures += batches.failures(options.listen)
    if failures:
        raise OfframpError("; ".join(failures))


def written(tap: Tap, out: TextIO, table: Table | None) -> list[str]:
    """Run a tap and write its data, as a table or as JSON lines; return why that ended early, if it did."""
    try:
        if table is None:
            for command in tap.run():
                line(out, command.to_json())
            return []
        tap.tick = table.advance
        deque(tap.run(), maxlen=0)  # the table has the commands with their bins
        table.close()
    except OutputError as error:
        return [str(error)]
    return []


def assembled(
    batches: LiveBatches, site: Site, model: Path | None, sink: Sink | None, observe: Observe = unobserved, *,
    refine: Path | None = None, refine_every_s: int = 60,
) -> Tap:  # fmt: skip
    """Return the tap of a link's batches, with a pipeline whose kernels are loaded and warm."""
    folder = model or DEFAULT_ARTIFACT
    artifact, predictor = load_artifact(folder), open_predictor(folder)

    def pipeline(told: Sink | None, observe: Observe, refiner: Refiner | None = None) -> Pipeline:
        def watched(predictor: Predictor) -> Predictor:
            return predictor if observe is unobserved else TimedPredictor(predictor, observe)

        return Pipeline(
            site, batches.link, predictor, artifact.normaliser, Policy(site, batches.link),
            sink=told, refiner=refiner, watched=watched,
        )  # fmt: skip

    warm = pipeline(None, unobserved)
    for batch in Dissector("stream").dissect(one_packet()):
        warm.update(batch)
    warm.close()
    if refine is None:
        return Tap(batches, pipeline(sink, observe), observe=observe)
    from stream.refiner import RefineSettings
    from stream.refining import Refining

    settings = RefineSettings(every_s=refine_every_s)
    refining = Refining(artifact, refine, site.name, wait=False, settings=settings)
    return Tap(batches, pipeline(sink, observe, refining.of(batches.link)), refining=refining, observe=observe)


def line(out: TextIO, text: str) -> None:
    """Write a line of data at once: a live link's reader waits for it. Raises OutputError where that fails."""
    try:
        out.write(text + "\n")
        out.flush()
    except BrokenPipeError:
        raise  # the reader has seen enough: no error
    except OSError as error:
        raise OutputError(f"the data cannot be written: {error.strerror}") from error
