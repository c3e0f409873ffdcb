"""The least rights on Kafka of each role: one table, and the commands that grant them. Imports nothing heavy."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from offramp.errors import ConfigError
from offramp.kafka import topic_name

READ, WRITE, CREATE, DESCRIBE, DELETE = "Read", "Write", "Create", "Describe", "Delete"
READABLE = ("features", "forecasts", "decisions", "acks", "models", "dead-letters")


class Role(NamedTuple):
    """What a command may do: operations by topic, those on its group, and on all topics of the prefix.

    group: what follows the prefix in its name.
    """

    name: str
    commands: str
    topics: Mapping[str, tuple[str, ...]]
    group: str = ""
    all_topics: tuple[str, ...] = ()


ROLES = (
    Role("agent", "offramp publish", {"features": (WRITE,)}),
    Role(
        "worker",
        "offramp worker",
        {
            "features": (READ, WRITE),
            "forecasts": (WRITE,),
            "decisions": (WRITE,),
            "dead-letters": (WRITE,),
            "state": (READ, WRITE),
        },
        group="{site}",
    ),
    Role(
        "controller",
        "offramp.decision.client",
        {"decisions": (READ,), "acks": (WRITE,)},
        group="controller-{controller}",
    ),
    Role("refiner", "offramp refine", {"features": (READ,), "models": (READ, WRITE)}),
    Role("federator", "offramp federate --publish", {"models": (READ, WRITE)}),
    Role("follower", "offramp follow", dict.fromkeys(READABLE, (READ,))),
    Role("admin", "offramp topics create", {}, all_topics=(CREATE, DESCRIBE, DELETE)),
)
"""Read and Write on a topic imply Describe, Read on a group too. Who may delete topics can also make them anew."""


class Right(NamedTuple):
    """One right: on a `topic` or `group` by its name, or by how its name begins (`prefixed`)."""

    resource: str
    name: str
    prefixed: bool
    operations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """What rights are on, and whose they are; principals: by role, `User:offramp-ROLE` where none is given."""

    prefix: str
    site: str
    controller: str
    principals: Mapping[str, str]


def rights(role: Role, named: Named) -> Iterator[Right]:
    """Yield the rights of a role."""
    for topic, operations in role.topics.items():
        yield Right("topic", topic_name(named.prefix, topic), False, operations)
    if role.group:
        name = role.group.format(site=named.site, controller=named.controller)
        yield Right("group", f"{named.prefix}-{name}", False, (READ,))
    if role.all_topics:
        yield Right("topic", f"{named.prefix}.", True, role.all_topics)


def parse_principals(given: Sequence[str]) -> dict[str, str]:
    """Return the principal of each role from texts such as `agent=User:tap`. Raises ConfigError."""
    found, names = {}, [role.name for role in ROLES]
    for text in given:
        role, _, principal = text.partition("=")
        if role not in names:
            raise ConfigError(f"--principal {text}: there is no such role; there are {', '.join(names)}")
        kind, _, name = principal.partition(":")
        if not kind or not name or not principal.isprintable():
            raise ConfigError(f"--principal {text}: expected ROLE=User:NAME")
        found[role] = principal
    return found


def rows(named: Named) -> Iterator[str]:
    """Yield the table: a line a right."""
    yield f"{'role':<11} {'principal':<28} {'on':<6} {'name':<36} operations"
    for role in ROLES:
        for right in rights(role, named):
            yield row(role.name, principal_of(role, named), right)


def commands(named: Named, server: str) -> Iterator[str]:
    """Yield the commands that grant all rights, as can be typed: a comment a role, a line a right."""
    for role in ROLES:
        yield f"# {role.name}: {role.commands}"
        for right in rights(role, named):
            yield command(principal_of(role, named), right, server)


def principal_of(role: Role, named: Named) -> str:
    """Return who has a role."""
    return named.principals.get(role.name, f"User:offramp-{role.name}")


def row(role: str, principal: str, right: Right) -> str:
    """Return a right as a row of the table."""
    name = f"{right.name}*" if right.prefixed else right.name
    return f"{role:<11} {principal:<28} {right.resource:<6} {name:<36} {', '.join(right.operations)}"


def command(principal: str, right: Right, server: str) -> str:
    """Return the command of Kafka's own that grants a right."""
    operations = [word for operation in right.operations for word in ("--operation", operation)]
    pattern = "prefixed" if right.prefixed else "literal"
    return shlex.join(
        ["kafka-acls.sh", "--bootstrap-server", server, "--command-config", "admin.properties", "--add",
         "--allow-principal", principal, *operations, f"--{right.resource}", right.name,
         "--resource-pattern-type", pattern]
    )  # fmt: skip
