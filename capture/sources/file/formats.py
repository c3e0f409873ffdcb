"""The two capture formats: pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng)."""

from __future__ import annotations

import struct
from enum import Enum, auto
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.capture.block import NO_TIME, Interface
from offramp.capture.sources.file.record_scan import (
    ABSURD,
    FULL,
    INTERFACE,
    MAX_BLOCK,
    MORE,
    SECTION,
    scan_pcap,
    scan_pcapng,
)
from offramp.errors import InputError

PCAP_MAGIC: dict[bytes, tuple[str, int, int]] = {
    # first four bytes: byte order, nanoseconds of a unit of the fraction, bytes of a record header
    b"\xd4\xc3\xb2\xa1": ("<", 1000, 16),
    b"\xa1\xb2\xc3\xd4": (">", 1000, 16),
    b"\x4d\x3c\xb2\xa1": ("<", 1, 16),
    b"\xa1\xb2\x3c\x4d": (">", 1, 16),
    b"\x34\xcd\xb2\xa1": ("<", 1000, 24),
    b"\xa1\xb2\xcd\x34": (">", 1000, 24),
}
HEADER_BYTES = 28
"""With so many bytes of an input it is known what it is."""
PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"
OPTION_NAME, OPTION_RESOLUTION, OPTION_OFFSET = 2, 9, 14
MAX_OFFSET_S = 2**33
"""Farther than int64 goes in nanoseconds: packets of such an interface have no time."""


class ScanEnd(Enum):
    """Why a scan stopped."""

    ROWS = auto()  # the block is full
    MORE = auto()  # the buffer is used up
    ABSURD = auto()  # the bytes make no sense from here on


class CaptureFormat(Protocol):
    """How the records of one input are found."""

    header: int
    complaint: str

    def scan(
        self, data: NDArray[np.uint8], start: int, end: int, interfaces: list[Interface], *columns: NDArray[Any]
    ) -> tuple[int, int, ScanEnd]:
        """Fill columns (offset, caplen, length, time, interface); return rows, where it stopped, and why."""
        ...


def recognise(
    data: NDArray[np.uint8], start: int, end: int, ended: bool, name: str, interfaces: list[Interface]
) -> CaptureFormat | None:
    """Return the format of an input by its first bytes, or None while there are too few of them.

    Raise InputError for what is no capture.
    """
    magic = data[start : min(end, start + 4)].tobytes()
    if end - start < HEADER_BYTES and not ended and (len(magic) < 4 or magic in PCAP_MAGIC or magic == PCAPNG_MAGIC):
        return None
    if end == start:
        raise InputError(f"{name}: is empty; a capture starts with a header")
    if magic == PCAPNG_MAGIC:
        if end - start < 28:
            raise InputError(f"{name}: ends within its pcapng header ({end - start} bytes); record it again")
        return Pcapng(len(interfaces))
    if magic not in PCAP_MAGIC:
        raise InputError(
            f"{name}: is no capture (it starts with {magic!r}); pcap and pcapng, plain, gzip or Zstandard, can be read"
        )
    if end - start < 24:
        raise InputError(f"{name}: ends within its pcap header ({end - start} of 24 bytes); record it again")
    return Pcap(data[start : start + 24].tobytes(), interfaces)


class Pcap:
    """One pcap file: one interface, records with fixed headers."""

    def __init__(self, header: bytes, interfaces: list[Interface]) -> None:
        order, self._unit_ns, self._record = PCAP_MAGIC[header[:4]]
        snaplen, network = struct.unpack(f"{order}II", header[16:24])
        self.header = 24
        self.complaint = "a packet length that no capture has"
        self._big = order == ">"
        self._number = len(interfaces)
        interfaces.append(Interface("", network & 0xFFFF, snaplen))

    def scan(
        self, data: NDArray[np.uint8], start: int, end: int, interfaces: list[Interface], *columns: NDArray[Any]
    ) -> tuple[int, int, ScanEnd]:
        """Find records; see Format.scan."""
        offset, caplen, length, time, interface = columns
        rows, at, why = scan_pcap(
            data, start, end, self._big, self._unit_ns, self._record, offset, caplen, length, time
        )
        interface[:rows] = self._number
        return rows, at, _reading(why)


