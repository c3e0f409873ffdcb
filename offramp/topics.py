"""The door to the topics: make them, print who needs which rights on them; parses, and calls one function a stage."""

from __future__ import annotations

from typing import Annotated

import typer

from offramp.cli.options import Kafka, KafkaConfig

topics = typer.Typer(no_args_is_help=True, help="The topics on Kafka.")


@topics.command("create", epilog="Example: offramp topics create --kafka 127.0.0.1:9092")
def topics_create(
    kafka: Kafka = None,
    kafka_config: KafkaConfig = None,
    partitions: Annotated[
        int | None,
        typer.Option("--partitions", help="of each topic: the most workers; 8 otherwise", min=1, max=10_000),
    ] = None,
    replicas: Annotated[int, typer.Option("--replicas", help="copies of each partition", min=1, max=100)] = 1,
) -> None:
    """Make the topics that are missing, with their retention and compaction."""
    from offramp.kafka import kafka_settings
    from offramp.stream.topics.table import run_topics_create

    run_topics_create(kafka_settings(kafka, kafka_config), partitions, replicas)


@topics.command("acl", epilog="Example: offramp topics acl --site lab --principal agent=User:tap --commands")
def topics_acl(
    kafka: Kafka = None,
    kafka_config: KafkaConfig = None,
    site: Annotated[str, typer.Option("--site", metavar="NAME", help="the site's name")] = "site",
    controller: Annotated[str, typer.Option("--controller", metavar="NAME", help="the controller's name")] = "mine",
    principal: Annotated[
        list[str] | None, typer.Option("--principal", metavar="ROLE=PRINCIPAL", help="who has a role; may be repeated")
    ] = None,
    commands: Annotated[bool, typer.Option("--commands", help="as commands of kafka-acls.sh, not as a table")] = False,
) -> None:
    """Print the least rights on Kafka of each role: agent, worker, controller, refiner, federator, follower, admin."""
    from offramp.kafka import kafka_settings
    from offramp.stream.topics.acl import AclOptions, parse_principals, run_topics_acl

    settings = kafka_settings(kafka or "HOST:9092", kafka_config)
    told = AclOptions(settings.prefix, site, controller, parse_principals(principal or []), settings.shown, commands)
    run_topics_acl(told)
