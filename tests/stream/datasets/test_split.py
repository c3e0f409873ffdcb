"""Parts by time and by origin."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from offramp.stream.channels import WINDOW_BINS
from offramp.stream.datasets.labelling import LabelledRows
from offramp.stream.datasets.spec import Capacity, Source, Split
from offramp.stream.datasets.split import assigned, cut, intervals


def source(**more: object) -> Source:
    return Source(name="s", type="captures", files=("a",), capacity=(Capacity(loads=(1.0,)),), **more)


def test_by_time_a_gap_of_a_window_and_the_longest_horizon_is_between() -> None:
    bins = np.arange(1_000, 11_000)
    found = intervals("s/a", source(split=Split(by="time", train=0.6, validation=0.2, test=0.2)), None, bins, 5_000)
    assert [(each.origin, each.part) for each in found] == [
        ("s/a:train", "train"), ("s/a:validation", "validation"), ("s/a:test", "test"),
    ]  # fmt: skip
    assert found[0].end == 7_000
    for before, after in pairwise(found):
        assert after.start - before.end == WINDOW_BINS + 500


def test_parts_without_a_share_are_not_there() -> None:
    found = intervals(
        "s/a", source(split=Split(by="time", train=0.8, validation=0.2, test=0)), None, np.arange(900), 50
    )
    assert [each.part for each in found] == ["train", "validation"]
    assert found[1].end > 10**9


def test_a_whole_origin_is_one_stretch() -> None:
    assert [each[:2] for each in intervals("s/a", source(part="test"), "test", np.arange(9), 50)] == [("s/a", "test")]


@pytest.mark.parametrize("count", [1, 3, 10, 64])
def test_origins_are_dealt_by_shares_and_seed(count: int) -> None:
    names = [f"o{number}" for number in range(count)]
    found = assigned(names, (0.6, 0.2, 0.2), 1)
    assert found == assigned(names, (0.6, 0.2, 0.2), 1)
    counts = Counter(found.values())
    assert abs(counts["train"] - 0.6 * count) <= 1
    assert abs(counts["test"] - 0.2 * count) <= 1
    assert count < 64 or found != assigned(names, (0.6, 0.2, 0.2), 2)


def test_what_is_shorter_than_a_window_after_the_cut_is_left_out() -> None:
    rows = LabelledRows(3, np.arange(100, 300), *(np.zeros((200, 1), np.float32) for _ in range(4)))
    first, second = intervals("s/a", source(split=Split(by="time", train=0.8, validation=0, test=0.2)), None,
                              np.arange(100, 300), 50)  # fmt: skip
    (kept,) = cut(rows, first, "0.9")
    assert (kept.source, kept.origin, len(kept.x)) == ("s/a:train@0.9#device3", "s/a:train", 160)
    assert list(cut(rows, second, "0.9")) == []
