"""The pace of a replay: what its text may say, and the slices that it is kept by."""

from __future__ import annotations

import numpy as np
import pytest

from offramp.capture.block import Interface, PacketBlock
from offramp.errors import ConfigError
from offramp.stream.local.pace import paced, parse_pace


def block(times_ms: list[float], first_number: int = 1) -> PacketBlock:
    n = len(times_ms)
    return PacketBlock(
        np.zeros(60 * n, np.uint8),
        np.arange(n, dtype=np.int64) * 60,
        np.full(n, 60, np.int32),
        np.full(n, 60, np.int32),
        np.array([round(t * 1e6) for t in times_ms], np.int64),
        np.zeros(n, np.int32),
        (Interface("eth0", 1),),
        first_number,
        kernel_drops=3,
    )


@pytest.mark.parametrize(("text", "factor"), [("max", 0.0), ("realtime", 1.0), ("10x", 10.0), ("0.5x", 0.5)])
def test_parse_pace(text: str, factor: float) -> None:
    assert parse_pace(text) == factor


@pytest.mark.parametrize("text", ["", "fast", "0x", "-1x", "10", "0.0001x", "2000000x", "1" * 400 + "x", "nanx"])
def test_parse_pace_says_what_it_expects(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected max, realtime or 0.001x to 1,000,000x"):
        parse_pace(text)


def test_paced_slices_keep_every_packet_and_number() -> None:
    whole = block([0, 1, 25, 26, 90], first_number=7)
    parts = list(paced(iter([whole]), 1000.0))
    assert [part.first_number for part in parts] == [7, 9, 11]
    assert np.concatenate([part.time_ns for part in parts]).tolist() == whole.time_ns.tolist()
    assert sum(part.kernel_drops for part in parts) == 3
