"""Captures that are written can be read, by us and others; a ring stays within its bounds; a full disk is counted."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offramp.capture.block import Interface, PacketBlock, tick
from offramp.capture.intake.pcapng_writer import PcapngFiles, RingOfFiles
from offramp.capture.intake.recorder import FileRecorder
from offramp.capture.sources.file.files import open_captures
from offramp.errors import ConfigError, InputError
from tests.support.live import frame, packets

BASE = 1_700_000_000_123_456_789
INTERFACE = Interface("eth7", 1, 262_144)


def block(first: int, count: int) -> PacketBlock:
    frames = [frame(number, 60 + number % 9) for number in range(first, first + count)]
    sizes = np.array([len(each) for each in frames], np.int32)
    ends = np.cumsum(sizes, dtype=np.int64)
    times = BASE + np.arange(first, first + count) * 1_000_003
    return PacketBlock(
        np.frombuffer(b"".join(frames), np.uint8), ends - sizes, sizes, sizes + np.int32(4), times,
        np.zeros(count, np.int32), (INTERFACE,), first,
    )  # fmt: skip


def read(*paths: Path) -> list[tuple[bytes, int, int]]:
    return list(packets(list(open_captures([str(path) for path in paths]).read())))


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "one.pcapng"
    files = PcapngFiles(RingOfFiles(path), "eth7")
    files.write(block(0, 100))
    files.write(block(100, 57))
    files.close()
    assert read(path) == list(packets([block(0, 157)]))
    source = open_captures([str(path)])
    assert next(each.interfaces[0] for each in source.read()) == INTERFACE
    assert source.faults == []
    assert files.packets == 157


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark, the reference, is not installed")
def test_tshark_reads_it_too(tmp_path: Path) -> None:
    path = tmp_path / "one.pcapng"
    files = PcapngFiles(RingOfFiles(path), "eth7")
    files.write(block(0, 20))
    files.close()
    fields = [word for name in ("time_epoch", "len", "cap_len", "interface_name") for word in ("-e", f"frame.{name}")]
    done = subprocess.run(["tshark", "-n", "-r", path, "-T", "fields", *fields], capture_output=True, text=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    expected = [
        [f"{time_ns // 10**9}.{time_ns % 10**9:09}", str(length), str(len(data)), "eth7"]
        for data, length, time_ns in packets([block(0, 20)])
    ]
    assert rows == expected


def test_an_empty_capture_is_a_capture(tmp_path: Path) -> None:
    path = tmp_path / "none.pcapng"
    files = PcapngFiles(RingOfFiles(path), "eth7")
    files.write(tick(INTERFACE, 1, 1, 0))
    files.close()
    assert read(path) == []


def test_a_ring_keeps_the_newest_files_within_its_bounds(tmp_path: Path) -> None:
    old = tmp_path / "eth7-20200101T000000Z-000001.pcapng"
    other = tmp_path / "eth70-notes.txt"
    for path in (old, other):
        path.write_bytes(b"x")
    files = PcapngFiles(RingOfFiles(tmp_path, files=3, size_mb=1), "eth7")
    for number in range(60):
        files.write(block(1000 * number, 1000))
    files.close()
    kept = sorted(tmp_path.glob("eth7-*.pcapng"))
    assert len(kept) == 3
    assert not old.exists()
    assert other.exists()
    assert files.files > 4
    assert all(path.stat().st_size <= 1_000_000 for path in kept)
    newest = read(*kept)
    assert newest == list(packets([block(60_000 - len(newest), len(newest))]))


def test_a_file_with_a_size_is_a_ring_beside_it(tmp_path: Path) -> None:
    files = PcapngFiles(RingOfFiles(tmp_path / "night.pcapng", files=2, size_mb=1), "eth7")
    for number in range(30):
        files.write(block(1000 * number, 1000))
    files.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 2
    assert all(name.startswith("night-") for name in names)


def test_where_nothing_can_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--write"):
        PcapngFiles(RingOfFiles(tmp_path / "no" / "folder.pcapng"), "eth7")
    with pytest.raises(ConfigError, match="ring"):
        PcapngFiles(RingOfFiles(tmp_path, files=0, size_mb=1), "eth7")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is not here")  # noqa: PTH110
def test_a_full_disk_ends_the_writing_and_is_counted() -> None:
    told: list[str] = []
    recorder = FileRecorder(PcapngFiles(RingOfFiles(Path("/dev/full")), "eth7"), told.append)
    for number in range(5):
        recorder.put(block(100 * number, 100))
    recorder.close()
    assert recorder.unwritten == {"write_failed": 500}
    assert recorder.files.packets == 0
    assert len(told) == 1
    assert "No space left" in told[0]


def test_a_recorder_that_cannot_keep_up_says_what_it_left_out(tmp_path: Path) -> None:
    path = tmp_path / "slow.pcapng"
    recorder = FileRecorder(PcapngFiles(RingOfFiles(path), "eth7"), lambda _: None, limit_bytes=40_000)
    for number in range(300):
        recorder.put(replace(block(300 * number, 300)))
    recorder.close()
    assert recorder.files.packets + recorder.unwritten["disk_too_slow"] == 300 * 300
    assert len(read(path)) == recorder.files.packets


def test_whatever_ends_the_writing_is_told_and_the_thread_goes_on(tmp_path: Path) -> None:
    class Broken(PcapngFiles):
        def write(self, block: PacketBlock) -> None:
            raise IndexError("what nobody thought of")

    told: list[str] = []
    recorder = FileRecorder(Broken(RingOfFiles(tmp_path / "x.pcapng"), "eth7"), told.append)
    for number in range(5):
        recorder.put(block(100 * number, 100))
    recorder.close()
    assert recorder.unwritten == {"write_failed": 500}
    assert len(told) == 1
    assert "IndexError" in told[0]
