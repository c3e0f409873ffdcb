"""Timelines for tests: of a pipeline whose batch comes in parts, and made up bin by bin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from offramp.decision.command import Command
from offramp.stream.channels import BIN_NS
from offramp.stream.pipeline.timeline import BinContext, LinkTimeline
from offramp.stream.pipeline.timeline_table import timeline_schema
from tests.support.fake_predictor import FakePredictor
from tests.support.pipelines import SITE, build

SCHEMA = timeline_schema(SITE, FakePredictor())
HORIZON_MS = FakePredictor.horizon_ms


def lines_of(
    predictor: FakePredictor, normaliser_state: Mapping[str, NDArray[Any]], batch: pa.RecordBatch,
    cuts: Sequence[int] = (), *, clock_ns: int = 0,
) -> tuple[list[LinkTimeline], list[Command]]:  # fmt: skip
    """What a pipeline tells of a batch that comes in parts, and its commands; clock_ns: the clock's lead on packets.

    With a clock, which is a tap's, it is told behind each part, and until a silence has ended the link.
    """
    seen: list[LinkTimeline] = []
    pipeline = build(predictor, normaliser_state, seen.append)
    commands: list[Command] = []
    for start, end in zip([0, *cuts], [*cuts, batch.num_rows], strict=True):
        commands += pipeline.update(batch.slice(start, end - start))
        if clock_ns:
            commands += pipeline.advance(pipeline.newest_ns + clock_ns)
    for step in range(100 if clock_ns else 0):
        commands += pipeline.advance(pipeline.newest_ns + step * BIN_NS)
    return seen, commands + pipeline.close()


def made_line(
    bins: Sequence[int], queue_ms: ArrayLike, load: ArrayLike = 0.5, link: str = "uplink",
    commands: Sequence[Command] = (), **more: Any,
) -> LinkTimeline:  # fmt: skip
    """Bins with a queue, which is as long at the end of each as it has been."""
    count = len(bins)
    queue = np.array(queue_ms, np.float32)
    share = np.broadcast_to(np.asarray(load, np.float32), count).copy()
    nothing = np.zeros(count, np.float32)
    context = BinContext(queue, np.ones(count, np.float32), np.zeros(count, np.int32), *[nothing] * 5)
    time_ns = np.array(bins, np.int64) * BIN_NS
    three = np.tile(np.array([0.2, 0.3, 0.5], np.float32), (count, 1))
    return LinkTimeline(link, time_ns, share, share, queue, three, three, tuple(commands), context=context, **more)
