"""The fast path against tshark, value by value: `python -m tests.differential FILE_OR_FOLDER...`.

Each cell is equal, a known difference (a reason of KNOWN, decided by a rule on the two values and the packet), or
unexplained. Only the last fails a test.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from offramp.capture.dissect.dissector import Dissector
from offramp.capture.features.files import render_batch
from offramp.capture.schema import COLUMNS as FEATURES
from offramp.capture.sources.file.files import open_captures
from offramp.errors import InputError
from tests.support.known_differences import Explainer

OURS = ("frame.time_epoch", "ip.proto", "offramp.rtt")
"""Columns that tshark shows otherwise, or not at all; tests/conformance/test_dissectors.py has them."""
COLUMNS = [column.name for column in FEATURES if column.name not in (*OURS, "tcp.stream")]
EXTRA = ["tcp.stream", "ip.reassembled.length", "ipv6.reassembled.length", "_ws.malformed", "frame.protocols"]
HEADER_PREFIXES = ("frame.", "ip.", "ipv6.", "arp.", "icmp.", "tcp.", "udp.")
SEPARATOR = "\t"


def is_header(column: str) -> bool:
    """Return whether a column is one of the header layers, where nothing may stay unexplained."""
    return column.startswith(HEADER_PREFIXES)


@dataclass
class Report:
    """What a comparison found: per column compared, equal, and known and unexplained differences."""

    files: int = 0
    rows: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)
    present: Counter[str] = field(default_factory=Counter)
    equal: Counter[str] = field(default_factory=Counter)
    known: Counter[tuple[str, str]] = field(default_factory=Counter)
    unexplained: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def differ(self, column: str, where: str, theirs: str, ours: str) -> None:
        """Count an unexplained difference and keep the first few."""
        self.unexplained[column] += 1
        kept = self.examples.setdefault(column, [])
        if len(kept) < 40:
            kept.append(f"{where}: tshark {theirs[:90]!r}, offramp {ours[:90]!r}")

    def header_unexplained(self) -> dict[str, list[str]]:
        """Return the unexplained examples of header columns."""
        return {column: lines for column, lines in self.examples.items() if is_header(column)}

    def rate(self, column: str) -> float:
        """Return the share of equal values among those present in either."""
        return 1 - (self.unexplained[column] / self.present[column]) if self.present[column] else 1.0


def tshark_rows(path: Path, cache: Path | None = None) -> list[list[str]]:
    """Return tshark's cells of a capture: COLUMNS, then EXTRA; kept in the folder `cache`, where one is given."""
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a"]
    for name in [*COLUMNS, *EXTRA]:
        command += ["-e", name]
    kept = cache / hashlib.sha256(" ".join(command).encode() + path.read_bytes()).hexdigest() if cache else None
    if kept and kept.exists():
        printed = zlib.decompress(kept.read_bytes())
    else:
        environment = {"TZ": "UTC", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
        printed = subprocess.run(command, capture_output=True, env=environment).stdout
        if kept:
            kept.write_bytes(zlib.compress(printed, 1))
    return [line.split(SEPARATOR) for line in printed.decode("utf-8", "surrogateescape").split("\n")[:-1]]


def offramp_rows(path: Path) -> tuple[list[list[str]], bool]:
    """Return the fast path's cells of a capture, COLUMNS, then tcp.stream, and whether the file is damaged."""
    dissector = Dissector("full")
    rows: list[list[str]] = []
    source = open_captures([str(path)])
    for block in source.read():
        for batch in dissector.dissect(block):
            rendered = dict(zip(batch.schema.names, render_batch(batch), strict=False))
            cells = [rendered[name].to_pylist() for name in [*COLUMNS, "tcp.stream"]]
            rows += [[cell or "" for cell in row] for row in zip(*cells, strict=True)]
    return rows, bool(source.faults)


def compare(paths: Iterable[Path], report: Report | None = None, workers: int = 2, cache: Path | None = None) -> Report:
    """Compare captures; tshark runs beside the fast path, and not again for what `cache` holds."""
    report = report or Report()
    paths = list(paths)
    with ThreadPoolExecutor(workers) as pool:
        for path, theirs in zip(paths, pool.map(functools.partial(tshark_rows, cache=cache), paths), strict=True):
            try:
                ours, damaged = offramp_rows(path)
            except InputError as error:
                report.skipped[str(error).split(";")[0].split(": ")[-1]] += 1
                continue
            _compare_file(path, theirs, ours, report, damaged)
    return report


def _compare_file(path: Path, theirs: list[list[str]], ours: list[list[str]], report: Report, damaged: bool) -> None:
    """Compare one capture's rows."""
    report.files += 1
    if len(theirs) != len(ours):
        report.skipped["rows differ (damaged file)"] += 1
    explainer = Explainer(len(ours) if damaged else 0)
    for number, (their, our) in enumerate(zip(theirs, ours, strict=False), 1):
        report.rows += 1
        protocols = their[-1] + (":malformed" if their[-2] else "")
        explainer.row(their[-1])
        cells = zip([*COLUMNS, "tcp.stream"], their[: len(our)], our, strict=True)
        for column, their_cell, our_cell in cells:
            report.compared[column] += 1
            if their_cell or our_cell:
                report.present[column] += 1
            if their_cell == our_cell:
                report.equal[column] += 1
                continue
            reason = explainer.explain(column, their_cell, our_cell, their[-1])
            if reason:
                report.known[reason, column] += 1
            else:
                where = f"{path.parent.name}/{path.name}#{number} [{protocols}]"
                report.differ(column, where, their_cell, our_cell)


def sample(folder: Path, count: int, largest: int = 60_000) -> list[Path]:
    """Return `count` small captures of a folder, chosen by the hash of their names: always the same ones."""
    found = [path for path in folder.rglob("*") if path.suffix in (".pcap", ".pcapng", ".cap", ".trace")]
    small = [path for path in found if 24 < path.stat().st_size <= largest]
    return sorted(small, key=lambda path: (zlib.crc32(str(path.relative_to(folder)).encode()), path))[:count]


def print_report(report: Report, examples: int = 3) -> None:
    """Print one line a column, the known differences with their reasons, and the first unexplained ones."""
    out = sys.stdout
    out.write(f"{'column':32}{'compared':>10}{'present':>10}{'equal':>10}{'known':>8}{'unexplained':>12}\n")
    for column in [*COLUMNS, "tcp.stream"]:
        known = sum(count for (_, name), count in report.known.items() if name == column)
        out.write(f"{column:32}{report.compared[column]:>10}{report.present[column]:>10}")
        out.write(f"{report.equal[column]:>10}{known:>8}")
        out.write(f"{report.unexplained[column]:>12}\n")
    out.write(f"{report.files} captures, {report.rows} rows, {report.compared.total()} values compared, ")
    out.write(f"{report.equal.total()} equal, {report.known.total()} known differences, ")
    out.write(f"{report.unexplained.total()} unexplained\n")
    for reason, count in report.skipped.most_common():
        out.write(f"not compared: {reason}: {count} captures\n")
    reasons: Counter[str] = Counter()
    for (reason, _), count in report.known.items():
        reasons[reason] += count
    for reason, count in reasons.most_common():
        out.write(f"known: {reason}: {count} values\n")
    for column, lines in report.examples.items():
        for line in lines[:examples]:
            out.write(f"unexplained {column}: {line}\n")


def main() -> None:
    """Compare the captures named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--examples", type=int, default=3)
    parser.add_argument("--count", type=int, default=0, help="of a folder, compare only so many small captures")
    parser.add_argument("--cache", type=Path, help="folder to keep tshark's output in, for the next run")
    options = parser.parse_args()
    if options.cache:
        options.cache.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for path in options.paths:
        paths += (
            sample(path, options.count or 1_000_000, 1 << 40 if not options.count else 60_000)
            if path.is_dir()
            else [path]
        )
    print_report(compare(paths, cache=options.cache), options.examples)


if __name__ == "__main__":
    main()
