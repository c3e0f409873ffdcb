"""IPv6 with its extension headers (RFC 8200) and ICMPv6 (RFC 4443, RFC 4861): what errors and redirects quote."""

from __future__ import annotations

from typing import Any

import numpy as np

from offramp.capture.dissect.network.fragments import Fragments, fragment
from offramp.capture.dissect.packet.cursor import (
    DONE,
    END,
    ERROR,
    IN_ERROR,
    IP_PROTOCOL,
    IPV6,
    NEXT,
    POSITION,
    SOURCE_HIGH,
    SOURCE_LOW,
    STEPS,
    TARGET_HIGH,
    TARGET_LOW,
    TYPE,
    VERSION,
    clip,
    fits,
    stop,
    u16,
    u32,
    u64,
)
from offramp.capture.dissect.packet.notes import NOTE_BAD_IP, NOTE_FRAGMENT_LOST
from offramp.capture.dissect.packet.table import Table, put, span
from offramp.capture.schema import INDEX
from offramp.kernels import kernel_lean

IP_PROTO, IPV6_SOURCE, IPV6_TARGET = INDEX["ip.proto"], INDEX["ipv6.src"], INDEX["ipv6.dst"]
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, NOTHING, DESTINATION = 0, 43, 44, 51, 59, 60
MOBILITY, HOST_IDENTITY, SHIM = 135, 139, 140
HOME_ADDRESS, JUMBO = 0xC9, 0xC204
HOME_ROUTING, SOURCE_ROUTING, SEGMENT_ROUTING = 2, 3, 4  # types of routing headers (RFC 6275, RFC 6554, RFC 8754)
REDIRECT, REDIRECTED_HEADER = 137, 4


@kernel_lean
def ipv6(out: Table, fragments: Fragments, row: int, data: Any, scratch: Any, cur: Any) -> None:
    """IPv6 with its chain of extension headers; the chain's last next header is the column ip.proto."""
    if not fits(cur, 24):
        return
    at = cur[POSITION]
    if data[at] >> 4 != 6:
        stop(out, cur, NOTE_BAD_IP)
        return
    put(out, row, IPV6_SOURCE, span(at + 8, 16))
    if not fits(cur, 40):
        return
    put(out, row, IPV6_TARGET, span(at + 24, 16))
    cur[VERSION] = 6
    cur[SOURCE_HIGH] = u64(data, at + 8)
    cur[SOURCE_LOW] = u64(data, at + 16)
    cur[TARGET_HIGH] = u64(data, at + 24)
    cur[TARGET_LOW] = u64(data, at + 32)
    kind, size = int(data[at + 6]), u16(data, at + 4)
    cur[POSITION] = at + 40
    if size == 0 and kind == HOP_BY_HOP and cur[END] >= at + 48 and u16(data, at + 42) == JUMBO:
        size = u32(data, at + 44) if u32(data, at + 44) > 0xFFFF else 0
    end = cur[POSITION] + size
    clip(cur, size)
    cur[NEXT] = IP_PROTOCOL
    while True:
        cur[STEPS] += 1
        at = cur[POSITION]
        if kind in (HOP_BY_HOP, ROUTING, DESTINATION):
            if not fits(cur, 8):
                break
            size = int(data[at + 1]) * 8 + 8
            if not fits(cur, size):
                break
            if not other_end(data, cur, kind, at, size):
                stop(out, cur, NOTE_BAD_IP)
                break
        elif kind == SHIM:
            if not fits(cur, 8):
                break
            size = int(data[at + 1]) * 8 + 8
        elif kind in (MOBILITY, HOST_IDENTITY):
            cur[NEXT] = DONE
            break
        elif kind == AUTHENTICATION:
            if not fits(cur, 8):
                break
            size = int(data[at + 1]) * 4 + 8
        elif kind == FRAGMENT:
            if not fits(cur, 8):
                break
            position, name = u16(data, at + 2), (6 << 40) | u32(data, at + 4)
            size = 8
            if position & 0xFFF9:
                cur[POSITION] = at + 8
                kind = int(data[at])
                if cur[END] != end:
                    stop(out, cur, NOTE_FRAGMENT_LOST)
                    break
                fragment(out, fragments, data, scratch, cur, name, position & 0xFFF8, position & 1 != 0, end)
                if cur[NEXT] == DONE:
                    break
                end = cur[END]
                continue
        else:
            break
        if not fits(cur, size):
            break
        kind = int(data[at])
        cur[POSITION] = at + size
    put(out, row, IP_PROTO, kind)
    cur[TYPE] = kind
    if kind == NOTHING:
        cur[NEXT] = DONE


