from __future__ import annotations

import numpy as np
import pytest

from offramp_errors import InputError
from stream.channels import CHANNELS, WINDOW_BINS
from stream.dataset import fit_normaliser, sequences_from_trace, synthetic_sequences


def test_synthetic_sequences_are_seeded_and_hold_quiet_and_congested_bins():
    first, again = synthetic_sequences(7, 6, seconds=8), synthetic_sequences(7, 6, seconds=8)
    assert all(np.array_equal(a.x, b.x, equal_nan=True) for a, b in zip(first, again, strict=True))
    delays = np.concatenate([sequence.delay_ms for sequence in first])
    delays = delays[~np.isnan(delays)]
    assert np.mean(delays < 1) > 0.1
    assert np.mean(delays > 20) > 0.05
    assert all(len(s.x) == len(s.delay_ms) >= WINDOW_BINS and s.x.shape[1] == len(CHANNELS) for s in first)
    assert fit_normaliser(first) is not None


def test_a_target_is_the_largest_delay_to_come():
    sequence = synthetic_sequences(3, 1, seconds=8)[0]
    peak = np.expm1(sequence.x[:, CHANNELS.index("delay_peak")])
    for at in (0, 50, 200):
        assert sequence.delay_ms[at] == pytest.approx(peak[at + 1 : at + 51].max(), rel=1e-3, abs=1e-3)


def test_traces_of_packet_times(tmp_path):
    path = tmp_path / "real.txt"
    times = np.sort(np.random.default_rng(1).uniform(0, 3, 3_000))
    np.savetxt(path, np.column_stack([times, np.full(3_000, 900)]), fmt=["%.6f", "%d"])
    sequences = sequences_from_trace(path)
    assert {sequence.source for sequence in sequences} >= {"real.txt@0.35", "real.txt@1.3"}
    path.write_text("0.1 nine\n")
    with pytest.raises(InputError, match="packet trace"):
        sequences_from_trace(path)
