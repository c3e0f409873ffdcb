"""`offramp federate`: the average of what sites have learned, from files or from Kafka; it may go back there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offramp.cli.options import KafkaOptions
from offramp.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from offramp.inference.artifact import Artifact
    from offramp.kafka import KafkaSettings
    from offramp.stream.topics.model_message import ModelMessage


@dataclass(frozen=True, kw_only=True)
class FederateOptions(KafkaOptions):
    """What `offramp federate` was asked for."""

    base: Annotated[Path, typer.Argument(metavar="BASE", help="artifact that all sites refined")]
    sites: Annotated[
        tuple[Path, ...],
        typer.Argument(metavar="[SITE...]", help="what they made of it, by --refine; none: the topic `models`"),
    ] = ()
    out: Annotated[Path, typer.Option("--out", "-o", help="artifact folder to write")]
    clip: Annotated[
        float,
        typer.Option("--clip", help="the longest an update may be, of the weights' length", min=0.0001, max=1_000),
    ] = 0.1
    names: Annotated[
        tuple[str, ...], typer.Option("--site", metavar="NAME", help="of the topic only this site, again for more")
    ] = ()
    publish: Annotated[bool, typer.Option("--publish", help="put the result to the topic too")] = False


def federate(options: FederateOptions) -> None:
    """Average what sites have learned, from files or from Kafka, to one model; only weights travel.

    Examples: offramp federate base site1/models/0123 site2/models/4567 -o federated; offramp federate base -o federated
    --kafka 127.0.0.1:9092 --publish
    """
    if options.sites and (options.names or options.publish):
        raise ConfigError("--site and --publish are for models of the topic: leave the folders SITE... out")
    if not 0 < options.clip <= 1:
        raise ConfigError(f"--clip {options.clip:g}: give a share above 0 and at most 1")
    from offramp.inference.artifact import load_artifact

    base = load_artifact(options.base)
    if options.sites:
        average(options, base, [load_artifact(site) for site in options.sites])
    else:
        federate_topic(options, options.kafka_settings(), base)


def federate_topic(options: FederateOptions, settings: KafkaSettings, base: Artifact) -> None:
    """Average the newest models of the topic that were refined from the base; publish the average where asked for."""
    from offramp.stream.topics.model_topic import newest_models

    found = newest_models(settings, "federate", frozenset(options.names))
    missing = set(options.names) - {model.site for model in found.values()}
    if missing:
        raise ConfigError(f"--site {min(missing)}: the topic holds no model of it; is `offramp refine` running there?")
    taking_part = usable(base, list(found.values()))
    if not taking_part:
        raise ConfigError(
            f"the topic {settings.topic('models')} holds no model refined from {base.sha[:16]}; name the model "
            "that the sites began with, and let `offramp refine` run there"
        )
    for model in taking_part:
        print(f"  {model.site}/{model.link}: {model.rows:,} rows, model {model.artifact.sha[:16]}")
    made = average(options, base, [model.artifact for model in taking_part])
    if options.publish:
        publish(options, settings, made, taking_part)


def average(options: FederateOptions, base: Artifact, sites: Sequence[Artifact]) -> Artifact:
    """Average artifacts; say what was averaged."""
    from offramp.inference.refinement.federated import federate as averaged

    made = averaged(base, sites, options.out, clip_share=options.clip)
    record = made.manifest["federated"]
    print(f"{record['sites']} sites, {record['rows']:,} rows, round {record['round']}: model {made.sha[:16]}")
    print(f"written to {options.out}; judge it on held-out traffic before it serves", file=sys.stderr)
    return made


def usable(base: Artifact, models: Sequence[ModelMessage]) -> list[ModelMessage]:
    """Return the models that were refined from the base; report which were not."""
    from offramp.inference.artifact import require_like
    from offramp.inference.refinement.federated import updates_of

    out = []
    for model in models:
        try:
            require_like(base, model.artifact, f"model {model.artifact.sha[:16]}")
            updates_of(base, [model.artifact])
        except ArtifactError as error:
            print(f"left out: {model.site}/{model.link}: {error}", file=sys.stderr)
        else:
            out.append(model)
    return out


def publish(
    options: FederateOptions, settings: KafkaSettings, artifact: Artifact, taking_part: Sequence[ModelMessage]
) -> None:
    """Put the average to the topic for each link that took part, where its `offramp refine` takes it up."""
    from offramp.stream.topics.model_topic import model_publisher

    with model_publisher(settings, "federate") as publisher:
        for model in taking_part:
            publisher.publish(
                model.site, model.link, options.out, artifact.sha, base=model.base, reason="federated",
                serves_from=model.serves_from,
            )  # fmt: skip
    print(f"published for {len(taking_part)} link(s)", file=sys.stderr)
