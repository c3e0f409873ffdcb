"""Where commands go: the interface, and a sink that only records, for tests and dry walks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from decision.command import Command, validate


class CommandSink(Protocol):
    """What takes commands away: a printer, a topic, a controller."""

    def publish(self, commands: Sequence[Command]) -> None:
        """Take commands, in order."""


@dataclass(slots=True)
class RecordingSink:
    """Keeps every command in memory, after checking it against the contract."""

    commands: list[Command] = field(default_factory=list)

    def publish(self, commands: Sequence[Command]) -> None:
        """Record commands. Raise ContractError for one that breaks the contract."""
        for command in commands:
            validate(command.to_dict())
            self.commands.append(command)
