"""Captures named with their links: beside each other in order of time, whole, and the same however they are read."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from offramp.capture.block import Interface, PacketBlock
from offramp.capture.intake.pcapng_writer import PcapngFiles, RingOfFiles
from offramp.capture.sources.file.files import open_captures
from offramp.decision.site import AltPath, Link, Site
from offramp.errors import ConfigError, InputError
from offramp.stream.local.captures_by_link import files_of, open_by_link, told_apart
from offramp.stream.local.link_batches import LinkBatches

SITE = Site(links=(Link(name="a", capacity=1e6), Link(name="b", capacity=1e6)))
SECOND = 1_000_000_000


def write(path: Path, times_ns: list[int], linktype: int = 1) -> str:
    frame = bytes(12) + b"\x08\x00" + bytes(46)
    out = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, linktype)
    for at in times_ns:
        out += struct.pack("<4I", *divmod(at, SECOND), len(frame), len(frame)) + frame
    path.write_bytes(out)
    return str(path)


def test_all_packets_come_once_in_order_of_time_but_for_the_disorder_of_a_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    first = np.sort(rng.integers(0, 60 * SECOND, 20_000))
    first[500], first[501] = first[501] + 5_000, first[500]  # as it was captured
    second = np.sort(rng.integers(10 * SECOND, 90 * SECOND, 9_000))
    names = [f"a={write(tmp_path / 'a.pcap', first.tolist())}", f"b={write(tmp_path / 'b.pcap', second.tolist())}"]
    choice, source = open_by_link(names, SITE)
    seen: dict[str, list[int]] = {"a": [], "b": []}
    numbers, newest = list[int](), 0
    for block in source.read():
        numbers += range(block.first_number, block.first_number + len(block))
        for at, of in zip(block.time_ns.tolist(), block.interface.tolist(), strict=True):
            seen[choice.required(block.interfaces[of].name)].append(at)
            assert at >= newest - 10_000_000
            newest = max(newest, at)
    assert (seen["a"], seen["b"]) == (first.tolist(), second.tolist())
    assert numbers == list(range(1, 29_001))
    assert source.progress.done == source.progress.total > 0
    assert source.faults == []


def test_files_of_other_link_types_and_several_of_a_link(tmp_path: Path) -> None:
    one, two = write(tmp_path / "1.pcap", [1, 5]), write(tmp_path / "2.pcap", [7], linktype=101)
    other = write(tmp_path / "3.pcap", [3], linktype=113)
    _, source = open_by_link([f"a={one}", f"b={other}", f"a={two}"], SITE)
    found = [(int(at), block.interfaces[of].linktype) for block in source.read()
             for at, of in zip(block.time_ns, block.interface, strict=True)]  # fmt: skip
    assert found == [(1, 1), (3, 113), (5, 1), (7, 101)]


def test_a_file_that_is_damaged_ends_and_is_told(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "a.pcap", [1, 2, 9]), Path(write(tmp_path / "b.pcap", [3, 4]))
    bad.write_bytes(bad.read_bytes()[:-5])
    choice, source = open_by_link([f"a={good}", f"b={bad}"], SITE)
    batches = LinkBatches(source, SITE, "t", choice=choice)
    rows = {"a": 0, "b": 0}
    for link, item in batches.read():
        rows[link] += 0 if isinstance(item, int) else item.num_rows
    assert rows == {"a": 3, "b": 1}
    assert ["b.pcap" in str(fault) for fault in source.faults] == [True]


def test_names_are_told_apart_from_files(tmp_path: Path) -> None:
    odd = write(tmp_path / "x=1.pcap", [1])
    assert files_of([odd], SITE) == [odd]
    assert files_of([f"a={odd}"], SITE) == [odd]
    assert [len(block) for block in open_by_link([odd], SITE, "a")[1].read()] == [1]
    with pytest.raises(ConfigError, match="some are not; name each with one of a and b"):
        open_by_link([f"a={odd}", odd], SITE)
    with pytest.raises(ConfigError, match="named with their links already"):
        open_by_link([f"a={odd}"], SITE, "b")
    with pytest.raises(InputError):
        open_by_link(["a=/nowhere/at/all"], SITE)
    assert open_captures([odd]).name == odd


def named(path: Path, interface: str, times_ns: list[int]) -> str:
    """A pcapng file of one interface."""
    frame = bytes(12) + b"\x08\x00" + bytes(46)
    files = PcapngFiles(RingOfFiles(path), "made")
    sizes = np.full(len(times_ns), len(frame))
    data = np.frombuffer(frame * len(times_ns), np.uint8)
    files.write(PacketBlock(
        data, np.cumsum(sizes) - sizes, sizes.astype(np.int32), sizes.astype(np.int32), np.array(times_ns),
        np.zeros(len(times_ns), np.int32), (Interface(interface, 1),),
    ))  # fmt: skip
    files.close()
    return str(path)


def test_a_tap_s_files_are_told_apart_by_their_interfaces_where_that_matters(tmp_path: Path) -> None:
    path = (AltPath(name="lte", capacity=1e6),)
    together = Site(links=tuple(Link(name=name, interface=f"{name}0", capacity=1e6, paths=path) for name in "ab"))
    alone = Site(links=tuple(Link(name=name, interface=f"{name}0", capacity=1e6) for name in "ab"))
    first, second = named(tmp_path / "1.pcapng", "a0", [1, 5]), named(tmp_path / "2.pcapng", "b0", [3, 9])
    third, mixed = named(tmp_path / "3.pcapng", "a0", [7]), named(tmp_path / "4.pcapng", "x0", [8])
    assert told_apart([first, second, third], together) == [("a", first), ("b", second), ("a", third)]
    for files, site in (([first, second], alone), ([first, third], together), ([first, mixed], together),
                        ([first], together), ([first, "-"], together), ([first, str(tmp_path)], together)):  # fmt: skip
        assert told_apart(files, site) == []
    _, source = open_by_link([first, second, third], together)
    assert [int(at) for block in source.read() for at in block.time_ns] == [1, 3, 5, 7, 9]
