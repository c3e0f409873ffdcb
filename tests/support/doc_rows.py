"""The rows that a page has for the keys of a table."""

from __future__ import annotations

import json

from offramp.decision.tables import Strict


def rows(model: type[Strict]) -> list[str]:
    """Return a row for each key: its name, default and description."""
    found = []
    for key, field in model.model_fields.items():
        default = field.get_default()
        shown = "required" if field.is_required() else json.dumps(default, default=lambda value: {})
        found.append(f"| `{field.alias or key}` | {shown} | {field.description} |")
    return found
