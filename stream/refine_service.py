"""`offramp refine`: follows the features of a site beside its workers and puts each champion to the topic `models`.

It is no member of the workers' group and commits nothing, so it can neither take a partition from them nor move their
offsets. A challenger is waited for, as in a replay; messages wait with Kafka meanwhile, and what is read gives the same
swaps whenever it is read. A federated model of the site is taken up as it comes, and watched as after a swap.
"""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from decision.policy import Policy
from decision.site import Site, load_site
from inference.artifact import DEFAULT_ARTIFACT, Artifact, load_artifact, require_like
from offramp_errors import ArtifactError, OfframpError
from offramp_kafka import KafkaSettings, close_client, kafka_errors, require_topics
from stream.channels import BIN_MS
from stream.follow import parse_start, seek
from stream.link_run import LinkRun
from stream.model_messages import ModelMessage
from stream.model_topic import ModelPublisher, model_publisher, newest_models, readable
from stream.pipeline import Pipeline, Step
from stream.portion import pairs_of
from stream.refiner import Refiner, RefineSettings
from stream.refining import Refining
from stream.wire import RefusedError, decode_message

POLL_MS = 200
LEAD = 2_000 // BIN_MS
"""Bins from the newest seen to the one that a model is meant from."""


@dataclass(frozen=True, slots=True)
class RefineOptions:
    """What `offramp refine` was asked for; wait: for more at the end of the topic."""

    settings: KafkaSettings
    site: Path
    folder: Path
    model: Path | None = None
    every_s: int = 60
    start: str = "end"
    wait: bool = True


class RefineService:
    """Refines the model of each link of a site; `take` is given the messages of the feature topic in order."""

    def __init__(
        self, site: Site, artifact: Artifact, folder: Path, refining: Refining, publisher: ModelPublisher,
        known: dict[str, ModelMessage],
    ) -> None:  # fmt: skip
        """Build it; artifact, folder: what service begins with; known: the newest models of the site/links."""
        self.site, self.base, self._folder, self._refining = site, artifact, folder, refining
        self._publisher, self._known = publisher, known
        self._links = frozenset(link.name for link in site.links)
        self._runs: dict[str, tuple[LinkRun, Refiner]] = {}
        self._at: dict[str, Pipeline] = {}
        self.counts: Counter[str] = Counter()

    def take(self, record: Any) -> None:
        """Take a message of the feature topic; one of another site, or that cannot be read, is counted."""
        try:
            message = decode_message(record.key, pairs_of(record.headers), record.value, site=self.site.name)
        except RefusedError:
            self.counts["refused"] += 1
            return
        if message is None or message.link not in self._links:
            self.counts["of other sites or links"] += 1
            return
        self.counts["taken"] += 1
        run, refiner = self._of(message.link)
        try:
            self._learn(run.open(message, record.offset), message.link, refiner)
        except OfframpError:
            raise
        except Exception as error:  # nothing that a message holds may end the service
            self.counts["failed"] += 1
            print(f"warning: {record.topic}/{record.partition}/{record.offset}: {error!r}", file=sys.stderr, flush=True)

    def _learn(self, steps: Sequence[Step], link: str, refiner: Refiner) -> None:
        """Refine with what a message gave; another pipeline is another recording."""
        for step in steps:
            if self._at.setdefault(link, step.pipeline) is not step.pipeline:
                refiner.forget()
                self._at[link] = step.pipeline
            step.pipeline.decide(step.windowed)

    def note(self, record: Any) -> None:
        """Take a message of the topic of models: a federated one of this site is taken up."""
        model = readable(record)
        if model is None or model.site != self.site.name or model.reason != "federated":
            return
        self._known[f"{model.site}/{model.link}"] = model
        if model.link in self._runs:
            self._take_up(self._runs[model.link][1], model)

    def _of(self, link: str) -> tuple[LinkRun, Refiner]:
        if link not in self._runs:
            refiner = self._refining.of(link)
            newest = self._known.get(f"{self.site.name}/{link}")
            if newest is not None:
                self._take_up(refiner, newest)
            refiner.events.listen = partial(self._told, link, refiner)

            def make(name: str) -> Pipeline:
                policy, scale = Policy(self.site, name), self.base.normaliser
                return Pipeline(self.site, name, refiner.predictor, scale, policy, refiner=refiner)

            self._runs[link] = LinkRun(link, make), refiner
        return self._runs[link]

    def _take_up(self, refiner: Refiner, model: ModelMessage) -> None:
        """Let a model of the topic serve where it comes of the model that service begins with; tell either way."""
        place = f"model {model.artifact.sha[:16]} of {model.site}/{model.link}"
        try:
            if model.base != self.base.sha:
                raise ArtifactError(f"{place}: service there began with {model.base[:16]}, here it does with another")
            require_like(self.base, model.artifact, place)
        except ArtifactError as error:
            print(f"left aside: {error}", file=sys.stderr, flush=True)
            return
        try:
            self._refining.keep(model.link, model.artifact.sha, model.files)
        except OSError as error:
            print(f"left aside: {place}: it cannot be written: {error.strerror}", file=sys.stderr, flush=True)
            return
        refiner.take_up(model.artifact)
        print(f"taken up: {place} ({model.reason})", file=sys.stderr, flush=True)

    def _told(self, link: str, refiner: Refiner, kind: str, bin_number: int) -> None:
        """Publish the champion of a link after a swap or a roll back."""
        if kind not in ("swapped", "rolled_back"):
            return
        sha = refiner.artifact.sha
        folder = self._folder if sha == self.base.sha else self._refining.place(link, sha)
        self._publisher.publish(
            self.site.name, link, folder, sha, base=self.base.sha, reason=kind, serves_from=bin_number + LEAD
        )
        self.counts["models published"] += 1

    def lines(self) -> list[str]:
        """Return the account as lines."""
        told = [f"    {name:<26}{count:>8,}" for name, count in sorted(self.counts.items())]
        return ["ledger", "  messages, models", *told, *self._refining.lines()]


