"""`offramp refine`: refine a site's models beside its workers, until a signal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offramp.cli.options import DAY_S, KafkaOptions, Start, Wait
from offramp.cli.signals import ASKED_TO_END, handling
from offramp.extras import require

if TYPE_CHECKING:
    from offramp.kafka import KafkaSettings
    from offramp.stream.refine.service import RefineService
    from offramp.stream.topics.followed import Followed


@dataclass(frozen=True, kw_only=True)
class RefineOptions(KafkaOptions):
    """What `offramp refine` was asked for."""

    folder: Annotated[Path, typer.Argument(metavar="DIR", help="events and models of each link go here")]
    site: Annotated[Path, typer.Option("--site", help="site.toml: whose links are refined")]
    model: Annotated[
        Path | None, typer.Option("--model", help="artifact that service begins with; the shipped model otherwise")
    ] = None
    every_s: Annotated[
        int, typer.Option("--every", help="seconds from one challenger to the next", min=5, max=DAY_S)
    ] = 60
    start: Start = "end"
    wait: Wait = True


def refine(options: RefineOptions) -> None:
    """Refine the model of each link from published features, beside the workers; each champion goes to `models`.

    Example: offramp refine refined --site site.toml --kafka 127.0.0.1:9092
    """
    from offramp.decision.site import load_site
    from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
    from offramp.kafka import kafka_errors, topic_states
    from offramp.reach import reach_watched
    from offramp.stream.refine.refiner import RefineSettings
    from offramp.stream.refine.refiners import NEEDS, Refiners
    from offramp.stream.refine.service import RefineService
    from offramp.stream.topics.consume import parse_start
    from offramp.stream.topics.followed import Followed
    from offramp.stream.topics.model_topic import model_publisher, newest_models

    require("offramp refine", *NEEDS)
    settings, start = options.kafka_settings(), parse_start(options.start)
    site, folder = load_site(options.site), options.model or DEFAULT_ARTIFACT
    artifact = load_artifact(folder)
    topics = topic_states(settings, "refine", "features", "models")
    known = newest_models(settings, "refine", frozenset((site.name,)), frozenset(link.name for link in site.links))
    chosen = RefineSettings(every_s=options.every_s)
    refiners = Refiners(artifact, options.folder, site.name, wait=True, settings=chosen)
    with (
        model_publisher(settings, "refine") as publisher, reader(settings, "refine") as consumer,
        reach_watched(settings, "refine", "features", "models") as watch, ending(),
    ):  # fmt: skip
        service = RefineService(site, artifact, folder, refiners, publisher, known)
        print(f"refining site {site.name} on {settings.shown}; stop it with Ctrl-C", file=sys.stderr, flush=True)
        try:
            with kafka_errors(settings, "refine"):
                followed = Followed(consumer, watch, topics)
                feed(service, settings, consumer, followed, start, options.wait)
        except Ended:
            pass
        finally:
            print("\n".join(service.lines()), file=sys.stderr, flush=True)
            refiners.close()


@contextmanager
def reader(settings: KafkaSettings, doing: str) -> Iterator[Any]:
    """Open a consumer for the body; it may be closed in the middle of what it does."""
    from offramp.kafka import close_client, kafka_errors
    from offramp.records import open_consumer
    from offramp.stream.topics.followed import READING

    with kafka_errors(settings, doing):
        consumer = open_consumer(**settings.client_arguments(), **READING)
    try:
        yield consumer
    finally:
        close_client(consumer)


def feed(
    service: RefineService, settings: KafkaSettings, consumer: Any, followed: Followed, start: str | int | float,
    wait: bool,
) -> None:  # fmt: skip
    """Feed a service with the features from `start` on and the models that come from now on."""
    from offramp.stream.topics.consume import records, seek

    name = settings.topic("features")
    features = followed.places(name)
    seek(consumer, features, start)
    seek(consumer, followed.places(settings.topic("models")), "end")

    def keep_up() -> None:
        if name in followed.keep_up():
            service.begin_anew()

    for record in records(consumer, None if wait else consumer.end_offsets(features), keep_up):
        (service.take if record.topic == name else service.note)(record)


class Ended(BaseException):
    """The operator has asked for the end; nothing that catches errors on the way may take it for one."""


@contextmanager
def ending() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C into Ended within the body, also while a challenger is waited for."""

    def end(*_: object) -> None:
        raise Ended

    with handling(end, *ASKED_TO_END):
        yield
