"""Replay: recorded packets through capture, stream, inference and decision in one process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from offramp.capture.ledger import CaptureLedger
from offramp.capture.sources.source import PacketSource
from offramp.decision.command import Command
from offramp.decision.site import Site
from offramp.inference.artifact import Artifact
from offramp.inference.serving.predictor import Predictor
from offramp.stream.local.link_batches import LinkBatches
from offramp.stream.local.link_choice import LinkChoice
from offramp.stream.local.marks import DatedMark
from offramp.stream.local.prefetch import prefetch
from offramp.stream.pipeline.ledger import StreamLedger
from offramp.stream.pipeline.meeting import Meetings
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.pipeline.timeline import LinkTimeline
from offramp.stream.windows.windows import Windowed

if TYPE_CHECKING:
    from offramp.stream.refine.refiners import Refiners

WINDOWS_AHEAD = 2
"""Portions of windows that may wait for the model."""


@dataclass(slots=True)
class Replay:
    """One pipeline and one dissector per link of the site, a policy per bundle, fed from one source.

    Reading, dissecting, windows (with the building of batches), and model with policy run in a thread each. `run`
    yields the commands in the order they were decided; afterwards the ledgers hold the account. marks: of what the site
    has, in the order of their bins.
    """

    source: PacketSource
    site: Site
    artifact: Artifact
    predictor: Predictor
    sink: Callable[[LinkTimeline], None] | None = None
    factor: float = 0.0
    refining: Refiners | None = None
    choice: LinkChoice | None = None
    dissector: str = "fast"
    marks: Sequence[DatedMark] = ()
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    batches: LinkBatches = field(init=False)
    _meetings: Meetings = field(init=False)
    _capacities: defaultdict[str, list[tuple[int, float, float]]] = field(init=False)

    def __post_init__(self) -> None:
        self._meetings = Meetings(self.site)
        self._capacities = defaultdict(list)
        for number, mark in self.marks:
            self._meetings.about(mark).expect(number, mark)
            if mark.kind == "capacity":
                self._capacities[mark.about].append((number, mark.members["up_bps"], mark.members["down_bps"]))
        self.batches = LinkBatches(self.source, self.site, "replay", self.factor, self.choice, self.dissector)

    def run(self) -> Iterator[Command]:
        """Yield every command of the source's packets; the last ones come with its end."""
        for pipeline, windowed in prefetch(self._windowed(), WINDOWS_AHEAD):
            yield from pipeline.decide(windowed)
        for pipeline in self.pipelines.values():
            yield from pipeline.close()
        yield from self._meetings.close()

    def capture_ledger(self) -> CaptureLedger:
        """Return the account of the packets, over all links."""
        return self.batches.ledger()

    def stream_ledger(self) -> StreamLedger:
        """Return the account of rows, bins, forecasts and commands, over all links."""
        total = StreamLedger()
        for pipeline in self.pipelines.values():
            total.add(pipeline.ledger)
        return total

    def mark_counts(self) -> tuple[int, int]:
        """Return how many marks were acted on, and how many were not, as nothing was decided from their time on."""
        return self._meetings.marks

    def _windowed(self) -> Iterator[tuple[Pipeline, Windowed]]:
        for link, item in self.batches.read():
            pipeline = self._pipeline(link)
            if isinstance(item, int):
                yield pipeline, pipeline.windows.advance(item)
                continue
            for windowed in pipeline.windows.portions(item):
                yield pipeline, windowed

    def _pipeline(self, link: str) -> Pipeline:
        if link not in self.pipelines:
            refiner = self.refining.of(link) if self.refining else None
            scale, meeting = self.artifact.normaliser, self._meetings.of(link)
            self.pipelines[link] = made = Pipeline(
                self.site, link, self.predictor, scale, meeting, sink=self.sink, refiner=refiner
            )
            for capacity in self._capacities[link]:
                made.windows.bins.expect_capacity(*capacity)
        return self.pipelines[link]
