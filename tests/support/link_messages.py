"""A batch as the messages of an agent, and the commands that a link's run makes of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from offramp.capture.message.decode import FeatureMessage
from offramp.capture.message.encode import FeatureHeaders, times_of
from offramp.stream.links.link_consumer import LinkConsumer


def cut(batch: pa.RecordBatch, parts: int = 12, epoch: int = 1, agent: str = "a") -> list[FeatureMessage]:
    """A batch as messages of one epoch, with an end."""
    edges = np.linspace(0, batch.num_rows, parts + 1).astype(int)
    out = []
    for number, (start, stop) in enumerate(itertools.pairwise(edges)):
        part = batch.slice(start, stop - start)
        headers = FeatureHeaders("lab", agent, epoch, number, len(part), *times_of(part))
        out.append(FeatureMessage("uplink", headers, part))
    return [*out, FeatureMessage("uplink", FeatureHeaders("lab", agent, epoch, parts, 0, end=True), None)]


def fed(consumer: LinkConsumer, messages: Iterable[FeatureMessage], start: int = 0) -> list[str]:
    """The commands of messages from an offset on."""
    return [command.to_json() for at, message in enumerate(messages, start) for command in consumer.feed(message, at)]