@kernel_lean
def other_end(data: Any, cur: Any, kind: int, at: int, size: int) -> bool:
    """Take the conversation's ends from a routing header or a home address (RFC 6275); False for a malformed option.

    As in tshark: the target is a routing header's last address, the source a home address option's.
    """
    if kind == ROUTING:
        segments = data[at + 2] == SEGMENT_ROUTING
        if segments and 24 + int(data[at + 4]) * 16 > size:
            return False
        if data[at + 3] == 0 or size < 24:
            return True
        if data[at + 2] == 0:
            cur[TARGET_HIGH], cur[TARGET_LOW] = u64(data, at + size - 16), u64(data, at + size - 8)
        elif segments or data[at + 2] == HOME_ROUTING:
            cur[TARGET_HIGH], cur[TARGET_LOW] = u64(data, at + 8), u64(data, at + 16)
        elif data[at + 2] == SOURCE_ROUTING:
            kept, padding = int(data[at + 4] & 15), int(data[at + 5] >> 4)
            cur[TARGET_HIGH] = spliced(data, cur[TARGET_HIGH], kept, at + size - padding - 16)
            cur[TARGET_LOW] = spliced(data, cur[TARGET_LOW], kept - 8, at + size - padding - 8)
        return True
    option = at + 2
    while option < at + size:
        cur[STEPS] += 1
        if data[option] and option + 1 >= cur[END]:
            return False
        length = int(data[option + 1]) + 1 if data[option] else 0
        if data[option] == HOME_ADDRESS:
            length = 17  # whatever it says
        if option + length >= cur[END]:
            return False
        if data[option] == HOME_ADDRESS and option + 18 <= at + size:
            cur[SOURCE_HIGH], cur[SOURCE_LOW] = u64(data, option + 2), u64(data, option + 10)
        option += 1 + length
    return True


@kernel_lean
def spliced(data: Any, known: int, kept: int, at: int) -> Any:
    """Return eight bytes of an address of which `kept` are those of `known` and the others stand at `at`."""
    value = np.int64(0)
    for index in range(8):
        byte = (known >> (56 - 8 * index)) & 0xFF if index < kept else np.int64(data[at + index])
        value = (value << 8) | byte
    return value


@kernel_lean
def icmpv6(cur: Any, data: Any) -> None:
    """ICMPv6: an error message (RFC 4443 types 1 to 4) or a redirect goes on with the packet that it quotes."""
    cur[NEXT] = DONE
    if not fits(cur, 9):
        return
    at = cur[POSITION]
    if 1 <= data[at] <= 4:
        quoted(cur, at + 8)
    elif data[at] == REDIRECT:
        option = at + 40
        while option + 8 < cur[END] and data[option + 1]:
            cur[STEPS] += 1
            size = int(data[option + 1]) * 8
            if data[option] == REDIRECTED_HEADER:
                cur[POSITION] = option
                clip(cur, size)
                quoted(cur, option + 8)
                return
            option += size


@kernel_lean
def quoted(cur: Any, at: int) -> None:
    """Go on with the quoted IPv6 packet at `at`."""
    cur[IN_ERROR] |= ERROR
    cur[POSITION] = at
    cur[NEXT] = IPV6
