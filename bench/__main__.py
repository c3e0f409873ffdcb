"""`python -m bench`: one table of speeds; `--compare A.json B.json`: two saved runs side by side."""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import peers, stages
from bench.capture_file import PACKETS, bench_capture
from bench.measure import Result
from bench.report import HEAD, compare, line, save
from offramp_errors import OfframpError


def measure(capture: Path, with_peers: bool) -> Iterator[Result]:
    """Yield the results one by one, stages first."""
    read = stages.reading(capture)
    yield read
    yield stages.dissecting(capture, "stream")
    yield stages.dissecting(capture, "full")
    windows, rows = stages.windowing(capture)
    yield windows
    yield stages.predicting(windows.packets, rows)
    yield stages.replaying(capture)
    yield stages.replaying(capture, 20)
    if with_peers:
        tshark = peers.tshark(capture)
        if tshark is None:
            print("tshark is not installed: its row is left out", file=sys.stderr)
        else:
            yield tshark
        yield peers.dpkt(capture)
        yield peers.scapy(capture)
        yield peers.scapy_path(capture)
        reference = peers.reference_path(capture)
        if reference is not None:
            yield reference


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Packets per second of every stage.")
    parser.add_argument("--packets", type=int, default=PACKETS, help="packets in the capture (default %(default)s)")
    parser.add_argument("--captures", type=Path, help="folder of more captures to mix in")
    parser.add_argument("--file", type=Path, help="measure on this pcap instead of a made one")
    parser.add_argument("--no-peers", action="store_true", help="leave out tshark, dpkt and scapy")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("BEFORE", "AFTER"), help="compare two such files")
    return parser.parse_args()


def run(asked: argparse.Namespace) -> None:
    """Do what was asked for."""
    if asked.compare:
        print(compare(*asked.compare))
        return
    capture = asked.file or bench_capture(asked.packets, asked.captures)
    print(f"{capture} ({capture.stat().st_size / 1e6:.0f} MB)\n{HEAD}", flush=True)
    results = []
    for result in measure(capture, not asked.no_peers):
        results.append(result)
        print(line(result), flush=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB, inputs of stages included")
    if asked.json:
        save(asked.json, capture, results)


def main() -> int:
    """Run the bench; errors are one line."""
    try:
        run(arguments())
    except OfframpError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
