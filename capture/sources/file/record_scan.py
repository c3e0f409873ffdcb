"""Compiled scans for the borders of packet records in pcap and pcapng bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from offramp.capture.block import NO_TIME
from offramp.kernels import kernel

MORE = 0  # the buffer ends inside a record: read on
FULL = 1  # as many rows as asked for
ABSURD = 2  # a length that no capture has
SPECIAL = 3  # a pcapng block that is no packet: a section or an interface

MAX_PACKET = 262_144
"""The largest packet that wiretap reads (WTAP_MAX_PACKET_SIZE_STANDARD)."""
MAX_BLOCK = 16 << 20
"""The largest pcapng block that wiretap reads."""

MAX_NS = 2**63 - 1
MAX_SECONDS = MAX_NS // 1_000_000_000
"""The last second (2262) whose nanoseconds int64 holds, whole."""

SECTION, INTERFACE, PACKET, SIMPLE, ENHANCED = 0x0A0D0D0A, 1, 2, 3, 6


@kernel
def u32(data: Any, at: int, big: bool) -> Any:
    """Return the unsigned 32-bit number at `at`."""
    a, b = np.int64(data[at]), np.int64(data[at + 1])
    c, d = np.int64(data[at + 2]), np.int64(data[at + 3])
    if big:
        return (a << 24) | (b << 16) | (c << 8) | d
    return (d << 24) | (c << 16) | (b << 8) | a


@kernel
def scan_pcap(
    data: Any,
    start: int,
    end: int,
    big: bool,
    unit_ns: int,
    header: int,
    offset: Any,
    caplen: Any,
    length: Any,
    time: Any,
) -> tuple[int, int, int]:
    """Find pcap records in data[start:end]; return rows found, where it stopped, and why.

    unit_ns: nanoseconds of one unit of the fraction (1000 or 1); header: bytes of a record header (16, or 24 in the
    modified format).
    """
    rows = 0
    at = start
    while rows < offset.shape[0]:
        if at + header > end:
            return rows, at, MORE
        kept = u32(data, at + 8, big)
        if kept > MAX_PACKET:
            return rows, at, ABSURD
        if at + header + kept > end:
            return rows, at, MORE
        time[rows] = u32(data, at, big) * 1_000_000_000 + u32(data, at + 4, big) * unit_ns
        offset[rows] = at + header
        caplen[rows] = kept
        length[rows] = min(u32(data, at + 12, big), 0x7FFFFFFF)
        rows += 1
        at += header + kept
    return rows, at, FULL


@kernel
def ticks_to_ns(ticks: Any, resolution: int) -> Any:
    """Return nanoseconds of a pcapng time stamp, rounded down; NO_TIME where int64 cannot hold them.

    ticks: uint64; resolution is if_tsresol: 10**-n, or 2**-n with the top bit set. (wiretap multiplies the fraction by
    10**9 in 64 bits, so that of units below 2**-34 or 10**-10 it shows another fraction than was written.)
    """
    part = np.uint64(ticks)
    if resolution & 0x80:
        bits = resolution & 0x7F
        whole = part >> np.uint64(bits) if bits < 64 else np.uint64(0)
        if bits < 64:
            part -= whole << np.uint64(bits)
        while bits > 32:
            part >>= np.uint64(1)
            bits -= 1
        if whole >= np.uint64(MAX_SECONDS):
            return NO_TIME
        return np.int64(whole) * 1_000_000_000 + np.int64((part * np.uint64(1_000_000_000)) >> np.uint64(bits))
    digits = resolution
    while digits < 9:
        if part > np.uint64(MAX_NS // 10):
            return NO_TIME
        part *= np.uint64(10)
        digits += 1
    while digits > 9 and part > 0:
        part //= np.uint64(10)
        digits -= 1
    return np.int64(part) if part <= np.uint64(MAX_NS) else NO_TIME


@kernel
def moved(time_ns: Any, offset_ns: Any) -> Any:
    """Return a time with an interface's offset, NO_TIME where there is none or int64 cannot hold it."""
    if time_ns == NO_TIME or offset_ns == NO_TIME or (offset_ns > 0 and time_ns > MAX_NS - offset_ns):
        return NO_TIME
    return time_ns + offset_ns


@kernel
def scan_pcapng(
    data: Any,
    start: int,
    end: int,
    big: bool,
    base: int,
    interfaces: Any,
    offset: Any,
    caplen: Any,
    length: Any,
    time: Any,
    interface: Any,
) -> tuple[int, int, int]:
    """Find pcapng packet blocks in data[start:end]; return rows found, where it stopped, and why.

    interfaces: int64 [n, 3] of the section: snap length, if_tsresol, if_tsoffset in ns or NO_TIME; base: number of the
    section's first interface in the source's table.
    """
    rows = 0
    at = start
    while rows < offset.shape[0]:
        if at + 12 > end:
            return rows, at, MORE
        kind = u32(data, at, big)
        if kind in (SECTION, INTERFACE):
            return rows, at, SPECIAL
        total = u32(data, at + 4, big)
        if total < 12 or total > MAX_BLOCK:
            return rows, at, ABSURD
        padded = (total + 3) & ~3
        if at + padded > end:
            return rows, at, MORE
        if kind in (ENHANCED, PACKET):
            if total < 32:
                return rows, at, ABSURD
            which = u32(data, at + 8, big)
            if kind == PACKET:
                which = (which >> 16) if big else (which & 0xFFFF)
            kept = u32(data, at + 20, big)
            if kept > total - 32 or kept > MAX_PACKET or which >= interfaces.shape[0]:
                return rows, at, ABSURD
            ticks = np.uint64(u32(data, at + 12, big)) << np.uint64(32) | np.uint64(u32(data, at + 16, big))
            time[rows] = moved(ticks_to_ns(ticks, interfaces[which, 1]), interfaces[which, 2])
            offset[rows] = at + 28
            caplen[rows] = kept
            length[rows] = min(u32(data, at + 24, big), 0x7FFFFFFF)
            interface[rows] = base + which
            rows += 1
        elif kind == SIMPLE:
            if total < 16 or interfaces.shape[0] == 0:
                return rows, at, ABSURD
            wire = u32(data, at + 8, big)
            kept = min(wire, total - 16)
            if interfaces[0, 0] > 0:
                kept = min(kept, interfaces[0, 0])
            if kept > MAX_PACKET:
                return rows, at, ABSURD
            time[rows] = NO_TIME  # the block has no room for one
            offset[rows] = at + 12
            caplen[rows] = kept
            length[rows] = min(wire, 0x7FFFFFFF)
            interface[rows] = base
            rows += 1
        at += padded
    return rows, at, FULL
