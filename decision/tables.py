"""Read tables of a TOML file as checked values; errors are one line, in the words of the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from offramp.decision.address import Network, network_of
from offramp.errors import ConfigError
from offramp.toml import read_toml, shown, unknown_key

Table = TypeVar("Table", bound=BaseModel)
MAX_NAME = 80
"""Bytes of a name: names become keys of topics, labels of metrics and, quoted, names of folders (255 bytes)."""

ONE_OF = {"links": "link", "paths": "path", "nodes": "node", "known": "known device", "sources": "source"}
"""What one table of an array is called."""


def printable(text: str) -> str:
    """Return a text that may be shown, sent and logged as it is. Raises ValueError."""
    if not text.isprintable():
        raise ValueError(f"expected text of printable characters; found {shown(text)}")
    if len(text.encode()) > MAX_NAME:
        raise ValueError(f"expected at most {MAX_NAME} bytes; found {len(text.encode())}")
    return text


def name(text: str) -> str:
    """Return a name: printable, not empty, without blanks around it, no `.` or `..`. Raises ValueError."""
    printable(text)
    if not text.strip(" ."):
        raise ValueError(f"expected a name; found {shown(text)}")
    if text != text.strip():
        raise ValueError(f"expected a name without blanks around it; found {shown(text)}")
    return text


Name = Annotated[str, AfterValidator(name)]
Label = Annotated[str, AfterValidator(printable)]
NetworkField = Annotated[Network, BeforeValidator(network_of)]
Switch = Annotated[bool, Field(strict=True)]


class Strict(BaseModel):
    """A table of a file: no unknown keys, no later change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _is_a_table_of_known_keys(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            one = ", of one bracket on each side" if isinstance(value, list) else ""
            raise ValueError(f"expected one table{one}; found {shown(value)}")
        keys = [field.alias or name for name, field in cls.model_fields.items()]
        for key in value:
            if key not in keys:
                raise _UnknownKeyError(str(key), unknown_key(str(key), keys))
        return value


class _UnknownKeyError(ValueError):
    """A key that a table does not have."""

    def __init__(self, key: str, words: str) -> None:
        super().__init__(words)
        self.key = key


def load_toml(kind: type[Table], path: Path, page: str) -> Table:
    """Read a TOML file as `kind`; `page` lists its keys. Raise ConfigError with file, key, what was expected, found."""
    table = read_toml(path)
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_complaint(error, table, page)}") from error


def first_complaint(error: ValidationError, table: Mapping[str, Any], page: str) -> str:
    """Return the first error in one line; unknown keys come before all else, as they explain what is missing."""
    found = error.errors(include_url=False)
    first = next((each for each in found if isinstance(_cause(each), _UnknownKeyError)), found[0])
    cause = _cause(first)
    place = [*first["loc"], cause.key] if isinstance(cause, _UnknownKeyError) else list(first["loc"])
    words = WORDS.get(first["type"], _another_kind)
    where = _where(place, table)
    more = f" ({page})" if first["type"] == "missing" or isinstance(cause, _UnknownKeyError) else ""
    return f"{where}: {words(first)}{more}" if where else f"{words(first)}{more}"


def _cause(error: ErrorDetails) -> object:
    return error.get("ctx", {}).get("error")


def _another_kind(error: ErrorDetails) -> str:
    return f"expected another kind of value; found {shown(error['input'])}"


def _not_a_list(error: ErrorDetails) -> str:
    name, found = ".".join(part for part in error["loc"] if isinstance(part, str)), error["input"]
    if error["loc"][-1] not in ONE_OF:
        single = isinstance(found, str | int | float)
        return f"expected a list, such as [{shown(found)}]; found {shown(found)}" if single else "expected a list"
    if isinstance(found, Mapping):
        return f"expected tables [[{name}]], two brackets on each side; found one table [{name}]"
    return f"expected tables [[{name}]]; found {shown(found)}"


def _too_few(error: ErrorDetails) -> str:
    return f"expected at least {error['ctx']['min_length']}; found {shown(error['input'])}"


WORDS: dict[str, Callable[[ErrorDetails], str]] = {
    "value_error": lambda error: str(error["ctx"]["error"]),
    "missing": lambda error: "is missing",
    "string_type": lambda error: f"expected text in quotes; found {shown(error['input'])}",
    "bool_type": lambda error: f"expected true or false; found {shown(error['input'])}",
    "literal_error": lambda error: f"expected {error['ctx']['expected']}; found {shown(error['input'])}",
    "tuple_type": _not_a_list,
    "too_short": _too_few,
    "too_long": lambda error: f"expected {error['ctx']['max_length']} values; found more",
}
"""What is said for each kind of error that the tables can have."""


def _where(place: Sequence[object], table: Any) -> str:
    """Return a place in words: `link 'uplink': path 'lte': capacity`; an entry of a list by its number, from 1."""
    parts: list[str] = []
    for at, part in enumerate(place):
        inner = _inner(table, part)
        if isinstance(part, int):
            key = str(place[at - 1]) if at else ""
            title = _title(inner)
            one = ONE_OF.get(key, key)
            parts[-1:] = [f"{one} {title}" if title and key in ONE_OF else f"{one}, entry {part + 1}"]
        else:
            parts.append(_shown_key(str(part)))
        table = inner
    return ": ".join(parts)


def _title(table: Any) -> str:
    """Return the name or address of a table as shown in messages, if it has one."""
    names = [table.get(key) for key in ("name", "address")] if isinstance(table, Mapping) else []
    return next((shown(each) for each in names if isinstance(each, str) and each), "")


def _shown_key(key: str) -> str:
    return key if key.isprintable() and len(key) <= MAX_NAME else shown(key)


def _inner(table: Any, part: object) -> Any:
    try:
        return table[part]
    except (KeyError, IndexError, TypeError):
        return None
