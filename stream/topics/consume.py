"""Read topics without a group: choose where to start, and read up to given ends, or for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from offramp.errors import ConfigError
from offramp.toml import shown

POLL_MS = 200
"""How long a poll waits for messages, and so how long a request to end may go unseen."""


def parse_start(text: str) -> str | int | float:
    """Return `beginning`, `end`, an offset as int, or a time as float ms since the epoch. Raises ConfigError."""
    if text in ("beginning", "end"):
        return text
    if text.isdecimal() and len(text) < 20:  # more digits than an offset has
        return int(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"--from {shown(text)}: expected beginning, end, an offset or a time such as 2026-01-31T08:00:00Z"
        ) from error
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1e3


def seek(consumer: Any, places: list[Any], start: str | int | float) -> None:
    """Seek to where reading starts, in every partition."""
    if start == "beginning":
        consumer.seek_to_beginning(*places)
    elif start == "end":
        consumer.seek_to_end(*places)
    elif isinstance(start, int):
        ends = consumer.end_offsets(places)
        for place in places:
            consumer.seek(place, min(start, ends[place]))
    else:
        ends = consumer.end_offsets(places)
        found = consumer.offsets_for_times(dict.fromkeys(places, int(float(start))))
        for place in places:
            consumer.seek(place, found[place].offset if found.get(place) else ends[place])


def records(
    consumer: Any, ends: Mapping[Any, int] | None, before_poll: Callable[[], object] = lambda: None
) -> Iterator[Any]:
    """Yield the consumer's records until each partition is read up to its end; for ever where no ends are given."""
    while ends is None or any(consumer.position(place) < end for place, end in ends.items()):
        before_poll()
        for each in consumer.poll(POLL_MS).values():
            yield from each
