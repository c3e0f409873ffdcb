"""A live link: batches and pipeline over an open source; a signal, a limit or the interface ends it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from capture.block import PacketSource
from capture.dissector import Dissector
from decision.command import Command
from decision.policy import Policy
from decision.site import Site, default_site, load_site
from inference.artifact import DEFAULT_ARTIFACT, load_artifact
from inference.serve import open_predictor
from offramp_errors import OfframpError
from offramp_kernels import announce_compiling
from stream.live_batches import LiveBatches, ended_by_signals, listening, one_packet, say
from stream.pipeline import Pipeline, Sink
from stream.prefetch import prefetch
from stream.table import Table
from stream.tap import TapOptions
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

    def run(self) -> Iterator[Command]:
        """Yield every command of the link's packets, as they are decided."""
        for windowed, clock_ns in prefetch(self._windowed()):
            yield from self.pipeline.decide(windowed)
            if clock_ns and self.tick is not None:
                self.tick(clock_ns)
        yield from self.pipeline.close()

    def _windowed(self) -> Iterator[tuple[Windowed, int]]:
        """Yield what the model is shown, in a thread beside it, and the clock where it goes on without packets."""
        windows = self.pipeline.windows
        for item in prefetch(self.batches.read()):
            yield (windows.advance(item), item) if isinstance(item, int) else (windows.update(item), 0)


def watch(source: PacketSource, options: TapOptions, out: TextIO) -> None:
    """Run an opened interface through the pipeline until it is told to end; raise OfframpError where it failed."""
    announce_compiling()
    site = load_site(options.site) if options.site else default_site()
    if options.site is None:
        say(
            "no --site: the assumed link is 100 Mbit/s; what is foreseen is only as true as the capacity (docs/site.md)"
        )
    table = Table(lambda text: line(out, text), int(options.every_s * 1e9), 10_000_000)

    def level(factor: int) -> None:
        table.note = f"  1/{factor} of flows" if factor > 1 else ""

    with ExitStack() as stack:
        batches = stack.enter_context(listening(source, options.listen, site, "tap", level))
        told = table.update if options.form == "table" else None
        tap = assembled(batches, site, options.model, told, options.refine, options.refine_every_s)
        if tap.refining is not None:
            stack.callback(tap.refining.close)
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
    batches: LiveBatches, site: Site, model: Path | None, sink: Sink | None, refine: Path | None = None,
    refine_every_s: int = 60,
) -> Tap:  # fmt: skip
    """Return the tap of a link's batches, with a pipeline whose kernels are loaded and warm."""
    folder = model or DEFAULT_ARTIFACT
    artifact, predictor = load_artifact(folder), open_predictor(folder)

    def pipeline(told: Sink | None, refiner: Refiner | None = None) -> Pipeline:
        policy = Policy(site, batches.link)
        return Pipeline(site, batches.link, predictor, artifact.normaliser, policy, sink=told, refiner=refiner)

    warm = pipeline(None)
    for batch in Dissector("stream").dissect(one_packet()):
        warm.update(batch)
    warm.close()
    if refine is None:
        return Tap(batches, pipeline(sink))
    from stream.refiner import RefineSettings
    from stream.refining import Refining

    settings = RefineSettings(every_s=refine_every_s)
    refining = Refining(artifact, refine, site.name, wait=False, settings=settings)
    return Tap(batches, pipeline(sink, refining.of(batches.link)), refining=refining)


def line(out: TextIO, text: str) -> None:
    """Write a line of data at once: a live link's reader waits for it. Raises OutputError where that fails."""
    try:
        out.write(text + "\n")
        out.flush()
    except BrokenPipeError:
        raise  # the reader has seen enough: no error
    except OSError as error:
        raise OutputError(f"the data cannot be written: {error.strerror}") from error
