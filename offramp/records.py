"""Read past records that a client library cannot read: each is given as an empty one.

A header's name that is not UTF-8, or a batch compressed by a codec that is not installed, makes aiokafka and
kafka-python raise where they read the partition, after every restart again; kafka-python's `poll` may never return. A
broker takes both from anybody who may write. Here each record of such a batch that could not be read comes without key,
value and headers, and its reader refuses it like any other empty one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple


class UnreadableRecord(NamedTuple):
    """Stands for a record that could not be read, with the attributes that both libraries use."""

    offset: int
    key: None = None
    value: None = None
    headers: tuple[()] = ()
    timestamp: int = 0
    timestamp_type: int = 0
    checksum: None = None
    size_in_bytes: int = 0

    def validate_crc(self) -> bool:
        """Return True: the checksum of its batch was right."""
        return True


class ReadableBatch:
    """A batch of records that can be iterated to its end, whatever it holds; all else is the library's."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        due = int(self._batch.base_offset)
        try:
            for record in self._batch:
                due = int(record.offset) + 1
                yield record
        except Exception:  # of both libraries, and of what they call
            for offset in range(due, int(self._batch.next_offset)):
                yield UnreadableRecord(offset)


class ReadableRecords:
    """Batches as fetched, each readable to its end."""

    def __init__(self, records: Any) -> None:
        self._records = records

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def next_batch(self) -> ReadableBatch | None:
        """Return the next batch, None where there is none."""
        batch = self._records.next_batch()
        return None if batch is None else ReadableBatch(batch)


def open_consumer(*topics: str, **arguments: Any) -> Any:
    """Return a KafkaConsumer (kafka-python) that reads past what it cannot read; arguments: as the library's."""
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(*topics, **arguments)
    fetcher = consumer._fetcher
    theirs = fetcher.PartitionRecords

    def records(fetch_offset: int, tp: Any, fetched: Any, **named: Any) -> Any:
        return theirs(fetch_offset, tp, ReadableRecords(fetched), **named)

    fetcher.PartitionRecords = records
    return consumer


def read_past_unreadable_records() -> None:
    """Make the consumers of aiokafka in this process do the same; further calls change nothing."""
    from aiokafka.consumer import fetcher

    theirs = fetcher.PartitionRecords
    if getattr(theirs, "reads_past", False):
        return

    class PartitionRecords(theirs):  # type: ignore[misc, valid-type]
        reads_past = True

        def __init__(self, tp: Any, records: Any, *rest: Any, **named: Any) -> None:
            super().__init__(tp, ReadableRecords(records), *rest, **named)

    fetcher.PartitionRecords = PartitionRecords
