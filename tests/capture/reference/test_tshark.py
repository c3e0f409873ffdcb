"""The reference path's tshark: ended in order, told of when it ends by itself, and said to be missing."""

from __future__ import annotations

import os
import shutil
import signal

import numpy as np
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from offramp.capture.block import Interface, PacketBlock
from offramp.capture.dissectors import open_dissector
from offramp.capture.reference.tshark import ReferenceDissector
from offramp.errors import ConfigError, OfframpError

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark, which the reference is, is missing")


def block(count: int) -> PacketBlock:
    raw = bytes(Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=5000, dport=6000) / (b"x" * 900))
    sizes = np.full(count, len(raw), np.int32)
    offsets = np.arange(count, dtype=np.int64) * len(raw)
    zero = np.zeros(count, np.int32)
    data = np.frombuffer(raw * count, np.uint8)
    return PacketBlock(data, offsets, sizes, sizes, offsets, zero, (Interface("test", 1),))


@needs_tshark
def test_a_block_larger_than_the_pipe_passes() -> None:
    with open_dissector("reference", "stream", batch_rows=64) as dissector:
        assert [batch.num_rows for batch in dissector.dissect(block(150))] == [64, 64, 22]


@needs_tshark
def test_tshark_ends_with_the_dissector() -> None:
    dissector = ReferenceDissector("stream")
    dissector.dissect(block(2))
    pid = dissector._tshark._process.pid
    dissector.close()
    dissector.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ValueError, match="closed"):
        dissector.dissect(block(1))


@needs_tshark
def test_a_block_left_half_read_does_not_hang_the_end() -> None:
    dissector = ReferenceDissector("stream")
    next(iter(dissector._tshark.read(block(3000))))
    pid = dissector._tshark._process.pid
    dissector.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@needs_tshark
def test_a_tshark_that_ends_by_itself_is_told_of() -> None:
    dissector = ReferenceDissector("stream")
    dissector.dissect(block(2))
    os.kill(dissector._tshark._process.pid, signal.SIGKILL)
    with pytest.raises(OfframpError, match="tshark ended at packet 3"):
        dissector.dissect(block(3000))
    dissector.close()


def test_a_missing_tshark_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ConfigError, match="needs tshark"), open_dissector("reference", "stream"):
        pass
