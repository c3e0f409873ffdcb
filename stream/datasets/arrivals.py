"""Arrivals of a data set's sources: captures, traces of packet times, synthetic links; each is an origin of its own."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.capture.block import PacketBlock
from offramp.capture.dissect.dissector import Dissector
from offramp.capture.dissect.link.link_types import (
    LINUX_SLL,
    LINUX_SLL2,
    LOOP,
    NULL,
    RAW,
    RAW_A,
    RAW_B,
    RAW_IPV4,
    RAW_IPV6,
)
from offramp.capture.sources.file.files import open_captures
from offramp.errors import ConfigError, InputError
from offramp.stream.bins.event_time import lives
from offramp.stream.bins.packets import IPV4_MAPPED, UDP, Packets, packets_from_batch
from offramp.stream.bins.state import LinkConfig
from offramp.stream.datasets.duplicates import content, packet_keys
from offramp.stream.datasets.spec import Source
from offramp.stream.datasets.synthetic import synthetic_packets

ROOT = "$ROOT/"
ETHERNET_HEADER = 14
LINK_HEADER = {NULL: 4, LOOP: 4, LINUX_SLL: 16, LINUX_SLL2: 20} | dict.fromkeys(
    (RAW, RAW_A, RAW_B, RAW_IPV4, RAW_IPV6), 0
)
"""Bytes before the network layer where the capture made them up, by link type."""

CAPTURE_ENDINGS = (".pcap", ".pcapng", ".cap", ".pcap.gz", ".pcapng.gz", ".pcap.zst", ".pcapng.zst")


class Arrivals(NamedTuple):
    """Packets of one origin.

    content: what is in them but times and addresses (duplicates), empty where made up; config: a synthetic link's;
    faults: what of a capture could not be read.
    """

    origin: str
    packets: Packets
    content: NDArray[np.uint64]
    config: LinkConfig | None = None
    faults: tuple[str, ...] = ()


def source_files(source: Source, here: Path, root: Path | None) -> list[tuple[str, Path]]:
    """Return the origin's name and path of each file of a source, by name: relative to --root or to the specification.

    Raise ConfigError where --root is needed, InputError where a file that is not optional is missing.
    """
    found: dict[Path, str] = {}
    for pattern in source.files:
        base, rest = _base(source, pattern, here, root)
        matches = _matches(base, rest)
        if not matches and not source.optional:
            raise InputError(f"source {source.name}: {base / rest}: no such file; give --root, or set optional = true")
        for path in matches:
            name = _name(path, base)
            found.setdefault(path, _name(path.resolve(), Path("/")) if name in found.values() else name)
    for pattern in source.exclude:
        base, rest = _base(source, pattern, here, root)
        left_out = set(_matches(base, rest))
        found = {path: name for path, name in found.items() if path not in left_out}
    return sorted((f"{source.name}/{name}", path) for path, name in found.items())


def one_file(source: Source, name: str, here: Path, root: Path | None) -> Path:
    """Return the path of a file that a specification names."""
    base, rest = _base(source, name, here, root)
    return base / rest


def _base(source: Source, pattern: str, here: Path, root: Path | None) -> tuple[Path, str]:
    try:
        return base_of(pattern, here, root)
    except ConfigError as error:
        raise ConfigError(f"source {source.name}: {error}") from error


def base_of(name: str, here: Path, root: Path | None) -> tuple[Path, str]:
    """Return the folder that a file's name starts from, and the name there: --root for $ROOT/, else `here`."""
    if not name.startswith(ROOT):
        return here, name
    if root is None:
        raise ConfigError(f"{name} needs the option --root DIR")
    return root, name[len(ROOT) :]


def _matches(base: Path, rest: str) -> list[Path]:
    path = base / rest
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.name.endswith(CAPTURE_ENDINGS))
    if path.is_file():
        return [path]
    pattern = Path(rest)
    start = Path(pattern.anchor) if pattern.is_absolute() else base
    return sorted(file for file in start.glob(str(pattern.relative_to(pattern.anchor))) if file.is_file())


def _name(path: Path, base: Path) -> str:
    name = path.relative_to(base).as_posix() if path.is_relative_to(base) else path.name
    return name.translate(str.maketrans("@#:", "___"))  # they separate the parts of a series' name


