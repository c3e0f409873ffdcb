"""Marks: what changes commands and is no packet. Messages of `offramp.features.v2`, and lines of a file.

A capacity that has changed, what a probe of a path found, a node's load, a link that is away. Over Kafka whoever acts
on one reads it from the partition, the worker that wrote it too: so a replay of the topic, a crash and a hand-over give
the same. A line of a file is the same JSON, with a `time`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from offramp.capture.message.decode import RefusedError, shown
from offramp.capture.schema import SCHEMA_VERSION
from offramp.kafka import MAX_NAME

HEADER = "mark"
KINDS: Mapping[str, Mapping[str, type]] = {
    "away": {"link": str},
    "capacity": {"link": str, "up_bps": float, "down_bps": float},
    "probe": {"path": str, "up": bool},
    "node": {"node": str, "full": bool},
}
"""The members that each kind has, and of what type; others are passed over."""
MAX_VALUE, MAX_RATE = 10_000, 1e15
EXPECTED = {str: f"a name of 1 to {MAX_NAME} bytes", bool: "true or false", float: f"bit/s, 1 to {MAX_RATE:g}"}
A_TIME = "one in UTC such as 2026-01-31T08:00:00.5Z"
MAX_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark: its site, its kind, a key of KINDS, and the members of that kind.

    text: all of it, as it was sent; time: from when on it counts, RFC 3339, in a file: a message counts from its place.
    """

    site: str
    kind: str
    members: Mapping[str, Any]
    text: str = ""
    time: str = ""

    @property
    def about(self) -> str:
        """The link, path or node that it is about."""
        return str(next(self.members[name] for name in ("link", "path", "node") if name in self.members))

    @property
    def body(self) -> str:
        """Its JSON, as a message, or a line of a file, has it."""
        members = {**self.members, "kind": self.kind, **({"time": self.time} if self.time else {})}
        return json.dumps(members, sort_keys=True, separators=(",", ":"))


def encode_mark(mark: Mark) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return value and headers of the message of a mark."""
    headers = {"schema_version": SCHEMA_VERSION, "site": mark.site, HEADER: mark.kind}
    return mark.body.encode(), [(name, text.encode()) for name, text in headers.items()]


def decode_mark(pairs: Iterable[tuple[str, bytes]], value: bytes | None) -> Mark | None:
    """Return the mark of a message, None where it is no mark. Raises RefusedError, reason `mark`."""
    headers = dict(pairs)
    kind = headers.get(HEADER)
    if kind is None:
        return None
    try:
        site = (headers.get("site") or b"").decode()
    except ValueError as error:
        raise RefusedError("mark", f"site: expected UTF-8, found {shown(headers['site'])!r}") from error
    return mark_of(site, value or b"", kind.decode(errors="replace"))


def mark_of(site: str, value: bytes, kind: str | None = None) -> Mark:
    """Return the mark of a site that JSON tells: a message's value, whose kind its header has, or a line of a file.

    Raises RefusedError, reason `mark`: what was expected, and what was found.
    """
    try:
        found = json.loads(value) if len(value) <= MAX_VALUE else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        more = f", {len(value):,} bytes" if len(value) > MAX_VALUE else ""
        raise RefusedError(
            "mark", f"expected a JSON object of at most {MAX_VALUE:,} bytes, found {shown(value)!r}{more}"
        )
    named = found.get("kind") if kind is None else kind
    wanted = KINDS.get(named) if isinstance(named, str) else None
    if wanted is None:
        raise RefusedError("mark", f"kind: expected one of {', '.join(KINDS)}, found {_shown(named)}")
    known = {name: _member(name, found.get(name), kind_of) for name, kind_of in wanted.items()}
    time = found.get("time", "") if kind is None else ""
    if not isinstance(time, str):
        raise RefusedError("mark", f"time: expected {A_TIME}, found {_shown(time)}")
    return Mark(site, str(named), known, value.decode(errors="replace"), time)


def _member(name: str, found: Any, kind: type) -> Any:
    """Return a member of a mark, checked."""
    if kind is str and isinstance(found, str) and 0 < len(found.encode(errors="replace")) <= MAX_NAME:
        return found
    if kind is bool and isinstance(found, bool):
        return found
    if kind is float and type(found) in (int, float) and 1 <= found <= MAX_RATE:
        return float(found)
    raise RefusedError("mark", f"{name}: expected {EXPECTED[kind]}, found {_shown(found)}")


def _shown(found: Any) -> str:
    """Return the beginning of a member that is none, in one line."""
    if found is None:
        return "none"
    if isinstance(found, dict | list):
        return "an object" if isinstance(found, dict) else "a list"
    text = json.dumps(found)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
