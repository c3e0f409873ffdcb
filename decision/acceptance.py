"""Decide which messages of the decision topic are commands to carry out: valid, new, in order, not expired.

Whoever may write to the topic may write anything, so every message gets a verdict of one word, and none raises.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from offramp.decision.command import decision_id, validate
from offramp.errors import ConfigError, ContractError

Clock = Callable[[], int] | Literal["wall", "stream"]

REMEMBERED = 65_536
"""Ids of commands, loops, and clocks of scopes, that are remembered."""

MAX_LIFE_NS = 86_400 * 1_000_000_000
"""Longest validity of a command, a day: site.toml lets moves expire within minutes, and renews them."""

MAX_AHEAD_NS = 60 * 1_000_000_000
"""How far a command may begin in the future: clocks kept by NTP differ by less than a second, those of boxes that
were never set by hours."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z", re.ASCII)


class Acceptance:
    """Takes messages in the order of their offsets; `counts` has how many were given, and why others were not.

    invalid: breaks the contract, or its id is not that of its content; repeat: was given before; superseded: a later
    command of its loop came before it; expired: its time is over, by the clock; ahead: it begins too far in the future.

    clock: `wall`, this machine's; `stream`, for recordings: the newest time in a site's commands for a scope; or a
    function that gives ns since the epoch. Raises ConfigError for another.
    """

    def __init__(self, clock: Clock = "wall") -> None:
        if not callable(clock) and clock not in ("wall", "stream"):
            raise ConfigError(f"clock {clock!r}: expected wall, stream, or a function that gives ns since the epoch")
        self.counts = Counter[str]()
        self._clock = clock
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._last: OrderedDict[str, int] = OrderedDict()
        self._stream_ns: OrderedDict[tuple[bytes, str], int] = OrderedDict()

    def take(
        self, value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = (), recorded_ns: int = 0
    ) -> tuple[str, dict[str, Any]]:
        """Return the verdict, `given` or one of `counts`, and the command; empty where it is invalid.

        recorded_ns: when the message was recorded in the topic, ns since the epoch; 0: not known.
        """
        try:
            command: dict[str, Any] = json.loads(value or b"")
            validate(command)
            begins_ns, ends_ns = time_ns(command["not_before"]), time_ns(command["expires_at"])
            if not 0 < ends_ns - begins_ns <= MAX_LIFE_NS or command["decision_id"] != own_id(command):
                raise ContractError("no command of ours")
            source = next((text for name, text in headers if name == "ce_source" and text), b"")
        except Exception:  # nothing that a message holds may end the controller
            self.counts["invalid"] += 1
            return "invalid", {}
        fate = self._fate(command, source, begins_ns, ends_ns, recorded_ns)
        self.counts[fate] += 1
        return fate, command

    def _fate(self, command: Mapping[str, Any], source: bytes, begins_ns: int, ends_ns: int, recorded_ns: int) -> str:
        if command["decision_id"] in self._seen:
            return "repeat"
        now_ns, latest_ns = self._now((source, command["scope"]), begins_ns, recorded_ns)
        if begins_ns > latest_ns:
            return "ahead"
        _remember(self._seen, command["decision_id"], None)
        if command["sequence"] <= self._last.get(command["loop_id"], 0):
            return "superseded"
        _remember(self._last, command["loop_id"], int(command["sequence"]))
        outlived = self._clock == "wall" and recorded_ns > 0 and now_ns - recorded_ns >= ends_ns - begins_ns
        return "expired" if outlived or ends_ns <= now_ns else "given"

    def _now(self, scope: tuple[bytes, str], begins_ns: int, recorded_ns: int) -> tuple[int, float]:
        """Return the time that expiry is compared with, and the latest at which a command may begin."""
        if callable(self._clock):
            return self._clock(), float("inf")
        if self._clock == "wall":
            now_ns = time.time_ns()
            return now_ns, now_ns + MAX_AHEAD_NS
        latest_ns = recorded_ns + MAX_AHEAD_NS if recorded_ns > 0 else float("inf")  # a recording is of the past
        now_ns = self._stream_ns.get(scope, 0)
        if now_ns < begins_ns <= latest_ns:
            now_ns = begins_ns
            _remember(self._stream_ns, scope, now_ns)
        return now_ns, latest_ns


def own_id(command: Mapping[str, Any]) -> str:
    """Return the id that a command of this content must have; another action or scope would give another."""
    reason = command["reason"]
    window_end_ns = time_ns(reason["window_end"])
    return decision_id(
        reason["policy_version"], reason["model_sha"], command["scope"], window_end_ns, command["action"]
    )


def _remember(memory: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    """Enter a key as the newest; forget the oldest where there are too many."""
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)


def time_ns(text: str) -> int:
    """Return an RFC 3339 time with up to nine decimals, in UTC, as ns since the epoch. Raises ValueError."""
    if not _TIME.fullmatch(text):
        raise ValueError(f"{text[:40]!r}: expected a time in UTC such as 2026-01-31T08:00:00.5Z")
    whole, _, rest = text.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 1_000_000_000 + int(rest.ljust(9, "0") or 0)
