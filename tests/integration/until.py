"""Waiting for a condition, for the tests of the service: bounded, and no longer than it takes."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.support.workers import WAIT_S


def until(condition: Callable[[], object], wait_s: float = WAIT_S) -> None:
    """Wait until a condition holds; fail where it does not in time."""
    deadline = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)
