"""Compiled scans for the borders of packet records in pcap and pcapng bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from offramp_kernels import kernel

MORE = 0  # the buffer ends inside a record: read on
FULL = 1  # as many rows as asked for
ABSURD = 2  # a length that no capture has
SPECIAL = 3  # a pcapng block that is no packet: a section or an interface

LARGEST_PACKET = 262_144
"""The largest packet that wiretap reads (WTAP_MAX_PACKET_SIZE_STANDARD)."""
LARGEST_BLOCK = 16 << 20
"""The largest pcapng block that wiretap reads."""

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
        if kept > LARGEST_PACKET:
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
def ticks_to_ns(ticks: int, resolution: int) -> int:
    """Return nanoseconds of a pcapng time stamp; resolution is if_tsresol: 10**-n, or 2**-n with the top bit set."""
    if resolution & 0x80:
        bits = resolution & 0x7F
        if bits > 62:
            return 0
        whole = ticks >> bits
        part = ticks - (whole << bits)
        while bits > 32:
            part >>= 1
            bits -= 1
        return whole * 1_000_000_000 + ((part * 1_000_000_000) >> bits)
    digits = resolution
    value = ticks
    while digits < 9:
        value *= 10
        digits += 1
    while digits > 9:
        value //= 10
        digits -= 1
    return value


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

    interfaces: int64 [n, 3] of the section: snap length, if_tsresol, if_tsoffset in ns; base: number of the section's
    first interface in the source's table.
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
        if total < 12 or total > LARGEST_BLOCK:
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
            if kept > total - 32 or kept > LARGEST_PACKET or which >= interfaces.shape[0]:
                return rows, at, ABSURD
            ticks = (u32(data, at + 12, big) << 32) | u32(data, at + 16, big)
            time[rows] = ticks_to_ns(ticks, interfaces[which, 1]) + interfaces[which, 2]
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
            if kept > LARGEST_PACKET:
                return rows, at, ABSURD
            time[rows] = 0
            offset[rows] = at + 12
            caplen[rows] = kept
            length[rows] = min(wire, 0x7FFFFFFF)
            interface[rows] = base
            rows += 1
        at += padded
    return rows, at, FULL
