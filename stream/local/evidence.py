"""The packets behind a command: those of its flows, within the time that it rests on, in captures of its link.

Packets are told by what the bins count them by, so a flow here is what it was to the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.capture.block import Interface, PacketBlock, some_rows
from offramp.capture.dissectors import open_dissector
from offramp.capture.intake.pcapng_writer import PcapngFiles, RingOfFiles
from offramp.capture.sources.file.files import open_captures
from offramp.decision.address import address_of
from offramp.decision.explaining.subject import Subject
from offramp.errors import InputError
from offramp.stream.bins.packets import IPV4_MAPPED, Packets, packets_from_batch

HALF = 1 << 64


class Frames(NamedTuple):
    """Packets of a capture: numbers of the first and last (0: there is none), as tshark counts them, how many, bytes.

    of_packets, of_size: all packets of that time.
    """

    file: str
    first: int
    last: int
    packets: int
    size: int
    of_packets: int
    of_size: int


def evidence(
    captures: Sequence[str], subject: Subject, pcap: Path | None, warn: Callable[[str], None] = lambda _: None
) -> list[Frames]:
    """Return the frames of a command in each capture; pcap: where to write their packets, all as one pcapng.

    The file is not made where there are none. Raises InputError for a capture that cannot be read, and for a place that
    cannot be written to.
    """
    for name in captures:
        open_captures([name])
    if pcap is not None:
        _refuse(pcap, captures)
    writer, found = None, list[Frames]()
    known: tuple[Interface, ...] = ()
    try:
        for name in captures:
            counts, told = _Counts(name), known
            for block in _chosen(name, subject, counts, warn):
                told = (*known, *block.interfaces)
                if pcap is not None and writer is None:
                    writer = PcapngFiles(RingOfFiles(pcap), "explained")
                if writer is not None:
                    writer.write(replace(block, interface=block.interface + np.int32(len(known)), interfaces=told))
            known = told
            found.append(counts.frames())
    finally:
        if writer is not None:
            writer.close()
    return found


class _Counts:
    """What was found in a capture so far."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.first = self.last = self.packets = self.size = self.of_packets = self.of_size = 0

    def add(self, block: PacketBlock, timely: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> None:
        """Count the packets of a block: those of the time, and those of the command."""
        self.of_packets += int(timely.sum())
        self.of_size += int(block.length[timely].sum(dtype=np.int64))
        rows = np.flatnonzero(wanted)
        if len(rows):
            self.first = self.first or block.first_number + int(rows[0])
            self.last = block.first_number + int(rows[-1])
            self.packets += len(rows)
            self.size += int(block.length[rows].sum(dtype=np.int64))

    def frames(self) -> Frames:
        """Return them."""
        return Frames(self.file, self.first, self.last, self.packets, self.size, self.of_packets, self.of_size)


def _chosen(name: str, subject: Subject, counts: _Counts, warn: Callable[[str], None]) -> Iterator[PacketBlock]:
    """Yield the packets of a command in a capture, and count them; packets before are dissected for what follows."""
    source = open_captures([name])
    with open_dissector("fast", "stream", agent="explain") as dissector:
        for block in source.read():
            batches = [packets_from_batch(batch) for batch in dissector.dissect(block)]
            timely = (block.time_ns >= subject.start_ns) & (block.time_ns < subject.end_ns)
            if not timely.any():
                continue
            wanted = timely.copy()
            if subject.known:
                wanted &= np.concatenate([_of(subject, packets) for packets in batches])
            counts.add(block, timely, wanted)
            if wanted.any():
                yield some_rows(block, wanted)
    for fault in source.faults:
        warn(str(fault))


def _of(subject: Subject, packets: Packets) -> NDArray[np.bool_]:
    """Return which packets are of the flows, or of the device: bool [n]."""
    if subject.device:
        return _has(packets, subject.device, 0) | _has(packets, subject.device, 2)
    found = np.zeros(len(packets.time_ns), np.bool_)
    for match in subject.matches:
        found |= _fits(packets, match)
    return found


def _fits(packets: Packets, match: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return which packets fit a match: bool [n]."""
    fits: NDArray[np.bool_] = packets.protocol == match["ip_proto"]
    for side, at, ports in (("src", 0, packets.ports >> 16), ("dst", 2, packets.ports & 0xFFFF)):
        address = match.get(f"ipv4_{side}", match.get(f"ipv6_{side}"))
        if address is not None:
            fits &= _has(packets, address, at)
        port = match.get(f"tcp_{side}", match.get(f"udp_{side}"))
        if port is not None:
            fits &= ports == port
    return fits


def _has(packets: Packets, address: str, at: int) -> NDArray[np.bool_]:
    """Return which packets have an address as their source (at 0) or target (at 2): bool [n]."""
    found: NDArray[np.bool_] = (packets.address[:, at : at + 2] == np.array(halves(address), np.int64)).all(axis=1)
    return found


def halves(text: str) -> tuple[int, int]:
    """Return an address as the two signed numbers of 64 bits that packets have."""
    address = address_of(text)
    value = int(address) | (IPV4_MAPPED if address.version == 4 else 0)
    high, low = divmod(value, HALF)
    return high - HALF * (high >= HALF // 2), low - HALF * (low >= HALF // 2)


def _refuse(pcap: Path, captures: Sequence[str]) -> None:
    """Raise InputError where a file cannot be written, or is a capture that is read."""
    for name in captures:
        with suppress(OSError):
            if name != "-" and pcap.samefile(name):
                raise InputError(f"--pcap {pcap}: is the capture that is read; name another file")
    if pcap.is_dir():
        raise InputError(f"--pcap {pcap}: is a folder; name a file")
    there = pcap.exists()
    try:
        with pcap.open("ab"):
            pass
        if not there:
            pcap.unlink()
    except OSError as error:
        raise InputError(f"--pcap {pcap}: {error.strerror}; name a file in a folder you may write to") from error
