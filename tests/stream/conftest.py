"""Fixtures of the stages' tests: a predictor without a model, a batch of thirty seconds, a normaliser's state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import ArrayLike, NDArray

from offramp.stream.datasets.synthetic import synthetic_packets
from offramp.stream.pipeline.pipeline import Pipeline
from tests.support.fake_predictor import FakePredictor
from tests.support.feature_batches import BASE, ip, make_batch
from tests.support.pipelines import build, learned


@pytest.fixture
def predictor() -> FakePredictor:
    return FakePredictor()


@pytest.fixture(scope="session")
def busy_batch() -> pa.RecordBatch:
    """Thirty seconds of a synthetic link that is quiet, congested and quiet again, as a feature batch."""
    packets, _ = synthetic_packets(np.random.default_rng(11), 5.0)
    rng = np.random.default_rng(5)
    flood = np.sort(rng.uniform(1.0, 2.0, 4_000))
    time = np.concatenate([packets.time_ns, BASE + (flood * 1e9).astype(np.int64)])
    order = np.argsort(time, kind="stable")
    n = len(order)

    def both(first: NDArray[np.int64], second: ArrayLike) -> NDArray[np.int64]:
        return np.concatenate([first, np.broadcast_to(second, len(flood))])[order]

    return make_batch(
        n,
        frame__time_epoch=time[order],
        frame__len=both(packets.size, 1_400),
        ip__src_host=both(packets.address[:, 1] & 0xFFFFFFFF, ip("10.0.0.77")),
        ip__dst_host=both(packets.address[:, 3] & 0xFFFFFFFF, ip("192.0.2.9")),
        ip__proto=np.full(n, 17),
        udp__srcport=both(packets.ports >> 16, 4_000),
        udp__dstport=both(packets.ports & 0xFFFF, 5_000),
    )


@pytest.fixture(scope="session")
def normaliser_state() -> dict[str, NDArray[Any]]:
    return learned()


@pytest.fixture
def make(predictor: FakePredictor, normaliser_state: dict[str, NDArray[Any]]) -> Callable[[str], Pipeline]:
    """Make a link's pipeline."""
    return lambda _link: build(predictor, normaliser_state)
