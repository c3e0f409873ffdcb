"""Read topics without a group through all that happens to them: made again, given more partitions, cut short."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from offramp.kafka import TopicState
from offramp.reach import ReachWatch, say

READING: dict[str, Any] = {"enable_auto_commit": False, "auto_offset_reset": "earliest"}
"""Arguments of the consumer. Behind what the broker has deleted it goes on with the oldest left, not at the end."""


class Followed:
    """Assigns all partitions of topics to a consumer, and follows the changes that `watch` finds.

    topics: their state at the beginning, by full name. No new message is skipped: a topic that was made again is read
    from its beginning, and so are partitions that were added.
    """

    def __init__(self, consumer: Any, watch: ReachWatch, topics: Mapping[str, TopicState]) -> None:
        self._consumer, self._watch, self._topics = consumer, watch, dict(topics)
        consumer.assign(self.places())

    def places(self, *names: str) -> list[Any]:
        """Return the partitions of some topics, of all where none is named."""
        from kafka import TopicPartition

        partitions = [(name, self._topics[name].partitions) for name in names or self._topics]
        return [TopicPartition(name, number) for name, count in partitions for number in range(count)]

    def keep_up(self) -> set[str]:
        """Follow the changes of the topics; return the names of those that were made again."""
        found = {name: state for name, state in self._watch.topics.items() if state != self._topics.get(name)}
        again = {name for name, state in found.items() if state.id != self._topics[name].id}
        if not found:
            return again
        before = set(self.places())
        for name in found:
            say(f"{name} {'was made again' if name in again else 'has other partitions'}: read from their beginning")
        self._topics.update(found)
        self._consumer.assign(self.places())
        begin = [place for place in self.places(*found) if place.topic in again or place not in before]
        if begin:
            self._consumer.seek_to_beginning(*begin)
        return again