def run_refine(options: RefineOptions) -> None:
    """Run `offramp refine` until SIGTERM or Ctrl-C, or to the topic's end where no more is waited for."""
    start = parse_start(options.start)
    site, settings, folder = load_site(options.site), options.settings, options.model or DEFAULT_ARTIFACT
    artifact = load_artifact(folder)
    partitions = require_topics(settings, "refine", "features", "models")
    known = newest_models(settings, "refine", frozenset((site.name,)))
    chosen = RefineSettings(every_s=options.every_s)
    refining = Refining(artifact, options.folder, site.name, wait=True, settings=chosen)
    with model_publisher(settings, "refine") as publisher, ending():
        service = RefineService(site, artifact, folder, refining, publisher, known)
        print(f"refining site {site.name} on {settings.shown}; stop it with Ctrl-C", file=sys.stderr, flush=True)
        try:
            with kafka_errors(settings, "refine"):
                _follow(service, settings, partitions, start, options.wait)
        except Ended:
            pass
        finally:
            refining.close()
            print("\n".join(service.lines()), file=sys.stderr, flush=True)


def _follow(
    service: RefineService, settings: KafkaSettings, partitions: dict[str, int], start: str | int | float, wait: bool
) -> None:
    """Feed a service with the features from `start` on and the models that come from now on."""
    from kafka import KafkaConsumer, TopicPartition

    features, models = (
        [TopicPartition(name, number) for number in range(partitions[name])]
        for name in (settings.topic("features"), settings.topic("models"))
    )
    consumer = KafkaConsumer(**settings.client_arguments(), enable_auto_commit=False)
    try:
        consumer.assign([*features, *models])
        seek(consumer, features, start)
        seek(consumer, models, "end")
        ends = None if wait else consumer.end_offsets(features)
        while ends is None or any(consumer.position(place) < ends[place] for place in features):
            for place, records in consumer.poll(POLL_MS).items():
                for record in records:
                    (service.take if place in features else service.note)(record)
    finally:
        close_client(consumer)


class Ended(BaseException):
    """The operator has asked for the end; nothing that catches errors on the way may take it for one."""


@contextmanager
def ending() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C into Ended within the body, also while a challenger is waited for."""

    def end(*_: object) -> None:
        raise Ended

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
