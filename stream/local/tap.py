"""Live links: batches and pipelines over open sources; a signal, a limit or the interfaces end them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from offramp.capture.dissect.dissector import Dissector
from offramp.capture.sources.source import PacketSource
from offramp.cli.listen import settle
from offramp.cli.table import Table
from offramp.cli.tap import TapOptions
from offramp.decision.command import Command
from offramp.decision.policy import Policy
from offramp.decision.site import Site
from offramp.errors import OfframpError, OutputError
from offramp.inference.artifact import DEFAULT_ARTIFACT, Artifact, load_artifact
from offramp.inference.serving.predictor import Predictor
from offramp.inference.serving.table import open_predictor
from offramp.kernels import announce_compiling
from offramp.stream.channels import BIN_NS
from offramp.stream.local.live_batches import LiveBatches, accounts, ended_by_signals, listening, one_packet, site_of
from offramp.stream.local.prefetch import merged, prefetch
from offramp.stream.local.replay import warn
from offramp.stream.metrics.readings import info, live_readings, pipeline_readings
from offramp.stream.metrics.registry import Metrics, Reading
from offramp.stream.metrics.table import Observe, unobserved
from offramp.stream.metrics.timed_predictor import TimedPredictor
from offramp.stream.pipeline.pipeline import Pipeline, Sink
from offramp.stream.windows.windows import Windowed
from offramp.streams import tell

if TYPE_CHECKING:
    from offramp.stream.refine.refiner import Refiner
    from offramp.stream.refine.refiners import Refining


@dataclass(slots=True)
class Tap:
    """Live interfaces' way to commands: a pipeline a link, which `make` builds.

    `tick`, where set, is called when no packet comes, with the time in ns before which all links are told of.
    """

    sources: Sequence[LiveBatches]
    make: Callable[[str], Pipeline]
    tick: Callable[[int], None] | None = None
    refining: Refining | None = None
    observe: Observe = unobserved
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    _over: set[str] = field(default_factory=set)
    """Links of sources that have ended while others go on: time does not wait for them."""

    def __post_init__(self) -> None:
        for source in self.sources:
            for link in source.links.dissectors:
                self._pipeline(link)

    def run(self) -> Iterator[Command]:
        """Yield every command of the links' packets, as they are decided."""
        newest, reached = {}, {}
        for link, windowed, clock_ns, newest_ns in merged([self._windowed(source) for source in self.sources]):
            yield from self._timed(self.pipelines[link].decide(windowed), clock_ns or newest_ns)
            newest[link], reached[link] = newest_ns, max(newest_ns, clock_ns)
            if not reached[link]:
                del reached[link]  # it has no time, before its first packet: the others' lines do not wait for it
            if clock_ns and self.tick is not None:
                self.tick(min((at for each, at in reached.items() if each not in self._over), default=clock_ns))
        for link, pipeline in self.pipelines.items():
            yield from self._timed(pipeline.close(), newest.get(link, 0))

    def readings(self) -> Iterator[Reading]:
        """Yield what the pipelines did, for the metrics."""
        for pipeline in tuple(self.pipelines.values()):
            yield from pipeline_readings(pipeline)

    def account(self) -> list[str]:
        """Return the ledger as lines: of the only link, or one of each."""
        return accounts(self.sources, self._lines)

    def _lines(self, link: str) -> list[str]:
        return self.pipelines[link].ledger.lines() if link in self.pipelines else []

    def _pipeline(self, link: str) -> Pipeline:
        if link not in self.pipelines:
            self.pipelines[link] = self.make(link)
        return self.pipelines[link]

    def _timed(self, commands: list[Command], packet_ns: int) -> Iterator[Command]:
        """Yield commands, and take note of when whoever takes them is done with each; packet_ns: 0 where not known."""
        for command in commands:
            yield command
            if packet_ns:
                self.observe("offramp_packet_to_decision_seconds", time.time() - packet_ns / 1e9)

    def _windowed(self, source: LiveBatches) -> Iterator[tuple[str, Windowed, int, int]]:
        """Yield link, what the model is shown, the believed clock or 0 with packets, and the newest packet's time."""
        for link, item in prefetch(source.read()):
            windows = self._pipeline(link).windows
            if isinstance(item, int):
                windowed = windows.advance(item)
                yield link, windowed, min(item, windows.bins.reached_ns), windows.bins.newest_ns
                continue
            for windowed in windows.portions(item):
                yield link, windowed, 0, windows.bins.newest_ns
        self._over |= set(source.links.dissectors) if len(self.sources) > 1 else set()


