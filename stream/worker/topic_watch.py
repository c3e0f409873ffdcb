"""Watch a worker's topics while it runs: whether one was deleted, made again, or given more partitions.

Offsets do not outlast a topic, yet Kafka's clients compare offsets alone. A topic that is made again has another id:
ids stand in checkpoints and with the committed offsets, and are compared here while the worker runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from offramp.kafka import TopicState, described
from offramp.stream.topics.table import WAY_BACK

if TYPE_CHECKING:
    from offramp.stream.app import Worker

NAMES = ("features", "forecasts", "decisions", "state", "dead-letters")
"""The topics that a worker needs."""
AGAIN_S = 300.0
"""Seconds after which a problem that persists is reported again."""


class TopicWatch:
    """Compares topics with those the worker began with; `tell` is called with what is wrong, once in AGAIN_S.

    added: partitions of the feature topic that nobody works on.
    """

    def __init__(self, worker: Worker, tell: Callable[[str], None]) -> None:
        self.added = 0
        self._worker, self._tell = worker, tell
        self._names = {name: worker.settings.topic(name) for name in NAMES}
        self._told: dict[str, float] = {}

    def look(self, admin: Any) -> TopicState | None:
        """Return the feature topic as it is, with the partitions that can be worked on; None where it is not there.

        Raises KafkaError.
        """
        found = described(admin, list(self._names.values()))
        missing = ", ".join(sorted(set(self._names.values()) - set(found)))
        self._say("missing", missing and f"{missing}: deleted; run `offramp topics create`")
        features, state = (found.get(self._names[name]) for name in ("features", "state"))
        if features is None or state is None:
            return None
        mine, served = self._worker.topic, min(features.partitions, state.partitions)
        new = self.is_new(features)
        if new:
            self._tell(f"{self._names['features']} was made again: its messages are taken from its beginning")
        self.added = features.partitions - min(served, served if new else mine.partitions)
        counts = f"{self._names['features']} has {features.partitions} partitions, {self._names['state']} "
        counts += f"{state.partitions}, and this worker began with {mine.partitions}: the links of {self.added} are "
        self._say("added", f"{counts}not worked on; {WAY_BACK}" if self.added else "")
        return TopicState(features.id, served)

    def is_new(self, features: TopicState) -> bool:
        """Return whether the feature topic was made again since the worker began with it."""
        return bool(self._worker.topic.id and features.id) and self._worker.topic.id != features.id

    def _say(self, kind: str, text: str) -> None:
        """Report a problem of a kind, unless it has just been reported; an empty text: there is none."""
        now_s = time.monotonic()
        if not text:
            self._told.pop(kind, None)
        elif now_s - self._told.get(kind, -AGAIN_S) >= AGAIN_S:
            self._told[kind] = now_s
            self._tell(text)


def unowned(admin: Any, group: str, topic: str, partitions: int) -> frozenset[int]:
    """Return the partitions of a topic that no member of a group has, where the group is at rest; else none."""
    from kafka.errors import RetriableError

    try:
        group_state: Mapping[str, Any] = admin.describe_groups([group])[group]
    except RetriableError:
        return frozenset()  # the coordinator moves, and the group is not at rest
    if group_state.get("group_state") != "Stable":
        return frozenset()
    owned: set[int] = set()
    for member in group_state["members"]:
        assignment = member["member_assignment"]
        for place in assignment["assigned_partitions"] if isinstance(assignment, Mapping) else ():
            if place["topic"] == topic:
                owned.update(place["partitions"])
    return frozenset(range(partitions)) - owned
