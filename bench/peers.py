"""The peers, over the same capture in the same run: tshark, dpkt, scapy, and our own two slower dissectors."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench.capture_file import cut
from bench.measure import Result, timed
from offramp.capture.dissectors import open_dissector
from offramp.capture.schema import EDGE_COLUMNS
from offramp.capture.sources.file.files import open_captures

TSHARK_PACKETS, DPKT_PACKETS, SCAPY_PACKETS = 50_000, 50_000, 3_000
REFERENCE_PACKETS = 1_000


def tshark(capture: Path) -> Result | str:
    """Measure `tshark -T fields` with the 61 columns, or say that it is not installed."""
    if shutil.which("tshark") is None:
        return "tshark is not installed"
    file = cut(capture, TSHARK_PACKETS)
    fields = [word for column in EDGE_COLUMNS for word in ("-e", column.name)]

    def run() -> int:
        command = ["tshark", "-n", "-r", str(file), "-T", "fields", "-E", "quote=d", "-E", "occurrence=a", *fields]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        return done.stdout.count(b"\n")

    return timed("tshark -T fields, 61 columns", run, rounds=1, warm=False, note=f"first {TSHARK_PACKETS:,}")


def dpkt(capture: Path) -> Result:
    """Measure dpkt's objects for link, network and transport layer."""
    import dpkt as library

    file = cut(capture, DPKT_PACKETS)

    def run() -> int:
        count = 0
        with file.open("rb") as stream:
            for _, data in library.pcap.Reader(stream):
                library.ethernet.Ethernet(data)
                count += 1
        return count

    return timed("dpkt, link to transport", run, rounds=1, warm=False, note=f"first {DPKT_PACKETS:,}")


def scapy(capture: Path) -> Result:
    """Measure scapy's full dissection."""
    from scapy.layers import all as _layers  # noqa: F401  (registers the layers)
    from scapy.utils import PcapReader

    file = cut(capture, SCAPY_PACKETS)

    def run() -> int:
        with PcapReader(str(file)) as packets:
            return sum(1 for _ in packets)

    return timed("scapy, all layers", run, rounds=1, warm=False, note=f"first {SCAPY_PACKETS:,}")


def scapy_path(capture: Path) -> Result:
    """Measure `--dissector scapy`: header columns to Arrow batches."""
    return _dissector(capture, "scapy", SCAPY_PACKETS)


def reference_path(capture: Path) -> Result | str:
    """Measure `--dissector reference`: pyshark to Arrow batches; say so where tshark is not installed."""
    if shutil.which("tshark") is None:
        return "the reference path: tshark is not installed"
    return _dissector(capture, "reference", REFERENCE_PACKETS)


def _dissector(capture: Path, name: str, packets: int) -> Result:
    """Measure one of the dissectors that make an object a packet."""
    blocks = list(open_captures([str(cut(capture, packets))]).read())

    def run() -> int:
        with open_dissector(name, "full") as dissector:
            return sum(batch.num_rows for block in blocks for batch in dissector.dissect(block))

    return timed(f"dissect, {name} path", run, rounds=1, warm=False, note=f"first {packets:,}")
