"""Marks: messages of `offramp.features.v2` that are no packets and change commands, in the order of their partition.

A capacity that has changed, what a probe of a path found, a node's load, a link that is away. Whoever acts on one reads
it from the partition, the worker that wrote it too: so a replay of the topic, a crash and a hand-over give the same.
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


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark: its site, its kind, a key of KINDS, and the members of that kind; text: all of it, as it was sent."""

    site: str
    kind: str
    members: Mapping[str, Any]
    text: str = ""

    @property
    def about(self) -> str:
        """The link, path or node that it is about."""
        return str(next(self.members[name] for name in ("link", "path", "node") if name in self.members))


def encode_mark(mark: Mark) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return value and headers of the message of a mark."""
    headers = {"schema_version": SCHEMA_VERSION, "site": mark.site, HEADER: mark.kind}
    value = json.dumps({**mark.members, "kind": mark.kind}, sort_keys=True, separators=(",", ":"))
    return value.encode(), [(name, text.encode()) for name, text in headers.items()]


def decode_mark(pairs: Iterable[tuple[str, bytes]], value: bytes | None) -> Mark | None:
    """Return the mark of a message, None where it is no mark. Raises RefusedError, reason `mark`."""
    headers = dict(pairs)
    kind = headers.get(HEADER)
    if kind is None:
        return None
    wanted = KINDS.get(kind.decode(errors="replace"))
    if wanted is None:
        raise RefusedError("mark", f"a mark of kind {shown(kind)!r}; known are {', '.join(KINDS)}")
    try:
        members = json.loads(value or b"") if len(value or b"") <= MAX_VALUE else None
        site = (headers.get("site") or b"").decode()
    except (ValueError, RecursionError) as error:
        raise RefusedError("mark", f"a mark that cannot be read: {str(error)[:100]}") from error
    if not isinstance(members, dict):
        raise RefusedError("mark", "a mark that is no JSON object, or too long")
    known = {name: _member(name, members.get(name), kind_of) for name, kind_of in wanted.items()}
    return Mark(site, kind.decode(), known, (value or b"").decode())


def _member(name: str, found: Any, kind: type) -> Any:
    """Return a member of a mark, checked."""
    if kind is str and isinstance(found, str) and 0 < len(found.encode(errors="replace")) <= MAX_NAME:
        return found
    if kind is bool and isinstance(found, bool):
        return found
    if kind is float and type(found) in (int, float) and 1 <= found <= MAX_RATE:
        return float(found)
    raise RefusedError("mark", f"a mark whose {name} is {str(found)[:40]!r}")