def _reading(why: int) -> ScanEnd:
    return {FULL: ScanEnd.ROWS, MORE: ScanEnd.MORE, ABSURD: ScanEnd.ABSURD}[why]


class Pcapng:
    """One pcapng file: sections of blocks, each section with interfaces of its own."""

    def __init__(self, base: int) -> None:
        self.header = 0
        self.complaint = "a block or packet length that no capture has"
        self._big = False
        self._base = base
        self._table = np.zeros((1, 3), np.int64)
        self._known = 0  # interfaces of the section, the first rows of the table

    def scan(
        self, data: NDArray[np.uint8], start: int, end: int, interfaces: list[Interface], *columns: NDArray[Any]
    ) -> tuple[int, int, ScanEnd]:
        """Find packet blocks, reading section and interface blocks on the way; see Format.scan."""
        rows, at = 0, start
        while True:
            table, rest = self._table[: self._known], [column[rows:] for column in columns]
            found, at, why = scan_pcapng(data, at, end, self._big, self._base, table, *rest)
            rows += found
            if why in (MORE, FULL, ABSURD):
                return rows, at, _reading(why)
            step = self._special(data, at, end, interfaces)
            if step <= 0:
                return rows, at, ScanEnd.ABSURD if step < 0 else ScanEnd.MORE
            at += step

    def _special(self, data: NDArray[np.uint8], at: int, end: int, interfaces: list[Interface]) -> int:
        """Read a section or interface block; return its length, 0 if it is not all there, -1 if it makes no sense."""
        if end - at < 12:
            return 0
        head = data[at : at + 12].tobytes()
        big = self._big
        if head[:4] == PCAPNG_MAGIC:
            if head[8:12] not in (b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a"):
                return -1
            big = head[8] == 0x1A
        kind, total = struct.unpack(">II" if big else "<II", head[:8])
        if not 20 <= total <= MAX_BLOCK or total % 4 or (kind == SECTION and total < 28):
            return -1
        if at + total > end:
            return 0
        if kind == SECTION:
            self._big, self._base, self._known = big, len(interfaces), 0
        elif kind == INTERFACE:
            self._interface(data[at + 8 : at + total - 4].tobytes(), interfaces)
        return int(total)

    def _interface(self, body: bytes, interfaces: list[Interface]) -> None:
        order = ">" if self._big else "<"
        linktype, _, snaplen = struct.unpack(f"{order}HHI", body[:8])
        name, resolution, offset_s = "", 6, 0
        for code, value in _options(body[8:], order):
            if code == OPTION_NAME:
                name = value.decode("utf-8", "replace")
            elif code == OPTION_RESOLUTION and len(value) == 1:
                resolution = value[0]
            elif code == OPTION_OFFSET and len(value) == 8:
                offset_s = struct.unpack(f"{order}q", value)[0]
        offset_ns = offset_s * 1_000_000_000 if abs(offset_s) <= MAX_OFFSET_S else NO_TIME
        if self._known == len(self._table):
            self._table = np.concatenate([self._table, self._table])
        self._table[self._known] = snaplen, resolution, offset_ns
        self._known += 1
        interfaces.append(Interface(name, linktype, snaplen))


def _options(body: bytes, order: str) -> list[tuple[int, bytes]]:
    """Return the options of a block; a cut option ends the list."""
    found, at = [], 0
    while at + 4 <= len(body):
        code, size = struct.unpack_from(f"{order}HH", body, at)
        if code == 0 or at + 4 + size > len(body):
            break
        found.append((code, body[at + 4 : at + 4 + size]))
        at += 4 + ((size + 3) & ~3)
    return found
