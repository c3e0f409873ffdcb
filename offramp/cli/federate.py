"""`offramp federate` through Kafka: the newest model of each link is averaged as files are, and may go back to them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from offramp.errors import ArtifactError, ConfigError
from offramp.inference.artifact import Artifact, load_artifact, require_like
from offramp.inference.refinement.federated import federate, require_clip, tell, updates_of
from offramp.kafka import KafkaSettings
from offramp.stream.topics.model_message import ModelMessage
from offramp.stream.topics.model_topic import model_publisher, newest_models


@dataclass(frozen=True, slots=True)
class FederateOptions:
    """What `offramp federate` was asked for; sites: whose models, all where none is named; publish: the result."""

    settings: KafkaSettings
    base: Path
    out: Path
    sites: tuple[str, ...] = ()
    clip_share: float = 0.1
    publish: bool = False


def run_federate_topic(options: FederateOptions) -> None:
    """Average the newest models of the topic that were refined from the base; publish the average where asked for."""
    require_clip(options.clip_share)
    base = load_artifact(options.base)
    found = newest_models(options.settings, "federate", frozenset(options.sites))
    missing = set(options.sites) - {model.site for model in found.values()}
    if missing:
        raise ConfigError(f"--site {min(missing)}: the topic holds no model of it; is `offramp refine` running there?")
    taking_part = usable(base, list(found.values()))
    if not taking_part:
        raise ConfigError(
            f"the topic {options.settings.topic('models')} holds no model refined from {base.sha[:16]}; name the model "
            "that the sites began with, and let `offramp refine` run there"
        )
    artifact = federate(base, [model.artifact for model in taking_part], options.out, clip_share=options.clip_share)
    for model in taking_part:
        print(f"  {model.site}/{model.link}: {model.rows:,} rows, model {model.artifact.sha[:16]}")
    tell(artifact, options.out)
    if options.publish:
        publish(options, artifact, taking_part)


def usable(base: Artifact, models: Sequence[ModelMessage]) -> list[ModelMessage]:
    """Return the models that were refined from the base; tell which were not."""
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


def publish(options: FederateOptions, artifact: Artifact, taking_part: Sequence[ModelMessage]) -> None:
    """Put the average to the topic for each link that took part, where its `offramp refine` takes it up."""
    with model_publisher(options.settings, "federate") as publisher:
        for model in taking_part:
            publisher.publish(
                model.site, model.link, options.out, artifact.sha, base=model.base, reason="federated",
                serves_from=model.serves_from,
            )  # fmt: skip
    print(f"published for {len(taking_part)} link(s)", file=sys.stderr)
