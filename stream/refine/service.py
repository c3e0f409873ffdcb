"""Refinement as a service: read the features of a site, and publish each new champion to the topic `models`.

It is no member of the workers' group and commits nothing, so it can neither take a partition from them nor move their
offsets. It waits for each challenger, as in a replay, while messages wait with Kafka; so the same messages give the
same swaps whenever they are read. A federated model of the site serves as it comes, and is watched as after a swap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from offramp.capture.message.decode import RefusedError, decode_message
from offramp.capture.message.mark import HEADER
from offramp.decision.site import Site
from offramp.errors import ArtifactError, ConfigError
from offramp.inference.artifact import Artifact, require_like
from offramp.kafka import KafkaAccessError, KafkaRefusedError
from offramp.stream.channels import BIN_MS
from offramp.stream.links.link_consumer import LinkConsumer
from offramp.stream.pipeline.pipeline import Pipeline, Step
from offramp.stream.refine.refiner import Refiner
from offramp.stream.refine.refiners import Refiners
from offramp.stream.topics.model_message import ModelMessage
from offramp.stream.topics.model_topic import ModelPublisher, readable
from offramp.stream.topics.records import pairs_of
from offramp.streams import tell

LEAD = 2_000 // BIN_MS
"""Bins from the newest seen to the first that a published model is meant for."""


class RefineService:
    """Refines the model of each link of a site; `take` is given the messages of the feature topic in order."""

    def __init__(
        self, site: Site, artifact: Artifact, folder: Path, refiners: Refiners, publisher: ModelPublisher,
        known: dict[str, ModelMessage],
    ) -> None:  # fmt: skip
        """Build it; artifact, folder: the model to begin with; known: the newest models by site/link."""
        self.site, self.base, self._folder, self._refining = site, artifact, folder, refiners
        self._links = frozenset(link.name for link in site.links)
        self._publisher, self._known = publisher, known
        self._runs: dict[str, tuple[LinkConsumer, Refiner]] = {}
        self._at: dict[str, Pipeline] = {}
        self.counts: Counter[str] = Counter()

    def take(self, record: Any) -> None:
        """Take a message of the feature topic; one of another site, or that cannot be read, is counted.

        Nothing that a message holds may end the service; only errors that the next one would meet, too, are raised: a
        broker that is away, a folder that cannot be written.
        """
        try:
            if HEADER in dict(pairs_of(record.headers)):
                self.counts["marks, which teach nothing"] += 1
                return
            message = decode_message(record.key, pairs_of(record.headers), record.value, site=self.site.name)
            if message is None or message.link not in self._links:
                self.counts["of other sites or links"] += 1
                return
            self.counts["taken"] += 1
            consumer, refiner = self._of(message.link)
            self._learn(consumer.accept(message, record.offset), message.link, refiner)
        except RefusedError:
            self.counts["refused"] += 1
        except (KafkaAccessError, ConfigError):
            raise
        except Exception as error:
            self.counts["failed"] += 1
            place = f"{record.topic}/{record.partition}/{record.offset}"
            tell(f"warning: {place}: {type(error).__name__}: {error}")

    def _learn(self, steps: Sequence[Step], link: str, refiner: Refiner) -> None:
        """Refine with the steps of a message; another pipeline is another recording."""
        for step in steps:
            if self._at.setdefault(link, step.pipeline) is not step.pipeline:
                refiner.forget()
                self._at[link] = step.pipeline
            step.pipeline.decide(step.windowed)

    def begin_anew(self) -> None:
        """Forget the offsets in a feature topic that was made again; what is published again is known by its epoch."""
        for consumer, _ in self._runs.values():
            consumer.next_offset = 0

    def note(self, record: Any) -> None:
        """Take a message of the models topic: a federated model of this site is put in service."""
        model = readable(record)
        if model is None or model.site != self.site.name or model.reason != "federated":
            return
        if model.link not in self._links:
            self.counts["models of other links"] += 1
            return
        self._known[f"{model.site}/{model.link}"] = model
        if model.link in self._runs:
            self._take_up(self._runs[model.link][1], model)

    def _of(self, link: str) -> tuple[LinkConsumer, Refiner]:
        if link not in self._runs:
            refiner = self._refining.of(link)
            newest = self._known.get(f"{self.site.name}/{link}")
            if newest is not None:
                self._take_up(refiner, newest)
            refiner.events.listen = partial(self._told, link, refiner)

            def make(name: str) -> Pipeline:
                return Pipeline(self.site, name, refiner.predictor, self.base.normaliser, refiner=refiner)

            self._runs[link] = LinkConsumer(link, make), refiner
        return self._runs[link]

    def _take_up(self, refiner: Refiner, model: ModelMessage) -> None:
        """Put a model of the topic in service where it is refined from our base; report either way."""
        place = f"model {model.artifact.sha[:16]} of {model.site}/{model.link}"
        try:
            if model.base != self.base.sha:
                raise ArtifactError(f"{place}: service there began with {model.base[:16]}, here it does with another")
            require_like(self.base, model.artifact, place)
        except ArtifactError as error:
            tell(f"left aside: {error}")
            return
        try:
            self._refining.keep(model.link, model.artifact.sha, model.files)
        except OSError as error:
            tell(f"left aside: {place}: it cannot be written: {error.strerror}")
            return
        refiner.take_up(model.artifact)
        tell(f"taken up: {place} ({model.reason})")

    def _told(self, link: str, refiner: Refiner, kind: str, bin_number: int) -> None:
        """Publish the champion of a link after a swap or a rollback."""
        if kind not in ("swapped", "rolled_back"):
            return
        sha = refiner.artifact.sha
        folder = self._folder if sha == self.base.sha else self._refining.folder_of(link, sha)
        try:
            self._publisher.publish(
                self.site.name, link, folder, sha, base=self.base.sha, reason=kind, serves_from=bin_number + LEAD
            )
        except (KafkaRefusedError, ArtifactError) as error:  # the next one may be smaller
            self.counts["models never sent"] += 1
            tell(f"model of {link}: {error}")
            return
        self.counts["models published"] += 1

    def lines(self) -> list[str]:
        """Return the account as lines."""
        counted = [f"    {name:<26}{count:>8,}" for name, count in sorted(self.counts.items())]
        return ["ledger", "  messages, models", *counted, *self._refining.lines()]
