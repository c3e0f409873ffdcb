"""Wireless frames: radiotap, IEEE 802.11 data frames and their aggregates, as far as they are not encrypted."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.packet.cursor import (
    AMSDU,
    DONE,
    END,
    LLC,
    NEXT,
    PADDED,
    POSITION,
    RESUME,
    RESUME_AT,
    RESUME_END,
    RESUME_WIRE_END,
    STEPS,
    WIRE_END,
    WLAN,
    fits,
    stop,
    u16,
)
from offramp.capture.dissect.packet.notes import NOTE_WIRELESS
from offramp.capture.dissect.packet.table import Table
from offramp.kernels import kernel_lean

CHECK_AT_END, PADDED_HEADER = 0x10, 0x20
DATA, QUALITY, NO_DATA = 2, 8, 4
TO_FROM, MORE_FRAGMENTS, PROTECTED, ORDER = 0x03, 0x04, 0x40, 0x80
SUBFRAME_HEADER = 14


@kernel_lean
def radiotap(data: Any, cur: Any) -> None:
    """Radiotap: over its length; its flags tell of a check sequence behind and of padding within the frame."""
    if not fits(cur, 8):
        return
    at = cur[POSITION]
    size = int(data[at + 2]) | int(data[at + 3]) << 8
    if size < 8 or not fits(cur, size):
        cur[NEXT] = DONE
        return
    first = data[at + 4]
    word = at + 8
    while data[word - 1] & 0x80 and word + 4 <= at + size:
        cur[STEPS] += 1
        word += 4
    if first & 1:
        word = at + ((word - at + 7) & ~7) + 8
    flags = int(data[word]) if first & 2 and word < at + size else 0
    cur[POSITION] = at + size
    if flags & CHECK_AT_END and cur[WIRE_END] - cur[POSITION] >= 4:
        cur[WIRE_END] -= 4
        cur[END] = min(cur[END], cur[WIRE_END])
    cur[NEXT] = WLAN
    cur[PADDED] = flags & PADDED_HEADER


@kernel_lean
def wireless(out: Table, data: Any, cur: Any) -> None:
    """IEEE 802.11: a data frame that is neither encrypted nor followed by fragments goes on with LLC (802.11 9.3.2)."""
    if not fits(cur, 24):
        return
    at = cur[POSITION]
    kind, subtype, flags = (data[at] >> 2) & 3, data[at] >> 4, data[at + 1]
    if kind != DATA or subtype & NO_DATA:
        cur[NEXT] = DONE
        return
    if flags & (MORE_FRAGMENTS | PROTECTED):
        stop(out, cur, NOTE_WIRELESS)
        return
    size = 30 if flags & TO_FROM == TO_FROM else 24
    aggregate = False
    if subtype & QUALITY:
        if not fits(cur, size + 2):
            return
        aggregate = data[at + size] & 0x80 != 0
        size += 6 if flags & ORDER else 2
    if cur[PADDED]:
        size = (size + 3) & ~3
    if not fits(cur, size):
        return
    if cur[END] - at >= size + 2 and not aggregate and data[at + size] == 0 and data[at + size + 1] == 0:
        size += 2  # two bytes before LLC, which some bridges put there and tshark skips
    cur[POSITION] = at + size
    cur[NEXT] = LLC
    if aggregate:
        cur[NEXT] = DONE
        if cur[RESUME] == 0:
            cur[RESUME] = AMSDU
            cur[RESUME_AT] = cur[POSITION]
            cur[RESUME_END] = cur[END]
            cur[RESUME_WIRE_END] = cur[WIRE_END]


@kernel_lean
def next_subframe(data: Any, cur: Any) -> None:
    """Go on with the next frame of an aggregate (A-MSDU, 802.11 9.3.2.2), each padded to four bytes."""
    at = cur[RESUME_AT]
    if at + SUBFRAME_HEADER > cur[RESUME_END]:
        cur[RESUME] = 0
        return
    size = u16(data, at + 12)
    cur[POSITION] = at + SUBFRAME_HEADER
    cur[WIRE_END] = min(cur[RESUME_WIRE_END], cur[POSITION] + size)
    cur[END] = min(cur[RESUME_END], cur[WIRE_END])
    cur[NEXT] = LLC
    cur[RESUME_AT] = at + ((SUBFRAME_HEADER + size + 3) & ~3)
