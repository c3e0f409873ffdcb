"""The table of a link's state: its bars, and lines that do not hang on how the bins come."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from offramp.cli.show.table import HEADER, LineTable, bar
from offramp.stream.pipeline.timeline import LinkTimeline


@pytest.mark.parametrize(("share", "full"), [(0.0, 0), (0.5, 5), (1.0, 10), (7.0, 10)])
def test_bar_is_as_long_as_the_share(share: float, full: int) -> None:
    assert bar(share).count("█") == full
    assert len(bar(share)) == 10


def timeline(n: int, start: int = 0) -> LinkTimeline:
    ones = np.ones(n, np.float32)
    return LinkTimeline(
        "wan",
        (np.arange(start, start + n, dtype=np.int64) + 1) * 10_000_000,
        ones * 0.5,
        ones * 0.25,
        ones * 2,
        np.tile(np.array([0.1, 0.2, 0.7], np.float32), (n, 1)),
        np.tile(np.array([3, 9, 12], np.float32), (n, 1)),
    )


def test_table_sums_up_intervals_however_the_bins_come() -> None:
    def run(cuts: list[int]) -> list[str]:
        lines: list[str] = []
        table = LineTable(lines.append, 1_000_000_000, 10_000_000)
        for start, end in pairwise(cuts):
            table.update(timeline(end - start, start))
        table.close()
        return lines

    whole, parts = run([0, 250]), run([0, 1, 99, 100, 101, 250])
    assert whole == parts
    assert whole[0] == HEADER
    assert len(whole) == 4
    assert "50%" in whole[1]
    assert "25%" in whole[1]
    assert "High" in whole[1]
