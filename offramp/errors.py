"""The one error family of offramp. Every message says what was wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class OfframpError(Exception):
    """Base of all errors a user may meet; the command line prints it in one line.

    `exit_code` is 1 (failed) unless a leaf says otherwise (2: wrong usage or input).
    """

    exit_code = 1


class InputError(OfframpError):
    """A file, stream or row that cannot be read as what it should be."""

    exit_code = 2


class ConfigError(OfframpError):
    """A configuration key that is missing, unknown or of the wrong kind."""

    exit_code = 2


class ArtifactError(OfframpError):
    """A model artifact that is incomplete, altered, or of another schema version."""

    exit_code = 2


class ContractError(OfframpError):
    """A message that breaks its published contract."""


class OutputError(OfframpError):
    """Where the data goes takes no more."""


class ReaderGoneError(OfframpError):
    """Who reads the data has seen enough (`| head`): no error, and nothing is said."""

    exit_code = 0


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what writing a file or folder raises in the body into one line that names it."""
    try:
        yield
    except OSError as error:
        folder = error.filename or path
        raise OfframpError(
            f"{folder}: cannot write: {error.strerror or error}; check the folder, its rights and its space"
        ) from error
