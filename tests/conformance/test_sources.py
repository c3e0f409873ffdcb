"""Packet sources against tshark: the same packets with the same times and lengths, made captures and real ones."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from offramp.capture.sources.file.files import open_captures
from offramp.errors import InputError
from tests.support.capture_forms import FORMS, PACKETS
from tests.support.places import DEMO, ROOT, SHARED

PCAPS = SHARED / "pcaps"
SAMPLE = 60
MAX_BYTES = 2_000_000  # bytes; larger captures only make the test slow

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark, the reference, is not installed")

Row = tuple[int, int, int, int]


def ours(path: Path) -> list[Row]:
    rows: list[Row] = []
    try:
        for block in open_captures([str(path)]).read():
            numbers = range(block.first_number, block.first_number + len(block))
            columns = (block.time_ns.tolist(), block.length.tolist(), block.caplen.tolist())
            rows += zip(numbers, *columns, strict=True)
    except InputError:
        assert not rows
    return rows


def theirs(path: Path) -> list[Row]:
    fields = [word for name in ("number", "time_epoch", "len", "cap_len") for word in ("-e", f"frame.{name}")]
    # only the frame itself is needed: without the other protocols tshark is several times faster
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "--disable-protocol", "eth", *fields]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = []
    for line in done.stdout.splitlines():
        number, time_s, length, caplen = line.split("\t")
        rows.append((int(number), int(Decimal(time_s or 0) * 1_000_000_000), int(length), int(caplen)))
    return rows


def compared(paths: list[Path]) -> int:
    """Hold that the packets of captures are tshark's; return how many there were."""
    packets = 0
    different = []
    for path in paths:
        found, expected = ours(path), theirs(path)
        packets += len(expected)
        if found != expected:
            at = next((i for i, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]), None)
            different.append(f"{path}: {len(found)} packets, tshark {len(expected)}; first at {at}")
    print(f"{len(paths)} captures, {packets} packets compared")
    assert different == []
    return packets


def test_packets_of_every_form_are_tsharks(tmp_path: Path) -> None:
    """Of every form of a capture file, whole, packed, and cut in the middle of a packet; and of the repo's samples."""
    paths = []
    for name, data in FORMS.items():
        for how, packed in (("whole", data), ("packed", gzip.compress(data)), ("cut", data[: len(data) // 2 - 3])):
            paths.append(tmp_path / f"{name}-{how}")
            paths[-1].write_bytes(packed)
    assert compared(paths) > len(FORMS) * 2 * len(PACKETS)
    assert compared([DEMO, ROOT / "samples/train.pcap.zst"]) > 20_000


@pytest.mark.skipif(not PCAPS.is_dir(), reason="the real captures of ../shared/pcaps are not here")
def test_packets_are_tsharks() -> None:
    paths = sorted(p for p in PCAPS.rglob("*.pcap*") if p.is_file() and p.stat().st_size <= MAX_BYTES)
    assert compared(paths[:: max(1, len(paths) // SAMPLE)]) > 1000
