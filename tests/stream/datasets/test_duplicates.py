"""Copies are found by content: other names, times, addresses, link types and cuts do not hide them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from offramp.stream.datasets.arrivals import read_capture
from offramp.stream.datasets.duplicates import copies
from tests.support.captures import ETHERNET, RAW, SLL, conversation, random_times, write


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("copies")
    rng = np.random.default_rng(4)
    packets, other = conversation(rng, 400), conversation(rng, 300)
    times = random_times(rng, 400)
    moved = conversation(np.random.default_rng(4), 400, near="172.16.9.9", far="203.0.113.44")
    made = {
        "original": (packets, times, ETHERNET),
        "renamed": (packets, times, ETHERNET),
        "later": (packets, random_times(rng, 400) + 9e6, ETHERNET),
        "cut": (packets[150:260], times[150:260], ETHERNET),
        "cooked": (packets, times, SLL),
        "raw": (packets, times, RAW),
        "moved": (moved, times, ETHERNET),
        "other": (other, times[:300], ETHERNET),
    }
    return {name: read_capture(name, write(folder / f"{name}.pcap", *made[name])).content for name in made}


@pytest.mark.parametrize("name", ["renamed", "later", "cut", "cooked", "raw", "moved"])
def test_a_copy_has_the_content_of_its_original(contents: dict[str, Any], name: str) -> None:
    ((_, (_, share)),) = copies([contents["original"], contents[name]], 0.3).items()
    assert share > 0.99


def test_other_traffic_has_not(contents: dict[str, Any]) -> None:
    assert copies([contents["original"], contents["other"]], 0.001) == {}
    assert copies([contents["original"], np.empty(0, np.uint64)], 0.001) == {}
    assert copies([np.empty(0, np.uint64)] * 2, 0.3) == {}


def test_the_largest_is_kept(contents: dict[str, Any]) -> None:
    listed = [contents[name] for name in ("cut", "other", "original", "later")]
    assert copies(listed, 0.3) == {0: (2, 1.0), 3: (2, 1.0)}