def watch(sources: Sequence[PacketSource], options: TapOptions, out: TextIO, metrics: Metrics | None = None) -> None:
    """Run opened interfaces through the pipeline until they are told to end; raise OfframpError where one failed."""
    announce_compiling()
    loaded = Loaded.of(options.model or DEFAULT_ARTIFACT)
    site = site_of(options.site, [source.name for source in sources])
    if options.site is None:
        each = "each assumed link is" if len(site.links) > 1 else "the assumed link is"
        tell(f"no --site: {each} 100 Mbit/s; what is foreseen is only as true as the capacity (docs/site.md)")
    table = Table(lambda text: line(out, text), int(options.every_s * 1e9), BIN_NS)

    def level(factor: int) -> None:
        table.note = f"  1/{factor} of flows" if factor > 1 else ""

    loaded.warm(site)
    settle(options.listen)
    with ExitStack() as stack:
        found = stack.enter_context(listening(sources, options.listen, site, "tap", level))
        observe = metrics.observe if metrics else unobserved
        told = table.update if options.form == "table" else None
        tap = assembled(
            found, site, loaded, told, observe, refine=options.refine, refine_every_s=options.refine_every_s
        )
        if tap.refining is not None:
            stack.callback(tap.refining.close)
        if metrics is not None:
            metrics.read_from(
                info("tap", site.name), *(partial(live_readings, batches) for batches in found), tap.readings
            )
        stack.enter_context(ended_by_signals(*(batches.intake for batches in found)))
        failures = written(tap, out, None if options.form == "jsonl" else table)
    for text in (text for batches in found for text in batches.warnings()):
        warn(text)
    refined = tap.refining.lines() if tap.refining else []
    tell("\n".join([*tap.account(), *refined]))
    failures += [failure for batches in found for failure in batches.failures(options.listen)]
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


class Loaded(NamedTuple):
    """A model that was loaded."""

    artifact: Artifact
    predictor: Predictor

    @classmethod
    def of(cls, folder: Path) -> Loaded:
        """Load the model of a folder."""
        return cls(load_artifact(folder), open_predictor(folder))

    def warm(self, site: Site) -> None:
        """Run a made-up packet through a pipeline, so that its kernels are loaded."""
        link = site.links[0].name
        pipeline = Pipeline(site, link, self.predictor, self.artifact.normaliser, Policy(site, link))
        for batch in Dissector("stream").dissect(one_packet()):
            pipeline.update(batch)
        pipeline.advance(2_000_000_000)  # the clock's kernel, a second behind the packet
        pipeline.close()


def assembled(
    sources: Sequence[LiveBatches], site: Site, loaded: Loaded, sink: Sink | None, observe: Observe = unobserved, *,
    refine: Path | None = None, refine_every_s: int = 60,
) -> Tap:  # fmt: skip
    """Return the tap of live batches, with a pipeline a link."""
    artifact, predictor = loaded
    refining = None

    def pipeline(link: str, told: Sink | None, observe: Observe, refiner: Refiner | None = None) -> Pipeline:
        def watched(predictor: Predictor) -> Predictor:
            return predictor if observe is unobserved else TimedPredictor(predictor, observe)

        return Pipeline(
            site, link, predictor, artifact.normaliser, Policy(site, link), sink=told, refiner=refiner, watched=watched,
        )  # fmt: skip

    if refine is not None:
        from offramp.stream.refine.refiner import RefineSettings
        from offramp.stream.refine.refiners import Refining

        settings = RefineSettings(every_s=refine_every_s)
        refining = Refining(artifact, refine, site.name, wait=False, settings=settings)

    def make(link: str) -> Pipeline:
        return pipeline(link, sink, observe, refining.of(link) if refining is not None else None)

    return Tap(sources, make, refining=refining, observe=observe)


def line(out: TextIO, text: str) -> None:
    """Write a line of data at once: a live link's reader waits for it. Raises OutputError where that fails."""
    out.write(text + "\n")
    out.flush()
