"""The blast: whatever the machine can do, every packet that was sent is somewhere."""

from __future__ import annotations

import pytest

from bench.namespace import NotAllowedError
from bench.tap import Outcome, blast


def blasted(rate: float, seconds: float, size: int, buffer_mb: int, whole: bool) -> Outcome:
    try:
        return blast("test", rate, seconds, size, buffer_mb, whole)
    except NotAllowedError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("whole", [False, True], ids=["capture and dissection", "whole pipeline"])
def test_every_packet_of_a_blast_is_accounted_for(whole: bool) -> None:
    outcome = blasted(40_000, 0.5, 100, 64, whole=whole)
    ledger = outcome.ledger
    assert outcome.sent == 20_000
    assert outcome.sent == ledger.captured + ledger.kernel_drops + outcome.before_tap
    assert ledger.captured == ledger.decoded + ledger.shed.total()
    assert outcome.unaccounted == 0


def test_beyond_what_the_buffer_holds_the_kernels_count_is_exact() -> None:
    outcome = blasted(2_000_000, 0.05, 1000, 1, whole=False)
    assert outcome.ledger.kernel_drops > 0
    assert outcome.unaccounted == 0
