"""The command: what the decision topic carries. It expires, can be replayed safely, and can be undone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from offramp.decision.schema_check import Check, compiled
from offramp.errors import ContractError
from offramp.extras import require

if TYPE_CHECKING:
    import pandas as pd

Headers = list[tuple[str, bytes]]

SCHEMA_FILE = Path(__file__).with_name("command.schema.json")
NAMESPACE = UUID("6f9619ff-8b86-5d01-b42d-00cf4fc964ff")
"""The namespace of decision ids (RFC 9562, UUID version 5)."""

MAX_TOLD = 200
"""Characters of a body that are shown in an error."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command; `to_dict` is the body that the JSON Schema describes.

    Times are nanoseconds of event time; action is a mapping with `type` reroute, offload, mark, limit or clear.
    """

    decision_id: str
    loop_id: str
    sequence: int
    phase: str
    mode: str
    scope: str
    action: Mapping[str, Any]
    not_before_ns: int
    expires_at_ns: int
    rollback: Mapping[str, Any]
    reason: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the command's body as plain values, times as RFC 3339."""
        body = asdict(self)
        body["not_before"] = rfc3339(body.pop("not_before_ns"))
        body["expires_at"] = rfc3339(body.pop("expires_at_ns"))
        return body

    def to_json(self) -> str:
        """Return the body as one canonical line: sorted keys, no blanks."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def decision_id(policy_version: str, model_sha: str, scope: str, window_end_ns: int, action: Mapping[str, Any]) -> str:
    """Return the UUIDv5 of what was decided: the same packets give the same id, so a consumer can drop repeats."""
    shape = json.dumps(action, sort_keys=True, separators=(",", ":"))
    return str(uuid5(NAMESPACE, "|".join((policy_version, model_sha, scope, str(window_end_ns), shape))))


def event_headers(attributes: Mapping[str, str], content_type: str = "application/json") -> Headers:
    """Return the headers of an event (CloudEvents 1.0, Kafka protocol binding, binary content mode): `ce_...`."""
    every = {"specversion": "1.0", **attributes}
    return [*((f"ce_{name}", value.encode()) for name, value in every.items()), ("content-type", content_type.encode())]


def rfc3339(time_ns: int) -> str:
    """Return a time in nanoseconds since the epoch as RFC 3339 with nanoseconds."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


@lru_cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    return schema


@lru_cache
def _quick() -> Check:
    return compiled(_schema())


def validate(command: Any) -> None:
    """Check a command's body against the contract. Raise ContractError naming the field.

    The name of the field is found by jsonschema; where that is not installed, the error does without.
    """
    if not _quick()(command):
        raise ContractError(f"command {_told(command)}")


def _told(command: Any) -> str:
    """Return which command breaks the contract, and where."""
    name = str(command.get("decision_id", "?"))[:MAX_TOLD] if isinstance(command, dict) else "?"
    try:
        from jsonschema import Draft202012Validator
    except ImportError:
        return f"{name}: breaks the contract; install jsonschema to be told where"
    for error in Draft202012Validator(_schema()).iter_errors(command):
        where = ".".join(str(part) for part in error.absolute_path) or "(body)"
        return f"{name}: {where}: {error.message[:MAX_TOLD]}"
    return f"{name}: has a number that JSON does not know"


def commands_frame(bodies: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return commands as a frame, a row each: members of members have names such as `action.type`, times are times.

    Raises MissingExtraError where pandas is not installed.
    """
    require("a frame", "pandas")
    import pandas as pd

    frame = pd.json_normalize([dict(body) for body in bodies])
    for name in {"not_before", "expires_at"} & set(frame.columns):
        frame[name] = pd.to_datetime(frame[name], format="ISO8601", utc=True)
    return frame
