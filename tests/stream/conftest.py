from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from offramp.capture.schema import COLUMNS, Kind
from offramp.stream.channels import BIN_MS, CHANNELS, SPECTRUM_SIZE
from offramp.stream.datasets.synthetic import synthetic_packets
from offramp.stream.windows.normaliser import Normaliser

BASE = 1_700_000_000_000_000_000


def arrow_type(kind: Kind, bits: int) -> pa.DataType:
    if kind in (Kind.BOOL, Kind.PRESENT):
        return pa.uint8()
    if kind in (Kind.TIME, Kind.NANOSECONDS, Kind.SECONDS):
        return pa.int64()
    if kind == Kind.TEXT:
        return pa.string()
    if kind == Kind.BYTES:
        return pa.binary()
    if kind == Kind.IPV6:
        return pa.binary(16)
    return {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}[bits]


def make_batch(rows: int, **cells: object) -> pa.RecordBatch:
    """A feature batch of the stream profile; cells by column name with dots as double underscores."""
    given = {name.replace("__", "."): values for name, values in cells.items()}
    arrays, names = [], []
    for column in COLUMNS:
        if not column.stream:
            continue
        kind = arrow_type(column.kind, column.bits)
        arrays.append(pa.array(given.get(column.name, [None] * rows), kind))
        names.append(column.name)
    return pa.RecordBatch.from_arrays(arrays, names)


def ip(text: str) -> int:
    a, b, c, d = (int(part) for part in text.split("."))
    return a << 24 | b << 16 | c << 8 | d


class FakePrediction(NamedTuple):
    probabilities: NDArray[np.float32]
    delay_ms: NDArray[np.float32]


class FakePredictor:
    """Deterministic and batch-invariant: says High where the smoothed delay peak is high."""

    name, sha, horizon_ms, bin_ms, state_size = "fake", "0" * 64, 500, BIN_MS, 2
    channels, spectrum_size, thresholds_ms = CHANNELS, SPECTRUM_SIZE, (1.0, 10.0)

    def predict(self, x, spectrum, series, state):  # type: ignore[no-untyped-def]
        assert x.dtype == spectrum.dtype == state.dtype == np.float32
        probabilities = np.zeros((len(x), 3), np.float32)
        peak = CHANNELS.index("delay_peak")
        for row in range(len(x)):
            own = state[series[row]]
            own[0] = np.float32(0.8) * own[0] + np.float32(0.2) * x[row, peak]
            own[1] += np.float32(1)
            probabilities[row, 2] = min(own[0] * 2, 1)
        probabilities[:, 0] = 1 - probabilities[:, 2]
        delay = probabilities[:, 2:3] * np.array([10, 20, 30], np.float32)
        return FakePrediction(probabilities, delay)


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

    def both(first, second):  # type: ignore[no-untyped-def]
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
def normaliser_state():  # type: ignore[no-untyped-def]
    normaliser = Normaliser(len(CHANNELS))
    rows = np.linspace(0, 5, 200, dtype=np.float32)[:, None].repeat(len(CHANNELS), 1)
    normaliser.update(rows)
    return normaliser.state()
