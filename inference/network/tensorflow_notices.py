"""Suppress TensorFlow's notice about oneDNN, which no option silences: it is written before logging is configured."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

NOTICES = (b"oneDNN custom operations are on", b"All log messages before absl::InitializeLog() is called")


@contextmanager
def without_notices() -> Iterator[None]:
    """Hold back standard error, of native code too, and pass on all of it but the notice.

    For the import of TensorFlow alone: oneDNN itself stays as it is, so no result changes.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            lines = [line for line in held if not any(notice in line for notice in NOTICES)]
            os.write(2, b"".join(lines))
