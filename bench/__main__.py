"""`python -m bench`: one table of speeds; `--compare A.json B.json`: two saved runs side by side."""

from __future__ import annotations

import argparse
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import peers, stages
from bench.capture_file import PACKETS, bench_capture
from bench.child import in_child
from bench.first_output import first_output
from bench.measure import Result
from bench.nfstream_peer import nfstream
from bench.report import HEAD, compare, exit_code_of, line, save

LONGER = 4
"""The longer capture of the memory's measurement has this many times as many packets."""


def measure(capture: Path, with_peers: bool) -> Iterator[Result]:
    """Yield the results one by one: stages on one core, whole ways on one core and on more, memory, then peers."""
    yield stages.reading(capture)
    yield stages.dissecting(capture, "stream")
    yield stages.dissecting(capture, "full")
    windows, rows = stages.windowing(capture)
    yield windows
    yield stages.predicting(windows.packets, rows)
    yield from ways(capture)
    yield first_output()
    if with_peers:
        yield from beside(capture)


def ways(capture: Path) -> Iterator[Result]:
    """Yield the ways through several threads, each in a process of its own, on one core and on all."""
    everything = len(os.sched_getaffinity(0))
    for cores in sorted({1, everything}):
        named = f"{cores} core{'s' if cores > 1 else ''}"
        yield in_child(f"file to stream batches, {named}", "features-stream", capture, cores)
        yield in_child(f"file to full batches, {named}", "features-full", capture, cores)
        yield in_child(f"replay, {named}", "replay", capture, cores)
        yield in_child(f"replay, 20 x as busy, {named}", "replay", capture, cores, 20)
    if capture == bench_capture():
        longer = bench_capture(LONGER * PACKETS)
        yield in_child(f"replay, {LONGER} x as long, {everything} cores", "replay", longer, everything)


def beside(capture: Path) -> Iterator[Result]:
    """Yield what the peers do; say on standard error which one cannot be measured, and why."""
    measured = (peers.tshark, peers.dpkt, peers.scapy, nfstream, peers.scapy_path, peers.reference_path)
    for found in (peer(capture) for peer in measured):
        if isinstance(found, str):
            print(f"left out: {found}", file=sys.stderr)
        else:
            yield found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Packets per second of every stage.")
    parser.add_argument("--packets", type=int, default=PACKETS, help="packets in the capture (default %(default)s)")
    parser.add_argument("--captures", type=Path, help="folder of more captures to mix in")
    parser.add_argument("--file", type=Path, help="measure on this pcap instead of a made one")
    parser.add_argument("--no-peers", action="store_true", help="leave out tshark, dpkt, scapy and NFStream")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("BEFORE", "AFTER"), help="compare two such files")
    return parser.parse_args()


def run(asked: argparse.Namespace) -> None:
    """Do what was asked for."""
    if asked.compare:
        print(compare(*asked.compare))
        return
    capture = asked.file or bench_capture(asked.packets, asked.captures)
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    size = capture.stat().st_size / 1e6
    print(f"{capture.name} ({size:.0f} MB); {cores} cores, load {load:.1f} before\n{HEAD}", flush=True)
    results = []
    for result in measure(capture, not asked.no_peers):
        results.append(result)
        print(line(result), flush=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB, inputs of stages included")
    if asked.json:
        save(asked.json, capture, results)


def main() -> int:
    """Run the bench."""
    return exit_code_of(lambda: run(arguments()))


if __name__ == "__main__":
    sys.exit(main())
