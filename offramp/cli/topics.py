"""`offramp topics`: make the topics, print who needs which rights on them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from offramp.cli.options import KafkaOptions


@dataclass(frozen=True, kw_only=True)
class CreateOptions(KafkaOptions):
    """What `offramp topics create` was asked for."""

    partitions: Annotated[
        int | None,
        typer.Option("--partitions", help="of each topic: the most workers; 8 otherwise", min=1, max=10_000),
    ] = None
    replicas: Annotated[int, typer.Option("--replicas", help="copies of each partition", min=1, max=100)] = 1


def create(options: CreateOptions) -> None:
    """Make the topics that are missing, with their retention and compaction.

    Example: offramp topics create --kafka 127.0.0.1:9092
    """
    from offramp.stream.topics.table import create_topics, refuse_unequal

    settings, wanted = options.kafka_settings(), options.partitions
    made, found = create_topics(settings, wanted, options.replicas)
    for name, partitions in found.items():
        state = "created" if name in made else "is there"
        differs = wanted is not None and partitions != wanted
        more = f"; {wanted} were asked for, and their number stays: docs/kafka.md, Partitions" if differs else ""
        print(f"{name:<40} {state}, {partitions} partitions{more}", file=sys.stderr)
    refuse_unequal(settings, "topics create", found[settings.topic("features")], found[settings.topic("state")])


@dataclass(frozen=True, kw_only=True)
class AclOptions(KafkaOptions):
    """What `offramp topics acl` was asked for."""

    site: Annotated[str, typer.Option("--site", metavar="NAME", help="the site's name")] = "site"
    controller: Annotated[str, typer.Option("--controller", metavar="NAME", help="the controller's name")] = "mine"
    principals: Annotated[
        tuple[str, ...],
        typer.Option("--principal", metavar="ROLE=PRINCIPAL", help="who has a role; may be repeated"),
    ] = ()
    commands: Annotated[bool, typer.Option("--commands", help="as commands of kafka-acls.sh, not as a table")] = False


def acl(options: AclOptions) -> None:
    """Print the least rights on Kafka of each role: agent, worker, controller, refiner, federator, follower, admin.

    Example: offramp topics acl --site lab --principal agent=User:tap --commands
    """
    from offramp.kafka import kafka_settings
    from offramp.stream.topics.acl import Named, commands, parse_principals, rows

    settings = kafka_settings(options.kafka or "HOST:9092", options.kafka_config)
    named = Named(settings.prefix, options.site, options.controller, parse_principals(options.principals))
    for line in commands(named, settings.shown) if options.commands else rows(named):
        print(line)
