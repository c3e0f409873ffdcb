"""A Faust app that never pauses partitions and passes on all that it reads; partitions check the order themselves."""

from __future__ import annotations

from typing import Any

import faust
from faust.assignor.client_assignment import ClientMetadata
from faust.assignor.partition_assignor import PartitionAssignor


class UnpausedApp(faust.App):
    """A Faust app whose streams never pause a partition; what is too much waits in a full queue, and then in Kafka.

    Faust pauses a partition when a stream's queue is nearly full, and its consumer sleeps a second when all partitions
    are paused: a worker that had once fallen behind by a dozen messages stayed a second behind.
    """

    def FlowControlQueue(self, *arguments: Any, **named: Any) -> Any:  # noqa: N802 - Faust's own name
        """Return a queue that is full before it is under pressure."""
        queue = super().FlowControlQueue(*arguments, **named)
        queue.pressure_high_ratio = 0.5  # pressure begins at maxsize over this
        return queue

    def _new_consumer(self) -> Any:
        """Return a consumer that passes on all that it reads, also offsets before the last one.

        Faust drops those silently, and a message in flight during a seek makes it forget the seek; partitions check the
        order of offsets themselves.
        """
        consumer: Any = super()._new_consumer()
        consumer._read_offset = Unremembered()
        return consumer


class PresentPartitions(PartitionAssignor):
    """Assigns only partitions that exist.

    Faust's assignor lets each worker keep what it had; where a topic was made again with fewer partitions, it counts
    the missing ones, too, finds no room for the others, and ends the worker by an assertion.
    """

    def _perform_assignment(self, cluster: Any, member_metadata: Any) -> Any:
        self._cluster = cluster
        return super()._perform_assignment(cluster, member_metadata)

    def _get_client_metadata(self, metadata: Any) -> ClientMetadata:
        found = super()._get_client_metadata(metadata)
        for had in (found.assignment.actives, found.assignment.standbys):
            for topic in had:
                there = self._cluster.partitions_for_topic(topic) or ()
                had[topic] = [partition for partition in had[topic] if partition in there]
        return found


class Unremembered(dict[Any, Any]):
    """A mapping that stays empty, so that the offset last read is always None."""

    def __getitem__(self, key: Any) -> None:
        """Return None."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep nothing."""

    def update(self, *arguments: Any, **named: Any) -> None:
        """Keep nothing."""
