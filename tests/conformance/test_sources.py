"""Packet sources against tshark: on real captures, the same packets with the same times and lengths."""

from __future__ import annotations

import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from offramp.capture.sources.file.files import open_captures
from offramp.errors import InputError
from tests.support.places import ROOT

SHARED = ROOT.parent / "shared/pcaps"
SAMPLE = 60
LARGEST = 2_000_000  # bytes; larger captures only make the test slow

pytestmark = [
    pytest.mark.skipif(not SHARED.is_dir(), reason="the real captures of ../shared/pcaps are not here"),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark, the reference, is not installed"),
]

Row = tuple[int, int, int, int]


def chosen() -> list[Path]:
    paths = sorted(p for p in SHARED.rglob("*.pcap*") if p.is_file() and p.stat().st_size <= LARGEST)
    return paths[:: max(1, len(paths) // SAMPLE)]


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


def test_packets_are_tsharks() -> None:
    paths = chosen()
    packets = 0
    different = []
    for path in paths:
        found, expected = ours(path), theirs(path)
        packets += len(expected)
        if found != expected:
            at = next((i for i, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]), None)
            different.append(f"{path.relative_to(SHARED)}: {len(found)} packets, tshark {len(expected)}; first at {at}")
    print(f"{len(paths)} captures, {packets} packets compared")
    assert different == []
    assert packets > 1000
