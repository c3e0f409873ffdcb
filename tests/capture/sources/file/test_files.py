"""Sources over files: every format and packing gives the same packets, and bad input ends in words."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from offramp.capture.block import NO_TIME
from offramp.capture.dissect.dissector import Dissector
from offramp.capture.sources.file.byte_stream import ByteStream
from offramp.capture.sources.file.files import open_captures
from offramp.capture.sources.file.record_scan import MAX_PACKET, moved, ticks_to_ns
from offramp.capture.sources.source import PacketSource
from offramp.errors import InputError
from tests.support.capture_forms import FORMS, PACKETS, ng_block, pcapng
from tests.support.places import ROOT

SHARED = ROOT.parent / "shared/pcaps"


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "gzip-members": lambda data: gzip.compress(data[:999]) + gzip.compress(data[999:]),
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


def packets(source: PacketSource) -> list[tuple[int, bytes, int]]:
    found = []
    number = 1
    for block in source.read():
        assert block.first_number == number
        number += len(block)
        for i in range(len(block)):
            start = block.offset[i]
            found.append(
                (int(block.time_ns[i]), block.data[start : start + block.caplen[i]].tobytes(), block.length[i])
            )
    return found


@pytest.mark.parametrize("packing", sorted(PACKINGS))
@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_gives_the_same_packets(form: str, packing: str, tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(PACKINGS[packing](FORMS[form]))
    source = open_captures([str(path)], block_packets=64)
    assert packets(source) == PACKETS
    assert source.faults == []
    assert source.progress.done == source.progress.total == path.stat().st_size


def test_interfaces_have_their_names(tmp_path: Path) -> None:
    path = tmp_path / "capture.pcapng"
    path.write_bytes(pcapng(sections=2))
    blocks = list(open_captures([str(path)]).read())
    assert [interface.name for interface in blocks[-1].interfaces] == ["", "eth7", "", "eth7"]
    assert set(np.concatenate([block.interface for block in blocks]).tolist()) == {0, 1, 2, 3}


def with_interfaces(count: int, sections: bool) -> bytes:
    """Return a pcapng with a packet behind each of so many interfaces, or sections of one, and packets of the last."""
    section = ng_block("<", 0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    interface = ng_block("<", 1, struct.pack("<HHI", 1, 0, 65535))
    packet = [ng_block("<", 6, struct.pack("<IIIII", at, 0, at, 60, 60) + bytes(60)) for at in range(count)]
    last = packet[0 if sections else -1] * 9000
    if sections:
        return (section + interface + packet[0]) * count + last
    return section + b"".join(interface + each for each in packet) + last


@pytest.mark.parametrize("sections", [False, True], ids=["interfaces", "sections"])
def test_very_many_interfaces_cut_no_block_and_are_told_as_one_object(tmp_path: Path, sections: bool) -> None:
    """What is done for each block, and for all interfaces that it knows of, stays linear."""
    path, count = tmp_path / "capture.pcapng", 9000
    path.write_bytes(with_interfaces(count, sections))
    blocks = list(open_captures([str(path)]).read())
    assert sum(len(block) for block in blocks) == 2 * count
    assert len(blocks) == -(-2 * count // 8192)
    assert np.concatenate([block.interface for block in blocks]).tolist() == [*range(count), *[count - 1] * count]
    assert len(blocks[-1].interfaces) == count
    assert blocks[-1].interfaces is blocks[-2].interfaces


def test_what_is_left_of_a_long_record_is_not_copied_with_each_read(tmp_path: Path) -> None:
    """Input that comes a little at a time is read into few buffers, and a block holds its own bytes, not the buffer."""
    path = tmp_path / "capture.pcapng"
    path.write_bytes(pcapng() + ng_block("<", 0xBAD, bytes(15 << 20)) + pcapng())
    source = open_captures([str(path)])
    buffers: dict[int, object] = {}
    read = ByteStream.fill

    def little(stream: ByteStream, buffer: NDArray[np.uint8], start: int) -> int:
        buffers[id(buffer)] = buffer  # kept, so that no two have one id
        return read(stream, buffer[: start + 30_000], start)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ByteStream, "fill", little)
        blocks = list(source.read())
    assert sum(len(block) for block in blocks) == 2 * len(PACKETS)
    assert len(buffers) <= 6
    assert all(len(block.data) <= 30_000 + 200 for block in blocks)


def test_several_files_run_on(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(FORMS["pcap" if name == "a" else "pcapng"])
    source = open_captures([str(tmp_path / "a"), str(tmp_path / "b")])
    assert packets(source) == PACKETS * 2


def test_standard_input_in_dribbles() -> None:
    code = "from offramp.capture.sources.file.files import open_captures\n"
    code += "print(sum(len(b) for b in open_captures(['-']).read()))"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        for start in range(0, len(FORMS["pcap"]), 1000):
            process.stdin.write(FORMS["pcap"][start : start + 1000])
            process.stdin.flush()
        out, _ = process.communicate()
    assert int(out) == len(PACKETS)


CUT = FORMS["pcap"][:10_007]
ABSURD = FORMS["pcap"][:24] + struct.pack("<IIII", 1, 1, 0x7FFFFFFF, 60) + bytes(99)
HUGE = struct.pack("<IIIII", 0, 0, 0, MAX_PACKET + 1, MAX_PACKET + 1) + bytes(MAX_PACKET + 1)
DAMAGED = {
    "huge packet": (FORMS["pcapng"] + ng_block("<", 6, HUGE), "packet length that no capture has"),
    "cut packet": (CUT, "middle of a packet"),
    "cut block": (FORMS["pcapng"][:10_007], "middle of a packet"),
    "absurd length": (ABSURD, "length that no capture has"),
    "absurd block": (FORMS["pcapng"][:28] + struct.pack("<II", 6, 7) + bytes(99), "length that no capture has"),
    "cut gzip": (gzip.compress(FORMS["pcap"])[:3000], "gzip data end early"),
}


@pytest.mark.parametrize("name", sorted(DAMAGED))
def test_damage_is_read_as_far_as_it_goes(name: str, tmp_path: Path) -> None:
    data, reason = DAMAGED[name]
    path = tmp_path / "capture"
    path.write_bytes(data)
    source = open_captures([str(path)])
    found = packets(source)
    assert found == PACKETS[: len(found)]
    assert len(source.faults) == 1
    assert reason in source.faults[0].reason
    assert source.faults[0].packet == len(found) + 1


REFUSED = {
    "empty": (b"", "is empty"),
    "text": (b"hello, this is not a capture\n" * 3, "is no capture"),
    "cut header": (FORMS["pcap"][:11], "within its pcap header"),
    "cut section": (FORMS["pcapng"][:20], "within its pcapng header"),
    "damaged gzip": (b"\x1f\x8b\x08\x00" + b"\xff" * 30, "is empty"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_no_capture_is_refused(name: str, tmp_path: Path) -> None:
    data, reason = REFUSED[name]
    path = tmp_path / "capture"
    path.write_bytes(data)
    with pytest.raises(InputError, match="capture: ") as caught:
        packets(open_captures([str(path)]))
    assert reason in str(caught.value) or "packed data" in str(caught.value)


def test_missing_and_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_captures([str(tmp_path / "none")])
    with pytest.raises(InputError, match="is a directory"):
        open_captures([str(tmp_path)])


def test_unreadable_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(FORMS["pcap"])
    path.chmod(0)
    tmp_path.chmod(0o755)
    code = (
        "import os, sys\n"
        "from offramp.capture.sources.file.files import open_captures\n"
        "from offramp.errors import InputError\n"
        "if os.getuid() == 0: os.seteuid(65534)\n"
        f"try: open_captures([{str(path)!r}])\n"
        "except InputError as error: print(error)\n"
    )
    for folder in (tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "permission denied" in done.stdout


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 255)), max_size=6))
def test_no_mutation_crashes(form: str, changes: list[tuple[int, int]]) -> None:
    import tempfile

    data = bytearray(FORMS[form][:9001])
    for at, value in changes:
        data[at] = value
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            for block in open_captures([file.name]).read():
                assert (block.offset + block.caplen <= len(block.data)).all()
        except InputError:
            pass


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real captures of ../shared/pcaps are not here")
def test_every_real_capture_is_read_and_dissected_to_its_end_or_damage() -> None:
    paths = sorted(path for path in SHARED.rglob("*") if path.is_file())
    total = damaged = 0
    refused = []
    for path in paths:
        source, dissector = open_captures([str(path)]), Dissector("full")
        rows = packets = 0
        try:
            for block in source.read():
                packets += len(block)
                rows += sum(batch.num_rows for batch in dissector.dissect(block))
        except InputError as error:
            refused.append(str(error))
        else:
            assert rows == packets == dissector.ledger.captured
            assert dissector.ledger.balances()
        total += rows
        damaged += bool(source.faults)
    print(f"{len(paths)} files, {total} packets, {damaged} damaged, {len(refused)} refused")
    assert len(paths) > 2000
    assert total > 400_000
    assert len(refused) < 0.02 * len(paths)
    assert all("link type" in text or "is no capture" in text or "is empty" in text or "ends within" in text
               for text in refused), refused  # fmt: skip


def exact_ns(ticks: int, resolution: int) -> int:
    unit = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
    return int(ticks * 10**9 // unit)


@given(st.integers(0, 2**64 - 1), st.integers(0, 64), st.integers(0, 255))
def test_ticks_are_exact_or_no_time(ticks: int, shift: int, resolution: int) -> None:
    ticks >>= shift
    found, exact = int(ticks_to_ns(np.uint64(ticks), resolution)), exact_ns(ticks, resolution)
    last_second = (2**63 - 1) // 10**9 * 10**9
    if found == NO_TIME:
        assert exact >= last_second
    else:
        fine = resolution & 0x80 and resolution & 0x7F > 32  # its product would need more than 64 bits
        assert found == exact or (fine and 0 <= exact - found <= 1)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**33), 2**33))
def test_an_offset_wraps_no_time(time_ns: int, offset_s: int) -> None:
    time_ns = time_ns if time_ns == NO_TIME else abs(time_ns)
    found = int(moved(time_ns, offset_s * 10**9))
    assert found in (NO_TIME, time_ns + offset_s * 10**9)
    assert int(moved(time_ns, NO_TIME)) == NO_TIME


def test_packets_without_a_time_have_none(tmp_path: Path) -> None:
    """A simple packet block; ticks, and an offset, that no number of ours holds: null, counted, the rest is told."""

    frame = bytes(12) + b"\x08\x06" + bytes(46)

    def interface(offset_s: int) -> bytes:
        return ng_block("<", 1, struct.pack("<HHI", 1, 0, 0) + struct.pack("<HHqHH", 14, 8, offset_s, 0, 0))

    def enhanced(number: int, ticks: int) -> bytes:
        head = struct.pack("<IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
        return ng_block("<", 6, head + frame)

    path = tmp_path / "untimed.pcapng"
    path.write_bytes(
        ng_block("<", 0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)) + interface(0) + interface(2**40)
        + enhanced(0, 1_700_000_000_000_000) + ng_block("<", 3, struct.pack("<I", len(frame)) + frame)
        + enhanced(0, 20_000_000_000_000_000) + enhanced(1, 5) + enhanced(0, 2**64 - 1) + enhanced(0, 0)
    )  # fmt: skip
    source = open_captures([str(path)])
    dissector, times = Dissector("stream"), []
    for packets in source.read():
        for batch in dissector.dissect(packets):
            times += batch.column("frame.time_epoch").to_pylist()
    assert times == [1_700_000_000_000_000_000, None, None, None, None, 0]
    assert dissector.ledger.notes["no_time"] == 4
    assert dissector.ledger.balances()
    assert source.faults == []
