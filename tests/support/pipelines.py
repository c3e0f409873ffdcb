"""A link's pipeline with a predictor of choice, and the commands of batches cut as asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from offramp.decision.command import Command
from offramp.decision.site import Site
from offramp.inference.serving.predictor import Predictor
from offramp.stream.channels import CHANNELS
from offramp.stream.pipeline.meeting import Sink
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.windows.normaliser import Normaliser

SITE = Site.model_validate(
    {
        "links": [
            {
                "name": "uplink",
                "capacity": "20 Mbit/s",
                "buffer_bytes": 200_000,
                "budget_ms": 15,
                "devices": ["10.0.0.0/24"],
                "paths": [{"name": "spare", "capacity": "50 Mbit/s"}],
                "nodes": [{"name": "edge-1"}],
            }
        ],
        "policy": {"exit_bins": 20, "hold_s": 0.2},
    }
)


def learned() -> dict[str, NDArray[Any]]:
    """The state of a normaliser that has seen every channel between 0 and 5."""
    normaliser = Normaliser(len(CHANNELS))
    rows = np.linspace(0, 5, 200, dtype=np.float32)[:, None].repeat(len(CHANNELS), 1)
    normaliser.update(rows)
    return normaliser.state()


def build(predictor: Predictor, normaliser_state: Mapping[str, NDArray[Any]], sink: Sink | None = None) -> Pipeline:
    return Pipeline(SITE, "uplink", predictor, normaliser_state, sink=sink)


def commands_of(pipeline: Pipeline, batch: pa.RecordBatch, cuts: Sequence[int]) -> list[str]:
    """The commands of a batch that comes in parts."""
    out: list[Command] = []
    for start, end in zip([0, *cuts], [*cuts, batch.num_rows], strict=True):
        out += pipeline.update(batch.slice(start, end - start))
    return [command.to_json() for command in out + pipeline.close()]
