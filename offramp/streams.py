"""The standard streams of a command: errors of these are one line or none, never a traceback or a lost file.

Where standard error takes nothing (a full disk of logs, a reader that is gone, closed) work goes on: what is printed is
lost, what is counted is not. Where standard output takes nothing the command ends with a line; a reader that has seen
enough (`| head`) is no error. Control characters are escaped (offramp.escape).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast

from offramp.errors import OutputError, ReaderGoneError
from offramp.escape import EscapingStream


class Guarded:
    """A text stream whose writing runs within `guard`; all else is the stream's."""

    def __init__(self, stream: TextIO, guard: Callable[[], AbstractContextManager[Any]]) -> None:
        self._stream, self._guard = stream, guard

    def write(self, text: str) -> int:
        """Write text."""
        with self._guard():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        with self._guard():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def tell(text: str) -> None:
    """Print a line for the operator on standard error, beside the data; errors are ignored."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Guard the streams while a command runs. Raises OutputError where its data could not all be handed on."""
    for number in (0, 1, 2):  # a file that is opened would else get what libraries print
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    log = sys.stderr if sys.stderr is not None else Path(os.devnull).open("w")  # noqa: SIM115 - until the end
    guarded = Guarded(log, partial(suppress, OSError, ValueError))  # ValueError: it was closed
    sys.stderr = cast(TextIO, EscapingStream(guarded))
    if sys.stdout is not None:
        sys.stdout = cast(TextIO, EscapingStream(Guarded(sys.stdout, partial(data_errors, "standard output"))))
    try:
        yield
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


@contextmanager
def data_errors(name: str) -> Iterator[None]:
    """Turn what writing data raises into one line, or ReaderGoneError."""
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGoneError(f"{name}: the reader is gone") from error
    except OSError as error:
        raise OutputError(f"{name}: cannot write: {error.strerror}; what is there is not whole") from error


def forget_output() -> None:
    """Discard what standard output has not taken, so that the interpreter does not try again at its end."""
    if sys.stdout is not None:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
