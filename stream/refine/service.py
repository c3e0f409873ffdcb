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

from offramp.capture.message.decode import RefusedError, decode_message
from offramp.cli.follow import parse_start, seek
from offramp.decision.policy import Policy
from offramp.decision.site import Site, load_site
from offramp.errors import ArtifactError, ConfigError
from offramp.extras import require
from offramp.inference.artifact import DEFAULT_ARTIFACT, Artifact, load_artifact, require_like
from offramp.kafka import (
    KafkaAccessError,
    KafkaRefusedError,
    KafkaSettings,
    close_client,
    kafka_errors,
    topic_states,
)
from offramp.reach import reach_watched
from offramp.records import open_consumer
from offramp.stream.channels import BIN_MS
from offramp.stream.links.link_consumer import LinkRun
from offramp.stream.pipeline.pipeline import Pipeline, Step
from offramp.stream.refine.refiner import Refiner, RefineSettings
from offramp.stream.refine.refiners import NEEDS, Refining
from offramp.stream.topics.followed import READING, Followed
from offramp.stream.topics.model_message import ModelMessage
from offramp.stream.topics.model_topic import ModelPublisher, model_publisher, newest_models, readable
from offramp.stream.worker.message_batch import pairs_of

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
        self._links = frozenset(link.name for link in site.links)
        self._publisher, self._known = publisher, known
        self._runs: dict[str, tuple[LinkRun, Refiner]] = {}
        self._at: dict[str, Pipeline] = {}
        self.counts: Counter[str] = Counter()

    def take(self, record: Any) -> None:
        """Take a message of the feature topic; one of another site, or that cannot be read, is counted.

        Nothing that a message holds may end the service; raised is only what would fail for the next one too: a broker
        that is away, a folder that cannot be written.
        """
        try:
            message = decode_message(record.key, pairs_of(record.headers), record.value, site=self.site.name)
            if message is None or message.link not in self._links:
                self.counts["of other sites or links"] += 1
                return
            self.counts["taken"] += 1
            run, refiner = self._of(message.link)
            self._learn(run.open(message, record.offset), message.link, refiner)
        except RefusedError:
            self.counts["refused"] += 1
        except (KafkaAccessError, ConfigError):
            raise
        except Exception as error:
            self.counts["failed"] += 1
            place = f"{record.topic}/{record.partition}/{record.offset}"
            print(f"warning: {place}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)

    def _learn(self, steps: Sequence[Step], link: str, refiner: Refiner) -> None:
        """Refine with what a message gave; another pipeline is another recording."""
        for step in steps:
            if self._at.setdefault(link, step.pipeline) is not step.pipeline:
                refiner.forget()
                self._at[link] = step.pipeline
            step.pipeline.decide(step.windowed)

    def begin_anew(self) -> None:
        """Forget the places in the feature topic: it was made again. What agents publish anew is known by its epoch."""
        for run, _ in self._runs.values():
            run.next_offset = 0

    def note(self, record: Any) -> None:
        """Take a message of the topic of models: a federated one of this site is taken up."""
        model = readable(record)
        if model is None or model.site != self.site.name or model.reason != "federated":
            return
        if model.link not in self._links:
            self.counts["models of other links"] += 1
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
        try:
            self._publisher.publish(
                self.site.name, link, folder, sha, base=self.base.sha, reason=kind, serves_from=bin_number + LEAD
            )
        except (KafkaRefusedError, ArtifactError) as error:  # the next one may be smaller
            self.counts["models never sent"] += 1
            print(f"model of {link}: {error}", file=sys.stderr, flush=True)
            return
        self.counts["models published"] += 1

    def lines(self) -> list[str]:
        """Return the account as lines."""
        told = [f"    {name:<26}{count:>8,}" for name, count in sorted(self.counts.items())]
        return ["ledger", "  messages, models", *told, *self._refining.lines()]


def run_refine(options: RefineOptions) -> None:
    """Run `offramp refine` until SIGTERM or Ctrl-C, or to the topic's end where no more is waited for."""
    require("offramp refine", *NEEDS)
    start = parse_start(options.start)
    site, settings, folder = load_site(options.site), options.settings, options.model or DEFAULT_ARTIFACT
    artifact = load_artifact(folder)
    topics = topic_states(settings, "refine", "features", "models")
    known = newest_models(settings, "refine", frozenset((site.name,)), frozenset(link.name for link in site.links))
    chosen = RefineSettings(every_s=options.every_s)
    refining = Refining(artifact, options.folder, site.name, wait=True, settings=chosen)
    with (
        model_publisher(settings, "refine") as publisher, reader(settings, "refine") as consumer,
        reach_watched(settings, "refine", "features", "models") as watch, ending(),
    ):  # fmt: skip
        service = RefineService(site, artifact, folder, refining, publisher, known)
        print(f"refining site {site.name} on {settings.shown}; stop it with Ctrl-C", file=sys.stderr, flush=True)
        try:
            with kafka_errors(settings, "refine"):
                followed = Followed(consumer, watch, topics)
                _follow(service, settings, consumer, followed, start, options.wait)
        except Ended:
            pass
        finally:
            print("\n".join(service.lines()), file=sys.stderr, flush=True)
            refining.close()


@contextmanager
def reader(settings: KafkaSettings, doing: str) -> Iterator[Any]:
    """Open a consumer for the body; it may be closed in the middle of what it does."""
    with kafka_errors(settings, doing):
        consumer = open_consumer(**settings.client_arguments(), **READING)
    try:
        yield consumer
    finally:
        close_client(consumer)


def _follow(
    service: RefineService, settings: KafkaSettings, consumer: Any, followed: Followed, start: str | int | float,
    wait: bool,
) -> None:  # fmt: skip
    """Feed a service with the features from `start` on and the models that come from now on."""
    name = settings.topic("features")
    features = followed.places(name)
    seek(consumer, features, start)
    seek(consumer, followed.places(settings.topic("models")), "end")
    ends = None if wait else consumer.end_offsets(features)
    while ends is None or any(consumer.position(place) < end for place, end in ends.items()):
        if name in followed.keep_up():
            service.begin_anew()
        for place, records in consumer.poll(POLL_MS).items():
            for record in records:
                (service.take if place.topic == name else service.note)(record)


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