def read_capture(origin: str, path: Path) -> Arrivals:
    """Read a whole capture, as far as it goes; sizes are as on Ethernet, so that no size tells the link type."""
    dissector, captures = Dissector("stream"), open_captures([str(path)])
    parts, keys, made_up = [], [], []
    try:
        for block in captures.read():
            made_up.append(header_excess(block))
            for batch in dissector.dissect(block):
                parts.append(packets_from_batch(batch))
                keys.append(packet_keys(batch))
    except InputError as error:
        raise InputError(f"{origin} ({path}): {error}; or leave it out with exclude") from error
    faults = [f"{fault.reason} at packet {fault.packet}; read as far as it goes" for fault in captures.faults]
    faults += [f"{count} packets: {reason}" for reason, count in sorted(dissector.ledger.undecodable.items()) if count]
    if not parts:
        return Arrivals(origin, empty_packets(), np.empty(0, np.uint64), faults=tuple(faults))
    packets = Packets(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    packets = packets._replace(size=packets.size - np.concatenate(made_up))
    shingles = content(np.concatenate(keys), packets.size)
    packets, left_out = of_one_time(packets)
    faults += [f"{left_out} packets: their times are of another clock"] if left_out else []
    return Arrivals(origin, packets, shingles, faults=tuple(faults))


def of_one_time(packets: Packets) -> tuple[Packets, int]:
    """Return the packets of the time that most are of, in order, and how many are of none or another."""
    found = lives(packets.time_ns, 0)
    if len(found) and (found == 0).all():
        return packets, 0
    kept = np.flatnonzero(found == np.argmax(np.bincount(found[found >= 0]))) if (found >= 0).any() else found[:0]
    return Packets._make(column[kept] for column in packets), len(found) - len(kept)


def header_excess(block: PacketBlock) -> NDArray[np.int64]:
    """Return by how many bytes each packet of a block is longer than on Ethernet: int64 [n]."""
    excess = [LINK_HEADER.get(each.linktype, ETHERNET_HEADER) - ETHERNET_HEADER for each in block.interfaces]
    return np.array(excess, np.int64)[block.interface]


def empty_packets() -> Packets:
    """Return no packets."""
    none = np.empty(0, np.int64)
    return Packets(none, none, np.empty((0, 4), np.int64), none, none, none, np.empty(0))


def packet_times(path: Path) -> NDArray[np.float64]:
    """Read a packet-time trace, `seconds bytes` a line: float64 [n, 2]. Raises InputError for anything else."""
    try:
        with warnings.catch_warnings(action="error"):  # numpy warns of an empty file
            table = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (OSError, ValueError, UserWarning) as error:
        raise InputError(f"{path}: not a packet trace (`seconds bytes` a line): {error}") from error
    if table.shape[1] != 2 or not np.isfinite(table).all() or (table < 0).any():
        raise InputError(f"{path}: a packet trace has two columns, seconds and bytes, neither negative")
    return table


def read_packet_times(origin: str, path: Path) -> Arrivals:
    """Read a packet-time trace, `seconds bytes` a line, as packets of one device going up.

    Raises InputError where a line is something else.
    """
    table = packet_times(path)
    n = len(table)
    address = np.zeros((n, 4), np.int64)
    address[:, 1], address[:, 3] = IPV4_MAPPED | 0x0A000001, IPV4_MAPPED | 0x0A000002
    time_ns = (table[:, 0] * 1e9).astype(np.int64) + 1_000_000_000_000
    ports, zeros = np.full(n, 5000 << 16 | 5000, np.int64), np.zeros(n, np.int64)
    size = table[:, 1].astype(np.int64)
    packets = Packets(time_ns, size, address, np.full(n, UDP, np.int64), ports, zeros, np.full(n, np.nan))
    return Arrivals(origin, packets, content(np.zeros(n, np.uint64), size))


def synthetic_arrivals(source: Source, seed: int) -> Iterator[Arrivals]:
    """Yield seeded synthetic links: quiet devices, bursts, bulk transfers, ramps, overloads."""
    for number in range(source.count):
        packets, config = synthetic_packets(np.random.default_rng([seed, number]), source.seconds)
        yield Arrivals(f"{source.name}/{number:03d}", packets, np.empty(0, np.uint64), config)
