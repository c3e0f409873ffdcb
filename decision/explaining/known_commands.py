"""Commands by their ids: one is found by the beginning of its id, with all of its loop."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from offramp.decision.command import validate
from offramp.errors import ContractError, InputError
from offramp.toml import shown

SHOWN = 4
"""Commands named where an id fits several."""
TOLD = 8
"""Characters of an id that tell it from others at a glance."""


class Found(NamedTuple):
    """A command, and the commands of its loop that are known, itself among them, in their order."""

    command: Mapping[str, Any]
    loop: tuple[Mapping[str, Any], ...]


class KnownCommands:
    """Commands as lines of JSON, each once, as they may be told twice; read again when they are asked for."""

    def __init__(self) -> None:
        self._lines: dict[str, bytes] = {}
        self._loops: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, line: bytes) -> None:
        """Take a command. Raises ContractError for what is none."""
        try:
            body = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ContractError(f"is no JSON: {error}") from error
        validate(body)
        name = body["decision_id"]
        if name not in self._lines:
            self._lines[name] = line
            self._loops.setdefault(body["loop_id"], []).append(name)

    def find(self, text: str, where: str) -> Found:
        """Return the command whose id, or whose loop's, begins with a text; of a loop its first.

        where: what the commands were read from, for errors. Raises InputError where none, or more than one, does.
        """
        start = text.strip().lower()
        if not re.fullmatch(r"[0-9a-f][0-9a-f-]{0,35}", start):
            raise InputError(f"{shown(text)}: expected the id of a command or loop, or its beginning, such as 94777b5b")
        fitting = sorted(name for name in {*self._lines, *self._loops} if name.startswith(start))
        if not self._lines:
            raise InputError(f"there is no command in {where}")
        if not fitting:
            raise InputError(f"{start}: none of the {len(self):,} commands in {where} has an id that begins so")
        if len(fitting) > 1:
            told = ", ".join(self._brief(name) for name in fitting[:SHOWN])
            more = f" and {len(fitting) - SHOWN:,} more" if len(fitting) > SHOWN else ""
            raise InputError(
                f"{start}: {len(fitting):,} commands in {where} begin so: {told}{more}; give more of the id"
            )
        (name,) = fitting
        command = self._body(name) if name in self._lines else None
        loop = [self._body(each) for each in self._loops[command["loop_id"] if command else name]]
        loop.sort(key=lambda body: (body["sequence"], body["not_before"], body["decision_id"]))
        return Found(command or loop[0], tuple(loop))

    def _body(self, name: str) -> Mapping[str, Any]:
        body: Mapping[str, Any] = json.loads(self._lines[name])
        return body

    def _brief(self, name: str) -> str:
        if name not in self._lines:
            return f"{name[: TOLD + 5]} (a loop)"
        body = self._body(name)
        return f"{name[: TOLD + 5]} ({body['phase']} of {body['scope']})"
