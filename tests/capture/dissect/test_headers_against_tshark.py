"""The header columns equal tshark's on crafted packets: odd headers, cuts, fragments, tunnels, every link type."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import tests.support.crafted_rare  # noqa: F401  (registers its captures)
from tests.differential import compare, is_header
from tests.support.crafted_headers import BUILDERS, write

pytestmark = pytest.mark.skipif(
    shutil.which("tshark") is None, reason="tshark is not installed: nothing to compare with"
)


def test_header_columns_of_crafted_packets(tmp_path: Path) -> None:
    paths = []
    for name, (linktype, builder) in BUILDERS.items():
        paths.append(tmp_path / f"{name}.pcap")
        write(paths[-1], linktype, builder())
    report = compare(paths)
    assert report.header_unexplained() == {}
    assert not report.skipped
    assert report.files == len(BUILDERS) >= 30
    assert report.rows > 3000
    assert sum(count for (_, column), count in report.known.items() if is_header(column)) == 0
    for column in ("arp.opcode", "icmp.unused", "tcp.options", "tcp.stream", "udp.stream", "ip.dst_host"):
        assert report.present[column] > 50, column
