"""The latency of commands, hop by hop, from the bench's client, the feature topic and the decision topic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.capture.message.decode import FeatureMessage, decode_message
from offramp.kafka import KafkaSettings

TOLD = (
    ("lateness", "closing", "packet past the bin's end and the lateness"),
    ("ring", "read", "got from the kernel's ring"),
    ("dissect", "dissected", "dissected"),
    ("publish", "published", "encoded, handed to the agent's producer"),
    ("features", "logged", "in the broker's log"),
    ("fetch", "fetched", "fetched, taken up by the worker's partition processor"),
    ("thread", "begun", "in the worker's thread"),
    ("decode", "decoded", "decoded and checked"),
    ("decide", "decided", "bins, model, policy"),
    ("command", "sent", "command handed to the worker's producer"),
    ("decisions", "told", "command in the broker's log"),
    ("client", "arrived", "fetched by the client"),
    ("check", "given", "validated, given to the controller"),
)
"""Hops in order: key, the time at its end, and what has happened then. The first begins with the bin's last packet."""


@dataclass(frozen=True, slots=True)
class Features:
    """What was published of the link, in order.

    time_ns: int64 [rows]; newest_ns: the greatest so far; message: int64 [rows], place in `logged_ns`, of each row.
    """

    time_ns: NDArray[np.int64]
    newest_ns: NDArray[np.int64]
    message: NDArray[np.int64]
    logged_ns: NDArray[np.int64]
    late_ns: NDArray[np.int64]


def records_of(settings: KafkaSettings, topic: str) -> Iterator[Any]:
    """Yield all messages that a topic holds, partition by partition."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(**settings.client_arguments(), enable_auto_commit=False)
    try:
        name = settings.topic(topic)
        places = [TopicPartition(name, number) for number in sorted(consumer.partitions_for_topic(name))]
        ends = consumer.end_offsets(places)
        for place in places:
            consumer.assign([place])
            consumer.seek_to_beginning(place)
            while consumer.position(place) < ends[place]:
                for records in consumer.poll(500).values():
                    yield from records
    finally:
        consumer.close()


def features_of(records: Iterable[Any]) -> Features:
    """Return the rows of the feature messages, and when the broker logged each message."""
    times, logged = [], []
    for record in records:
        message: FeatureMessage | None = decode_message(record.key, record.headers, record.value)
        if message is not None and message.batch is not None:
            times.append(message.batch.column("frame.time_epoch").to_numpy())
            logged.append(record.timestamp * 1_000_000 + 500_000)
    whole = np.concatenate(times)
    newest = np.maximum.accumulate(whole)
    message_of = np.repeat(np.arange(len(times)), [len(each) for each in times])
    return Features(whole, newest, message_of, np.array(logged, np.int64), (newest - whole)[newest > whole])


def hops_in_ms(
    commands: Sequence[tuple[str, int, str, Mapping[str, int]]],
    features: Features,
    told_ns: Mapping[str, int],
    lateness_ns: int,
) -> dict[str, NDArray[np.float64]]:
    """Return the length in ms of each hop of each command, and `total`, `from_bin` (since the window's end).

    commands: of bins that a packet closed; told_ns: when the broker logged each command, by decision id.
    """
    in_order = np.sort(features.time_ns)
    ends = np.array([end for _, end, _, _ in commands])
    last = in_order[np.searchsorted(in_order, ends) - 1]
    closing = np.searchsorted(features.newest_ns, ends + lateness_ns)
    times = {name: np.array([hops.get(name, 0) for *_, hops in commands], np.int64) for _, name, _ in TOLD}
    times["closing"] = features.newest_ns[closing]
    times["logged"] = features.logged_ns[features.message[closing]]
    times["told"] = np.array([told_ns[name] for name, *_ in commands])
    before, hops = last, {}
    for key, name, _ in TOLD:
        hops[key] = (times[name] - before) / 1e6
        before = times[name]
    return {**hops, "total": (before - last) / 1e6, "from_bin": (before - ends) / 1e6}


def table(hops: Mapping[str, NDArray[np.float64]]) -> str:
    """Return the hops as lines: median, 90th and 99th percentile, and the longest, in ms."""
    names = {key: text for key, _, text in TOLD}
    names |= {"total": "bin's last packet to the controller", "from_bin": "bin's end to the controller"}
    lines = [f"{'until':<46} {'p50':>8} {'p90':>8} {'p99':>8} {'longest':>8}  (ms)"]
    for key, text in names.items():
        cuts = " ".join(f"{each:>8.2f}" for each in [*np.percentile(hops[key], (50, 90, 99)), hops[key].max()])
        lines.append(f"{text:<46} {cuts}")
    return "\n".join(lines)
