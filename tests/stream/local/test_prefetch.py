"""What is read ahead by a thread comes in order, with its errors, and the thread ends with its reader."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from offramp.errors import InputError
from offramp.stream.local.prefetch import prefetch


def test_prefetch_keeps_the_order_and_hands_over_errors() -> None:
    def items() -> Iterator[int]:
        yield from range(100)
        raise InputError("the end")

    got: list[int] = []
    with pytest.raises(InputError, match="the end"):
        got.extend(prefetch(items()))
    assert got == list(range(100))


def test_prefetch_ends_its_thread_when_the_reader_stops() -> None:
    before = threading.active_count()
    reader = prefetch(iter(range(10**9)))
    assert next(reader) == 0
    reader.close()
    assert threading.active_count() == before
