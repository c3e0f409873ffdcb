"""A fast check of commands by their JSON Schema, as nested functions: many times as fast as a general validator.

It knows the keywords that decision/command.schema.json uses, and refuses a schema with others. It answers yes or no;
the general validator explains a no in words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

Check = Callable[[Any], bool]
NOTES = frozenset({"$schema", "$defs", "title", "description", "format"})
"""Keywords that check nothing (JSON Schema 2020-12: a format is an annotation unless a validator is set otherwise)."""


def compiled(schema: Mapping[str, Any]) -> Check:
    """Return the check of a schema. Raises ValueError for an unknown keyword."""
    return _checks(schema, schema)


def _checks(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Check:
    found = [_keyword(name, value, schema, root) for name, value in schema.items() if name not in NOTES]
    if len(found) == 1:
        return found[0]
    return lambda each: all(check(each) for check in found)


def _keyword(name: str, value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Check:
    """Return the check of one keyword; as in JSON Schema, it passes values of types that the keyword is not about."""
    match name:
        case "type":
            return TYPES[value]
        case "const":
            return lambda each: bool(each == value)
        case "enum":
            return lambda each: each in value
        case "pattern":
            found = re.compile(re.sub(r"\$$", r"\\Z", value), re.ASCII).search  # JSON Schema's $ is the very end
            return lambda each: not isinstance(each, str) or found(each) is not None
        case "minimum":
            return lambda each: not (_is_number(each) and each < value)
        case "maximum":
            return lambda each: not (_is_number(each) and each > value)
        case "exclusiveMinimum":
            return lambda each: not (_is_number(each) and each <= value)
        case "maxLength":
            return lambda each: not isinstance(each, str) or len(each) <= value
        case "minItems":
            return lambda each: not isinstance(each, list) or len(each) >= value
        case "maxItems":
            return lambda each: not isinstance(each, list) or len(each) <= value
        case "items":
            item = _checks(value, root)
            return lambda each: not isinstance(each, list) or all(map(item, each))
        case "required":
            return lambda each: not isinstance(each, dict) or all(key in each for key in value)
        case "properties":
            return _properties({key: _checks(part, root) for key, part in value.items()})
        case "additionalProperties" if value is False:
            known = schema["properties"].keys()
            return lambda each: not isinstance(each, dict) or each.keys() <= known
        case "oneOf":
            several = [_checks(part, root) for part in value]
            return lambda each: sum(check(each) for check in several) == 1
        case "$ref":
            return _checks(root["$defs"][value.removeprefix("#/$defs/")], root)
    raise ValueError(f"{name}: {value!r}: a keyword that the quick check does not know")


def _properties(parts: Mapping[str, Check]) -> Check:
    def check(each: Any) -> bool:
        if not isinstance(each, dict):
            return True
        return all(parts[key](value) for key, value in each.items() if key in parts)

    return check


def _is_number(each: Any) -> bool:
    return isinstance(each, (int, float)) and not isinstance(each, bool)


def _is_finite(each: Any) -> bool:
    """Return whether a value is a JSON number; NaN and infinity are none, though Python reads them."""
    return _is_number(each) and (isinstance(each, int) or isfinite(each))


TYPES: Mapping[str, Check] = {
    "object": lambda each: isinstance(each, dict),
    "array": lambda each: isinstance(each, list),
    "string": lambda each: isinstance(each, str),
    "number": _is_finite,
    "integer": lambda each: _is_finite(each) and (isinstance(each, int) or each.is_integer()),
}
