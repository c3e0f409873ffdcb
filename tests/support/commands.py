"""Commands for tests: that of the contract's page, or others, changed, with the id that the change gives them."""

from __future__ import annotations

import copy
import json
from typing import Any

from offramp.decision.acceptance import own_id, time_ns
from offramp.decision.command import rfc3339
from tests.support.places import ROOT


def example() -> dict[str, Any]:
    """The first command of the contract's page."""
    page = (ROOT / "docs/decisions-contract.md").read_text(encoding="utf-8")
    body: dict[str, Any] = json.loads(page.split("```json")[1].split("```")[0])
    return body


def changed(body: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Return a command with other members and the id that it then has."""
    new = copy.deepcopy(body) | members
    return new | {"decision_id": own_id(new)}


def moved(body: dict[str, Any], begins_ns: int, **members: Any) -> dict[str, Any]:
    """Return a command as if it had been decided at another time."""
    life_ns = time_ns(body["expires_at"]) - time_ns(body["not_before"])
    begins = rfc3339(begins_ns)
    reason = body["reason"] | {"window_end": begins}
    ends = rfc3339(begins_ns + life_ns)
    return changed(body, not_before=begins, expires_at=ends, reason=reason, **members)


def as_bytes(body: dict[str, Any]) -> bytes:
    """Return a command as it stands in the topic."""
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
