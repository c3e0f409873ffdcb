"""The spool: order, bounds, and what a disk, a loss of power, another version or another program does to it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.capture.message.encode import FeatureHeaders
from offramp.capture.publish.outgoing import RECORD, Outgoing
from offramp.capture.publish.spool import FIRST, NotSpooledError, Spool
from offramp.errors import ConfigError
from tests.support.disks import SmallFiles


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
    assert spool.insert([message(3), message(4)]) == 2
    assert spool.insert([message(2)]) == 1
    spool.close()
    again = Spool(tmp_path, 1 << 20)
    assert drain(again) == [2, 3, 4, 5]
    again.close()


def test_what_was_under_way_between_two_segments_stays_between_them(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    spool.append(message(0))
    first = spool.read()
    assert first is not None
    assert spool.read() is None  # the first segment is read to its end and waits for its acknowledgement
    spool.append(message(3))
    assert spool.insert([message(1), message(2)], after=first.segment) == 2
    spool.close()
    again = Spool(tmp_path, 1 << 20)
    assert drain(again) == [0, 1, 2, 3]
    again.close()


def written(folder: Path, count: int) -> tuple[Path, list[int]]:
    """Spool messages of several sizes; return their segment and where each record begins, and the last one ends."""
    spool, places = Spool(folder, 1 << 20), [0]
    for number in range(count):
        spool.append(message(number, 1 + 300 * (number % 4)))
        places.append(spool.size)
    spool.close()
    return next(folder.glob("*.spool")), places


def reread(folder: Path) -> tuple[list[int], Spool, list[str]]:
    """Open the spool anew and read it to its end; it takes messages as before."""
    told: list[str] = []
    spool = Spool(folder, 1 << 20, report=told.append)
    numbers = drain(spool)
    assert spool.empty
    spool.append(message(99))
    assert drain(spool) == [99]
    spool.close()
    return numbers, spool, told


@given(data=st.data(), count=st.integers(1, 7), flips=st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_damaged_records_are_passed_over_told_and_kept(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, count: int, flips: int
) -> None:
    """Bits turned over anywhere, sizes and checksums among them."""
    folder = tmp_path_factory.mktemp("spool")
    path, places = written(folder, count)
    text, hit = bytearray(path.read_bytes()), set()
    for _ in range(flips):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place] ^= 1 << data.draw(st.integers(0, 7))
        hit.add(next(number for number in range(count) if place < places[number + 1]))
    if bytes(text) == path.read_bytes():
        return  # one bit turned over twice
    path.write_bytes(text)
    numbers, spool, told = reread(folder)
    assert [number for number in range(count) if number not in hit] == [n for n in numbers if n not in hit]
    assert set(numbers) <= set(range(count))
    lost = count - len(numbers)
    assert (spool.damaged > 0) == (lost > 0)
    assert spool.damaged <= lost
    assert bool(told) == bool(lost)
    assert len(told) <= 2
    assert [kept.read_bytes() for kept in folder.glob("*.damaged")] == ([bytes(text)] if lost else [])


@pytest.mark.parametrize("tail", ["cut", "zeros", "rubbish"])
def test_of_a_segment_torn_by_a_loss_of_power_the_whole_records_are_read(tmp_path: Path, tail: str) -> None:
    """Cut anywhere, or as long as it was with what the disk held before in it."""
    path, places = written(tmp_path, 4)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        lost = len(whole) - cut
        text = whole[:cut] + {"cut": b"", "zeros": bytes(lost), "rubbish": b"\xa5" * lost}[tail]
        path.write_bytes(text)
        told: list[str] = []
        spool = Spool(tmp_path, 1 << 20, report=told.append)
        kept = [n for n in range(4) if text[places[n] : places[n + 1]] == whole[places[n] : places[n + 1]]]
        assert drain(spool) == kept
        assert spool.empty
        torn = len(text) != places[len(kept)]
        assert (spool.damaged, len(told), len(list(tmp_path.glob("*.damaged")))) == (torn, torn, torn)
        spool.close()
        for aside in tmp_path.glob("*.damaged"):
            aside.unlink()


def record(about: object, value: bytes = b"") -> bytes:
    text = json.dumps(about).encode() if not isinstance(about, bytes) else about
    return RECORD.pack(len(text), len(value), crc32(value, crc32(text))) + text + value


ABOUT: dict[str, Any] = {
    "link": "uplink",
    "headers": {"site": "lab", "agent": "tap", "agent_epoch": 1, "sequence": 1, "rows": 3, "first_time_ns": 1},
}


def headers(**changed: object) -> dict[str, Any]:
    return {"link": "uplink", "headers": {**ABOUT["headers"], **changed}}


@pytest.mark.parametrize(
    ("foreign", "sent"),
    [
        (headers(urgency=3, priority="high"), True),  # a later version's
        (headers(), True),  # an earlier version's, without what came later
        (headers(schema_version="features.v9"), True),  # who reads it judges
        (headers(sequence="1"), False),
        (headers(ledger=[]), False),
        (headers(ledger={"captured": "many"}), False),
        (headers(hops=None), False),
        (headers(rows=None), False),
        ({"link": "uplink", "headers": {"site": "lab"}}, False),
        ({"link": "uplink", "headers": 7}, False),
        ({"link": 5, "headers": ABOUT["headers"]}, False),
        ({"link": "\ud800", "headers": ABOUT["headers"]}, False),
        ({"link": "uplink"}, False),
        (b'{"link": ' + b"[" * 100_000, False),
        (b'{"link": \xff\xfe}', False),
        (b"", False),
        (b"[]", False),
    ],
)
def test_another_version_s_record_is_sent_as_far_as_it_can_be(tmp_path: Path, foreign: object, sent: bool) -> None:
    path, places = written(tmp_path, 3)
    text = path.read_bytes()
    path.write_bytes(text[: places[1]] + record(foreign, bytes([1])) + text[places[2] :])
    numbers, spool, told = reread(tmp_path)
    assert numbers == ([0, 1, 2] if sent else [0, 2])
    assert (spool.damaged, bool(told)) == ((0, False) if sent else (1, True))


def test_what_is_not_the_spool_s_is_told_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.spool").write_text("mine")
    (tmp_path / "1.spool").write_text("not its way of writing a number")
    (tmp_path / "000000000001.spool").symlink_to("nowhere")
    (tmp_path / "000000000002.spool").mkdir()
    (tmp_path / f"{FIRST:012d}.spool").symlink_to("nowhere")
    os.mkfifo(tmp_path / f"{FIRST + 1:012d}.spool")
    before = sorted(path.name for path in tmp_path.iterdir())
    told: list[str] = []
    spool = Spool(tmp_path, 1 << 20, report=told.append)
    assert len(told) == len(before)
    assert all(any(name in line for line in told) for name in before)
    spool.append(message(2))
    assert spool.insert([message(1)]) == 1
    spool.close()
    again = Spool(tmp_path, 1 << 20)
    assert drain(again) == [1, 2]
    again.close()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "lock") == before


def test_a_segment_that_the_disk_does_not_give_is_passed_over_and_told(tmp_path: Path) -> None:
    told: list[str] = []
    spool = Spool(tmp_path, 1 << 30, segment_bytes=1 << 16, report=told.append)
    for number in range(12):
        spool.append(message(number, 20_000))
    first = sorted(tmp_path.glob("*.spool"))[1]
    first.unlink()
    first.mkdir()
    numbers = drain(spool)
    assert numbers == [0, 1, 2, 3, 8, 9, 10, 11]
    assert spool.empty
    assert spool.damaged == 1
    assert len(told) == 1
    assert "directory" in told[0]
    spool.close()


def test_a_disk_that_takes_nothing_is_told_once_and_taken_up_again(tmp_path: Path, small_files: SmallFiles) -> None:
    told: list[str] = []
    spool = Spool(tmp_path, 1 << 30, report=told.append)
    taken = []
    for number in range(30):
        if number == 10:
            small_files.allow(8_000)
        if number == 20:
            small_files.allow(None)
        try:
            spool.append(message(number, 1_000))
            taken.append(number)
        except NotSpooledError:
            assert number < 10 or number < 20
    assert len(taken) < 30
    assert taken[-10:] == list(range(20, 30))
    assert len(told) == 2
    assert "too large" in told[0]
    assert "again" in told[1]
    assert drain(spool) == taken
    assert spool.damaged == 0
    small_files.allow(2_500)
    assert spool.insert(message(number, 1_000) for number in range(5)) < 5
    spool.close()


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
