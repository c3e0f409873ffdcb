"""What the watchdog makes of places and ends that it sees."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from offramp.stream.worker.watchdog import OffsetPosition, Watchdog


def test_a_partition_that_lost_its_end_is_read_again_once() -> None:
    """Until a message comes the group's place stays beyond the end; once it comes back, it can be lost again."""
    worker: Any = SimpleNamespace(
        settings=SimpleNamespace(topic=lambda name: name), site=SimpleNamespace(name="lab"), ledger=None
    )
    watchdog = Watchdog(worker)

    def look(offset: int, end: int) -> bool:
        return watchdog._is_short({0: OffsetPosition(offset, idle=True)}, {0: end})

    assert [look(9, 5) for _ in range(6)] == [False, True, False, False, False, False]
    assert not look(5, 5)
    assert [look(9, 5) for _ in range(3)] == [False, True, False]
