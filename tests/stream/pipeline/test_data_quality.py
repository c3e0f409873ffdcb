"""The quality of the last seconds: it falls at once, recovers, and is the same after a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.errors import ContractError
from offramp.stream.pipeline.data_quality import FAR, NEAR, SLOT_BINS, DataQuality
from offramp.stream.windows.loss import Loss

SECOND = 100
"""Bins."""

GOOD, BAD = Loss(50, 50), Loss(10, 10, 0, 40)
FLOOR = 0.99


def fed(quality: DataQuality, losses: Iterable[Loss], begin: int, bins: int = 1) -> list[float]:
    """Tell the losses, each with so many bins; return the share at each of them."""
    out = []
    for number, loss in enumerate(losses):
        quality.note(loss)
        last = begin + (number + 1) * bins - 1
        out.append(quality.at(last).share)
        quality.reached(last)
    return out


def test_shares_of_bins_are_the_quality_at_each() -> None:
    quality, rng = DataQuality(), np.random.default_rng(2)
    for begin in range(1_000, 3_000, 100):
        lost = int(rng.integers(0, 50))
        quality.note(Loss(captured=100, decoded=100 - lost, dropped=lost))
        for count in (1, 40, 100):
            bins = begin + np.sort(rng.integers(0, 100, count))
            found = quality.shares(bins)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(
                found, np.array([quality.at(each).share for each in bins.tolist()], np.float32)
            )
        quality.reached(begin + 99)
    assert quality.shares(bins[:0]).tolist() == []


def test_a_minute_of_drops_after_a_clean_day_is_seen_at_once() -> None:
    quality, day = DataQuality(), 86_400 * SECOND
    assert set(fed(quality, [Loss(50 * SECOND, 50 * SECOND)] * 86_400, 0, SECOND)) == {1.0}
    shares = fed(quality, [BAD] * 60 * SECOND, day)
    assert shares[0] < 1.0
    assert all(share < FLOOR for share in shares[1:])
    assert shares[NEAR * SLOT_BINS] == pytest.approx(0.2)
    after = fed(quality, [GOOD] * 30 * SECOND, day + 60 * SECOND)
    back = next(at for at, share in enumerate(after) if share >= FLOOR)
    assert SECOND < back <= FAR * SLOT_BINS
    assert all(share == 1.0 for share in after[FAR * SLOT_BINS :])


def test_a_bad_minute_at_the_start_forbids_for_some_seconds_only() -> None:
    quality = DataQuality()
    assert max(fed(quality, [BAD] * 60 * SECOND, 0)) < FLOOR
    after = fed(quality, [GOOD] * 20 * SECOND, 60 * SECOND)
    assert after[FAR * SLOT_BINS :] == [1.0] * len(after[FAR * SLOT_BINS :])
    assert quality.totals == {
        "captured": 60 * SECOND * 10 + 20 * SECOND * 50, "decoded": 60 * SECOND * 10 + 20 * SECOND * 50,
        "shed": 0, "dropped": 60 * SECOND * 40,
    }  # fmt: skip


def test_a_burst_is_not_hidden_by_the_good_seconds_before_it() -> None:
    quality = DataQuality()
    fed(quality, [GOOD] * 20 * SECOND, 0)
    burst = fed(quality, [Loss(40, 40, 0, 10)] * 10, 20 * SECOND)
    assert burst[-1] < FLOOR  # 100 of 5,000 packets a second; of ten seconds' 50,000 they are 0.2 %
    after = fed(quality, [GOOD] * 2 * SECOND, 20 * SECOND + 10)
    assert after[-1] >= FLOOR


def test_a_silence_is_forgotten_by_event_time_and_gives_no_bad_name() -> None:
    quality = DataQuality()
    fed(quality, [BAD] * SECOND, 0)
    assert fed(quality, [GOOD], SECOND + FAR * SLOT_BINS) == [1.0]
    assert DataQuality().now.share == 1.0


def test_a_message_that_covers_hours_counts_for_all_its_bins() -> None:
    quality = DataQuality()
    quality.note(BAD)
    for last in (0, 3_600 * SECOND, 7_200 * SECOND):
        assert quality.at(last).share == pytest.approx(0.2)
        quality.reached(last)
    assert quality.at(7_200 * SECOND + 1).share == pytest.approx(0.2)


COUNT = st.integers(0, 1 << 53)
LOSSES = st.lists(st.tuples(COUNT, st.floats(0, 1), st.floats(0, 1), COUNT, COUNT, st.integers(0, 3_000)), max_size=30)


@settings(max_examples=200, deadline=None)
@given(LOSSES, st.integers(0, 30))
def test_it_is_a_share_and_a_checkpoint_keeps_it(told: list[tuple[int, ...]], cut: int) -> None:
    one, other, bin_number = DataQuality(), DataQuality(), 0
    for number, (captured, decoded, shed, dropped, missing, bins) in enumerate(told):
        gone = int(captured * shed)
        loss = Loss(captured, int((captured - gone) * decoded), gone, dropped)
        for each in (one, other):
            each.note(loss, missing)
        if number == cut:
            other = DataQuality()
            other.restore(json.loads(json.dumps(one.state())))
        if bins:
            bin_number += bins
            found = one.at(bin_number)
            assert found == other.at(bin_number)
            assert all(0 <= value <= 1 for value in (*found.as_dict().values(), found.share))
            for each in (one, other):
                each.reached(bin_number)
        assert len(one.state()["slots"]) <= FAR
        assert one.state() == other.state()


@pytest.mark.parametrize(
    "more",
    [{"open": [1]}, {"open": [0, 0, -1, 0]}, {"slots": [[1, 2]]}, {"slots": [[at, 1, 1, 0, 0] for at in range(99)]}],
)
def test_a_state_that_is_none_is_refused(more: dict[str, list[object]]) -> None:
    with pytest.raises(ContractError):
        DataQuality().restore(DataQuality().state() | more)
