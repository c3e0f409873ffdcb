from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.outgoing import Outgoing
from capture.spool import Spool
from capture.wire import FeatureHeaders
from offramp_errors import ConfigError


def message(number: int, size: int = 100) -> Outgoing:
    headers = FeatureHeaders("lab", "tap", 1, number, 3, 1, 2, {"captured": 3})
    return Outgoing("uplink", headers, bytes([number % 256]) * size)


def drain(spool: Spool) -> list[int]:
    """Read and acknowledge everything."""
    numbers = []
    while (read := spool.read()) is not None:
        assert read.value == bytes([read.headers.sequence % 256]) * len(read.value)
        assert read.segment is not None
        numbers.append(read.headers.sequence)
        spool.done(read.segment)
    return numbers


@given(st.lists(st.sampled_from(["write", "write", "write", "read", "reopen"]), max_size=60), st.integers(1, 40_000))
@settings(max_examples=60, deadline=None)
def test_what_goes_in_comes_out_in_order(tmp_path_factory: pytest.TempPathFactory, steps: list[str], size: int) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool, written, read = Spool(folder, 1 << 30, segment_bytes=1 << 16), 0, 0
    for step in steps:
        if step == "write":
            spool.append(message(written, size))
            written += 1
        elif step == "read" and (found := spool.read()) is not None:
            assert found.headers.sequence == read
            assert found.segment is not None
            spool.done(found.segment)
            read += 1
        elif step == "reopen":
            spool.close()
            spool = Spool(folder, 1 << 30, segment_bytes=1 << 16)
            left = drain(spool)  # a segment that was read in part is given again from its beginning
            assert left == list(range(written - len(left), written))
            assert written - len(left) <= read
            read = written
    assert drain(spool) == list(range(read, written))
    assert spool.empty
    assert not list(folder.glob("*.spool"))
    spool.close()


def test_a_segment_stays_until_all_of_it_is_acknowledged(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    for number in range(3):
        spool.append(message(number))
    read = [spool.read() for _ in range(3)]
    assert spool.read() is None
    assert not spool.pending
    for each in read[:2]:
        assert each is not None
        spool.done(each.segment or 0)
    assert not spool.empty
    assert read[2] is not None
    spool.done(read[2].segment or 0)
    assert spool.empty
    spool.close()


def test_what_was_under_way_comes_first(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    spool.append(message(5))
    spool.prepend([message(3), message(4)])
    spool.close()
    again = Spool(tmp_path, 1 << 20)
    assert drain(again) == [3, 4, 5]
    again.close()


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_tail_is_read_as_far_as_it_goes(tmp_path: Path, damage: str) -> None:
    spool = Spool(tmp_path, 1 << 20)
    for number in range(3):
        spool.append(message(number))
    spool.close()
    path = next(tmp_path.glob("*.spool"))
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[-20:]
    else:
        data[-20] ^= 1
    path.write_bytes(data)
    again = Spool(tmp_path, 1 << 20)
    assert drain(again) == [0, 1]
    assert again.empty
    again.append(message(9))
    assert drain(again) == [9]
    again.close()


def test_it_is_bounded_and_gives_up_the_oldest_segment(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 400_000, segment_bytes=1 << 16)
    number = 0
    while spool.fits(message(number, 10_000)):
        spool.append(message(number, 10_000))
        number += 1
    assert spool.size <= 400_000
    dropped = [each.headers.sequence for each in spool.drop_oldest()]
    assert dropped == list(range(len(dropped)))
    assert spool.dropped == len(dropped) > 0
    assert spool.fits(message(number, 10_000))
    assert drain(spool) == list(range(len(dropped), number))
    assert spool.drop_oldest() == []
    spool.close()


def test_two_agents_cannot_share_it_and_a_wrong_folder_is_named(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    with pytest.raises(ConfigError, match="another agent"):
        Spool(tmp_path, 1 << 20)
    spool.close()
    with pytest.raises(ConfigError, match="/proc/nothing"):
        Spool(Path("/proc/nothing"), 1 << 20)
