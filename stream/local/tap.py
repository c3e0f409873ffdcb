"""Live links in one process: run the batches of open sources through a pipeline each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from offramp.capture.dissect.dissector import Dissector
from offramp.decision.command import Command
from offramp.decision.site import Site
from offramp.inference.artifact import Artifact, load_artifact
from offramp.inference.serving.predictor import Predictor
from offramp.inference.serving.table import open_backend
from offramp.stream.local.followed_file import FollowedFile
from offramp.stream.local.live_batches import LiveBatches, ignore, one_packet
from offramp.stream.local.marks import LiveMarks
from offramp.stream.local.prefetch import merged, prefetch
from offramp.stream.metrics.readings import pipeline_readings
from offramp.stream.metrics.registry import Reading
from offramp.stream.metrics.table import Observe, unobserved
from offramp.stream.metrics.timed_predictor import TimedPredictor
from offramp.stream.pipeline.meeting import Meetings, Sink
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.windows.windows import ENDED, Windowed

if TYPE_CHECKING:
    from offramp.stream.refine.refiner import Refiner
    from offramp.stream.refine.refiners import Refiners


AWAY_BINS = 100
"""A link of which nothing is heard for a second, neither packets nor a clock, is not waited for until it has bins."""


@dataclass(slots=True)
class Tap:
    """Processes live interfaces to commands: a pipeline per link, which `make` builds, a policy per bundle.

    `tick`, where set, is called when no packet comes, with a time in ns that all links have reached.
    """

    sources: Sequence[LiveBatches]
    make: Callable[[str], Pipeline]
    tick: Callable[[int], None] | None = None
    refining: Refiners | None = None
    observe: Observe = unobserved
    marks: LiveMarks | None = None
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
        self._read_marks()
        for link, windowed, clock_ns, newest_ns in merged([self._windowed(source) for source in self.sources]):
            self._read_marks()
            commands = self.pipelines[link].decide(windowed)
            commands += self.pipelines[link].meeting.release(AWAY_BINS)
            yield from self._timed(commands, clock_ns or newest_ns)
            newest[link], reached[link] = newest_ns, max(newest_ns, clock_ns)
            if not reached[link]:
                del reached[link]  # it has no time, before its first packet: the others' lines do not wait for it
            if clock_ns and self.tick is not None:
                self.tick(min((at for each, at in reached.items() if each not in self._over), default=clock_ns))
        for link, pipeline in self.pipelines.items():
            yield from self._timed(pipeline.close(), newest.get(link, 0))
        for meeting in {id(pipeline.meeting): pipeline.meeting for pipeline in self.pipelines.values()}.values():
            yield from meeting.decide(ENDED)

    def readings(self) -> Iterator[Reading]:
        """Yield what the pipelines did, for the metrics."""
        for pipeline in tuple(self.pipelines.values()):
            yield from pipeline_readings(pipeline)
        if self.marks is not None:
            yield "offramp_tap_marks_total", self.marks.meetings.marks[0], ()
            yield "offramp_tap_refused_marks_total", self.marks.refused, ()

    def lines(self, link: str) -> list[str]:
        """Return a link's account, from its bins on, as lines."""
        return self.pipelines[link].ledger.lines() if link in self.pipelines else []

    def _read_marks(self) -> None:
        if self.marks is not None:
            self.marks.read()

    def _pipeline(self, link: str) -> Pipeline:
        if link not in self.pipelines:
            self.pipelines[link] = self.make(link)
            self.pipelines[link].meeting.leave(*self.pipelines)
        return self.pipelines[link]

    def _timed(self, commands: list[Command], packet_ns: int) -> Iterator[Command]:
        """Yield commands, and record how long after its packets each is taken; packet_ns: 0 where not known."""
        for command in commands:
            yield command
            if packet_ns:
                self.observe("offramp_packet_to_decision_seconds", time.time() - packet_ns / 1e9)

    def _windowed(self, source: LiveBatches) -> Iterator[tuple[str, Windowed, int, int]]:
        """Yield link, what the model is shown, the believed clock or 0 with packets, and the newest packet's time."""
        for link, item in prefetch(source.read()):
            windows = self._pipeline(link).windows
            for act in self.marks.take(link, windows.bins) if self.marks is not None else ():
                yield link, Windowed([], act=act), 0, windows.bins.newest_ns
            if isinstance(item, int):
                windowed = windows.advance(item)
                yield link, windowed, min(item, windows.bins.reached_ns), windows.bins.newest_ns
                continue
            for windowed in windows.portions(item):
                yield link, windowed, 0, windows.bins.newest_ns
        for link in source.links.dissectors if len(self.sources) > 1 else ():
            windows = self.pipelines[link].windows
            yield link, windows.close(), 0, windows.bins.newest_ns  # nobody waits for it any more
            self._over.add(link)


class LoadedModel(NamedTuple):
    """A model that was loaded."""

    artifact: Artifact
    predictor: Predictor

    @classmethod
    def of(cls, folder: Path) -> LoadedModel:
        """Load the model of a folder."""
        artifact = load_artifact(folder)
        return cls(artifact, open_backend("compiled", artifact))

    def warm(self, site: Site) -> None:
        """Run a made-up packet through a pipeline, so that its kernels are loaded."""
        link = site.links[0].name
        pipeline = Pipeline(site, link, self.predictor, self.artifact.normaliser)
        for batch in Dissector("stream").dissect(one_packet()):
            pipeline.update(batch)
        pipeline.advance(2_000_000_000)  # the clock's kernel, a second behind the packet
        pipeline.close()


def assembled(
    sources: Sequence[LiveBatches], site: Site, loaded: LoadedModel, sink: Sink | None, observe: Observe = unobserved,
    *,
    refine: Path | None = None, refine_every_s: int = 60, marks: FollowedFile | None = None,
    warn: Callable[[str], None] = ignore,
) -> Tap:  # fmt: skip
    """Return the tap of live batches, with a pipeline a link.

    marks: a file of them; warn: told of what of it is none.
    """
    artifact, predictor = loaded
    refiners, meetings = None, Meetings(site)

    def pipeline(link: str, timeline_sink: Sink | None, observe: Observe, refiner: Refiner | None = None) -> Pipeline:
        def watched(predictor: Predictor) -> Predictor:
            return predictor if observe is unobserved else TimedPredictor(predictor, observe)

        return Pipeline(
            site, link, predictor, artifact.normaliser, meetings.of(link), sink=timeline_sink, refiner=refiner,
            watched=watched,
        )  # fmt: skip

    if refine is not None:
        from offramp.stream.refine.refiner import RefineSettings
        from offramp.stream.refine.refiners import Refiners

        settings = RefineSettings(every_s=refine_every_s)
        refiners = Refiners(artifact, refine, site.name, wait=False, settings=settings)

    def make(link: str) -> Pipeline:
        return pipeline(link, sink, observe, refiners.of(link) if refiners is not None else None)

    followed = LiveMarks(marks, site, meetings, warn) if marks is not None else None
    return Tap(sources, make, refining=refiners, observe=observe, marks=followed)
