"""`offramp topics`: make the topics, print who needs which rights on them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from offramp.cli.options import KafkaOptions
from offramp.errors import ConfigError


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
class ListOptions(KafkaOptions):
    """What `offramp topics list` was asked for."""


def list_(options: ListOptions) -> None:
    """List the topics: whether each is there, its partitions, copies and messages; ends with 1 where one is missing.

    Example: offramp topics list --kafka 127.0.0.1:9092
    """
    from offramp.stream.topics.table import describe_topics

    found = describe_topics(options.kafka_settings())
    print(f"{'topic':<36} {'partitions':>10} {'copies':>7} {'messages':>12}  {'of the table differs'}")
    for each in found:
        if not each.partitions:
            print(f"{each.name:<36} {'missing':>10}   make it: offramp topics create")
            continue
        copies = min(partition.in_sync for partition in each.partitions)
        differs = ", ".join(f"{key}={value}" for key, value in sorted(each.differs.items()))
        print(f"{each.name:<36} {len(each.partitions):>10} {copies:>7} {each.messages:>12,}  {differs}".rstrip())
    if not all(each.partitions for each in found):
        raise typer.Exit(1)


@dataclass(frozen=True, kw_only=True)
class DescribeOptions(KafkaOptions):
    """What `offramp topics describe` was asked for."""

    topics: Annotated[
        tuple[str, ...],
        typer.Argument(metavar="[TOPIC...]", help="features, decisions, ... without prefix and version; none: all"),
    ] = ()


def describe(options: DescribeOptions) -> None:
    """Describe topics partition by partition: leader, copies, and the offsets that are kept.

    Example: offramp topics describe features --kafka 127.0.0.1:9092
    """
    from offramp.stream.topics.table import TOPICS, describe_topics

    settings, known = options.kafka_settings(), [topic.name for topic in TOPICS]
    for name in options.topics:
        if name not in known:
            raise ConfigError(f"{name}: there is no such topic; there are {', '.join(known)}")
    ours = {settings.topic(topic.name): topic for topic in TOPICS if topic.name in (options.topics or known)}
    for each in describe_topics(settings):
        if each.name not in ours:
            continue
        print(f"{each.name}: {f'{each.messages:,} messages' if each.partitions else 'missing'}")
        for key, value in sorted(each.differs.items()):
            print(f"  {key} is {value}, where the table has {ours[each.name].settings[key]}")
        for one in each.partitions:
            copies = f"{one.in_sync} of {one.replicas} copies up to date"
            offsets = f"offsets {one.first:,} to {one.next:,}"
            print(f"  partition {one.number:>3}  leader {one.leader:>3}  {copies}  {offsets}")


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
