"""What came true: as training labels it, whatever silences there are, and not known where not all is."""

from __future__ import annotations

import numpy as np
import pytest

from offramp.stream.bins.virtual_queue import largest_ahead
from offramp.stream.datasets.labelling import held_delays, timeline
from offramp.stream.pipeline.came_true import came_true_ms


@pytest.mark.parametrize("horizon", [1, 7, 50])
@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_training_labels(seed: int, horizon: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 300))
    steps = np.where(rng.random(count) < 0.1, rng.integers(2, 200, count), 1)
    bins = 1_000 + np.cumsum(steps)
    largest = rng.gamma(0.5, 200, count).astype(np.float32)
    end = (largest * rng.random(count)).astype(np.float32)
    line = timeline(bins, horizon)
    expected = largest_ahead(held_delays(line, end, largest), horizon)[line.slot]
    found = came_true_ms(bins, largest, end, horizon, int(bins[-1]) + 1)
    np.testing.assert_array_equal(found, expected)
    known = came_true_ms(bins, largest, end, horizon, int(bins[-1]) + 1 + horizon)
    assert not np.isnan(known).any(), "a silence behind the last bin is known, too"
