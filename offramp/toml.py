"""Read TOML files that people write: errors are one line, naming the key that was probably meant."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from offramp.errors import ConfigError

MAX_FILE = 16 << 20
"""Bytes of a file that is read: tens of thousands of links, and not all of /dev/zero."""
SHOWN = 60
"""Characters of a value that a message shows."""


def read_toml(path: Path, what: str = "") -> dict[str, Any]:
    """Return the tables of a file, with or without a byte-order mark.

    what: put before the path in messages, such as an option's name. Raises ConfigError.
    """
    named = f"{what} {path}".lstrip()
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"{named}: there is no such file") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{named}: is a folder; name the file in it") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise ConfigError(f"{named}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > MAX_FILE:
        raise ConfigError(f"{named}: is larger than {MAX_FILE >> 20} MB; is it the right file?")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{named}: is no UTF-8 text (byte {error.start + 1}); save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{named}: is no TOML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ConfigError(f"{named}: is no TOML that can be read: it is nested too deeply") from error
    except ValueError as error:  # a number of thousands of digits, a date that does not exist
        raise ConfigError(f"{named}: is no TOML: it holds a number or date that is none") from error


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Return words for a key that does not exist, with the nearest that does, or all where none is near."""
    names = list(known)
    by_lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(key.lower(), by_lower, n=1)
    meant = f"did you mean {by_lower[near[0]]}?" if near else f"there are {', '.join(names)}"
    return f"there is no such key; {meant}"


def shown(value: object) -> str:
    """Return a value of the file for a message: one line, no control characters, not longer than SHOWN."""
    text = toml_text(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def toml_text(value: object) -> str:
    """Return a value about as TOML writes it, as printable characters."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of more than 20 digits"
    text = repr(value) if isinstance(value, str | int | float) else str(value)
    return text if text.isprintable() else ascii(text)
