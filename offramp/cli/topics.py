"""`offramp topics`: make the topics, print who needs which rights on them; `offramp mark`: what no packet tells."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offramp.cli.options import KafkaOptions
from offramp.errors import ConfigError

if TYPE_CHECKING:
    from offramp.capture.message.mark import Mark
    from offramp.decision.site import Site


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


@dataclass(frozen=True, kw_only=True)
class MarkOptions(KafkaOptions):
    """What `offramp mark` was asked for."""

    site: Annotated[Path, typer.Option("--site", help="site.toml, as the workers have it")]
    link: Annotated[str, typer.Option("--link", help="a watched link, with --capacity or --away")] = ""
    capacity: Annotated[str, typer.Option("--capacity", help="of the link up, or both ways, such as '5 Mbit/s'")] = ""
    capacity_down: Annotated[str, typer.Option("--capacity-down", help="of the link down; none: as up")] = ""
    away: Annotated[bool, typer.Option("--away", help="nobody waits for the link until it has packets again")] = False
    path: Annotated[str, typer.Option("--path", help="a path, with --up or --down")] = ""
    up: Annotated[bool | None, typer.Option("--up/--down", help="whether the path carries anything")] = None
    node: Annotated[str, typer.Option("--node", help="a node, with --full or --free")] = ""
    full: Annotated[bool | None, typer.Option("--full/--free", help="whether the node takes nothing more")] = None


def mark(options: MarkOptions) -> None:
    """Write a mark: what of the network changed, in the order of the packets of those that it concerns.

    Example: offramp mark --site site.toml --path lte --down
    """
    from kafka import KafkaProducer

    from offramp.capture.message.mark import encode_mark
    from offramp.decision.site import load_site
    from offramp.kafka import close_client, kafka_errors, require_topics

    site, settings = load_site(options.site), options.kafka_settings()
    mark, bundles = asked_for(options, site)
    value, headers = encode_mark(mark)
    with kafka_errors(settings, "mark"):
        require_topics(settings, "mark", "features")
        producer = KafkaProducer(**settings.client_arguments(), acks="all")
        try:
            for bundle in bundles:
                key = f"{site.name}/{bundle}".encode()
                where = producer.send(settings.topic("features"), value, key, headers).get(30)
                place = f"{where.topic}/{where.partition}/{where.offset}"
                print(f"{mark.kind} of {mark.about}: {place}", file=sys.stderr)
        finally:
            close_client(producer)


def asked_for(options: MarkOptions, site: Site) -> tuple[Mark, list[str]]:
    """Return the mark, and the bundles that it concerns. Raises ConfigError."""
    from offramp.capture.message.mark import Mark
    from offramp.stream.pipeline.marks import links_of

    asked = [name for name in ("link", "path", "node") if getattr(options, name)]
    if len(asked) != 1:
        raise ConfigError("expected one of --link, --path and --node")
    name = getattr(options, asked[0])
    kind, members = members_of(options, asked[0])
    mark = Mark(site.name, kind, {asked[0]: name, **members})
    bundles = [bundle.name for bundle in site.bundles if links_of(mark, bundle.links)]
    if not bundles:
        raise ConfigError(f"--{asked[0]} {name}: {options.site} has none of that name")
    return mark, bundles


def members_of(options: MarkOptions, asked: str) -> tuple[str, dict[str, Any]]:
    """Return the kind of the mark about a link, path or node, and what it tells. Raises ConfigError."""
    if asked == "path" and options.up is not None:
        return "probe", {"up": options.up}
    if asked == "node" and options.full is not None:
        return "node", {"full": options.full}
    if asked == "link" and options.away and not options.capacity:
        return "away", {}
    if asked == "link" and options.capacity and not options.away:
        up_bps = rate(options.capacity)
        return "capacity", {
            "up_bps": up_bps,
            "down_bps": rate(options.capacity_down) if options.capacity_down else up_bps,
        }
    wanted = {"path": "--up or --down", "node": "--full or --free", "link": "--capacity or --away"}
    raise ConfigError(f"--{asked} {getattr(options, asked)}: expected {wanted[asked]}")


def rate(text: str) -> float:
    """Return bit/s of a text such as `5 Mbit/s`. Raises ConfigError."""
    from offramp.decision.bounds import parse_rate

    try:
        return float(parse_rate(float(text) if text.replace(".", "", 1).isdecimal() else text))
    except ValueError as error:
        raise ConfigError(f"--capacity: {error}") from error
